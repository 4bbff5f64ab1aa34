// SPDX-License-Identifier: GPL-3.0-or-later

// What the installed desk shows when the server cannot be reached. The service
// worker keeps this page; it tries again by itself.

import '../base/mishap';
import { t } from '../base/i18n';
import { every } from '../base/time';

const tryEvery = 5000; // ms

const told = document.querySelector('[role=status]')!;

async function again(): Promise<void> {
  told.textContent = t('offline.trying');
  const there = await fetch('/healthz', { cache: 'no-store' }).then((r) => r.ok, () => false);
  if (there) location.reload();
  else told.textContent = t('offline.still');
}

document.querySelector('button')!.addEventListener('click', () => void again());
addEventListener('online', () => void again());
every(tryEvery, () => void again());
