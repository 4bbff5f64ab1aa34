// SPDX-License-Identifier: GPL-3.0-or-later

// A link that does not lead anywhere: what happened, what it means, what to do.

import { fill, h, icon } from '../base/dom';
import { type Key, t, tr } from '../base/i18n';
import { cleanLine, nameOf } from '../base/text';
import { readPage } from '../wire/api';
import type { GonePage } from '../wire/wire';

function goneCard(page: GonePage): HTMLElement {
  const { reason } = page;
  const name = page.from ? nameOf(page.from) : '';
  const whose = cleanLine(page.whose ?? '');
  document.title = t(`gone.${reason}.title`);
  const what = `gone.${reason}.what${name && reason !== 'unknown' ? 'Of' : ''}` as Key;
  return h('div', { class: 'stage' }, h('article', { class: 'card gone' },
    h('span', { class: 'emblem' }, icon('mail')),
    h('h1', null, t(`gone.${reason}.title`)),
    h('p', null, tr(what, { name })),
    h('p', null, t(`gone.${reason}.means`)),
    h('p', { class: 'advice' }, t(`gone.${reason}.todo`)),
    page.reply?.startsWith('mailto:') && h('a', { class: 'button primary', href: page.reply },
      icon('mail'), h('span', null, t('chat.byMail'))),
    whose && h('p', { class: 'fine' }, tr('gone.whose', { name: whose }))));
}

function gone(page: GonePage, root: HTMLElement): void {
  fill(root, goneCard(page));
}

gone(readPage<GonePage>(document), document.getElementById('app')!);
