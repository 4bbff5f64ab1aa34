// SPDX-License-Identifier: GPL-3.0-or-later

// What the desk can do about somebody in a conversation: a button with a menu.

import { h, icon } from '../base/dom';
import { type Key, t, tr } from '../base/i18n';
import { ask } from './dialog';
import { type Item, menu } from './menu';

export interface Doings {
  block(): void;
  /** Take back their links, or put them out: of one's own conversations. */
  revoke(): void;
  remove(): void;
}

/** personMenu asks before it does anything. own: the conversation is one's own. */
export function personMenu(name: string, own: boolean, doings: Doings): HTMLElement {
  const item = (words: Key, question: Key, yes: Key, act: () => void): Item => ({
    words: t(words), bad: true, press: () => void ask(tr(question, { name }), t(yes)).then((sure) => sure && act()),
  });
  const about = t('people.more', { name });
  return menu(h('button', { class: 'round', type: 'button', 'aria-label': about }, icon('more')), about, () => [
    ...own ? [item('people.revoke', 'people.revokeAsk', 'people.revokeYes', () => doings.revoke()),
      item('people.remove', 'people.removeAsk', 'people.removeYes', () => doings.remove())] : [],
    item('block.block', 'block.ask', 'block.block', () => doings.block()),
  ]);
}
