// SPDX-License-Identifier: GPL-3.0-or-later

// A picture in full, over the page.

import { h, icon } from '../base/dom';
import { t } from '../base/i18n';
import { show } from './dialog';

/** picture shows one in full, without leaving the page. */
export function picture(url: string, name: string, width: number, height: number): void {
  const dialog = h('dialog', { class: 'picture-full', 'aria-label': name },
    h('img', { src: url, alt: name, width, height }),
    h('div', { class: 'picture-bar' }, h('span', { dir: 'auto' }, name),
      h('a', { class: 'button', href: url, download: name }, icon('save'), h('span', null, t('file.save'))),
      h('button', { type: 'button', onclick: () => dialog.close() }, icon('close'), h('span', null, t('ask.close')))));
  show(dialog);
}
