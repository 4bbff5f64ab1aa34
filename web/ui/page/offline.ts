// SPDX-License-Identifier: GPL-3.0-or-later

// What the installed desk shows when the server cannot be reached. The service
// worker keeps this page; it tries again by itself.

import { fill, h, icon } from '../base/dom';
import { t } from '../base/i18n';
import { every } from '../base/time';

const tryEvery = 5000; // ms

function offline(root: HTMLElement): void {
  document.title = t('desk.title');
  const told = h('p', { class: 'muted', role: 'status' });
  async function again(): Promise<void> {
    told.textContent = t('offline.trying');
    const there = await fetch('/healthz', { cache: 'no-store' }).then((r) => r.ok, () => false);
    if (there) location.reload();
    else told.textContent = t('offline.still');
  }
  fill(root, h('div', { class: 'stage' }, h('article', { class: 'card gone' },
    h('span', { class: 'emblem' }, icon('bell')),
    h('h1', null, t('offline.title')),
    h('p', null, t('offline.what')),
    h('p', { class: 'advice' }, t('offline.means')),
    h('button', { class: 'primary', type: 'button', onclick: () => void again() }, t('offline.again')),
    told)));
  addEventListener('online', () => void again());
  every(tryEvery, () => void again());
}

offline(document.getElementById('app')!);
