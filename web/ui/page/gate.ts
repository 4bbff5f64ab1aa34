// SPDX-License-Identifier: GPL-3.0-or-later

// The question whose a chat link is. The script of the card (chat.ts) loads this one
// when the server has refused to let the browser in.

import { fill, h } from '../base/dom';
import type { ApiError } from '../base/errors';
import { nameOf } from '../base/text';
import { gate, type How } from '../view/gate';
import type { ChatPage } from '../wire/wire';
import { Link } from './link';

/** prove asks until the answer lets this browser in, or back leads to the card. */
export function prove(page: ChatPage, root: HTMLElement, refused: ApiError, enter: (how: How) => Promise<void>,
  back: () => void): void {
  const { body } = refused;
  const el = gate({
    to: String(body.to ?? ''), guest: body.guest === true, account: body.account === true,
    prove: refused.code === 'prove' ? nameOf(page.callee) : '',
    mail: () => new Link(page).guarded('code'), enter, back,
  });
  fill(root, h('div', { class: 'stage' }, h('article', { class: 'card' }, el)));
  el.querySelector('h1')!.focus();
}
