// SPDX-License-Identifier: GPL-3.0-or-later

// A mistake in a script of ours: the person is told once, with the way that needs no script, and the server counts it.

import { h } from './dom';
import { t } from './i18n';

let told = false;

function mishap(): void {
  if (told) return;
  told = true;
  const { reply } = JSON.parse(document.getElementById('page')?.textContent || '{}') as { reply?: string };
  document.body.append(h('p', { class: 'mishap', role: 'alert' }, t('error.other'), ' ',
    reply && h('a', { href: reply }, t('chat.byMail'))));
  navigator.sendBeacon?.('/mishap', document.body.dataset.page ?? '');
}

// What extensions of the browser do wrong is none of ours.
addEventListener('error', (ev) => ev.filename.includes('/assets/') && mishap());
addEventListener('unhandledrejection', (ev) =>
  ev.reason instanceof Error && ev.reason.stack?.includes('/assets/') && mishap());
