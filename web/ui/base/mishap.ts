// SPDX-License-Identifier: GPL-3.0-or-later

// A mistake in a script of ours: the person is told once, and the server counts it.

import { h } from './dom';
import { t } from './i18n';

let told = false;

function mishap(): void {
  if (told) return;
  told = true;
  document.body.append(h('p', { class: 'mishap', role: 'alert' }, t('error.other')));
  navigator.sendBeacon?.('/mishap', document.body.dataset.page ?? '');
}

// What extensions of the browser do wrong is none of ours.
addEventListener('error', (ev) => ev.filename.includes('/assets/') && mishap());
addEventListener('unhandledrejection', (ev) =>
  ev.reason instanceof Error && ev.reason.stack?.includes('/assets/') && mishap());
