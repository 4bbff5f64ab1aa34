// SPDX-License-Identifier: GPL-3.0-or-later

// The pages of CHmail. One bundle serves them all: the data in the document's
// #page say which page this is.

import { useLanguage } from '../base/i18n';
import { serveClock } from '../base/time';
import { chat } from './chat';
import { desk } from './desk';
import { gone } from './gone';
import { landing } from './landing';
import { offline } from './offline';
import { readPage } from '../wire/api';

function mount(): void {
  const page = readPage(document);
  const root = document.getElementById('app')!;
  useLanguage(page.lang);
  document.body.dataset.page = page.page;
  switch (page.page) {
    case 'chat': return chat(page, root);
    case 'desk': return desk(page, root);
    case 'landing': return landing(page, root);
    case 'gone': return gone(page, root);
    case 'offline': return offline(root);
  }
}

// The same file is the worker that keeps time (see clock.ts).
if (typeof document === 'undefined') serveClock();
else mount();
