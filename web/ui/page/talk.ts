// SPDX-License-Identifier: GPL-3.0-or-later

// The conversation behind a chat link. The script of the card (chat.ts) loads this
// one once the card is there.

import { fill, h } from '../base/dom';
import { ApiError, explain } from '../base/errors';
import { t, tr } from '../base/i18n';
import { tabTitle } from '../base/tabtitle';
import { nameOf } from '../base/text';
import { heardAt, soon } from '../base/time';
import { holdOpen } from '../model/opentab';
import { Room } from '../model/room';
import { Conversation } from '../view/conversation';
import { ask } from '../view/dialog';
import { Panel } from '../view/panel';
import { RoomHead, StatusLine } from '../view/roomheader';
import type { ChatPage, Entry } from '../wire/wire';
import { Link } from './link';

/** What the card hands over. */
export interface Card {
  page: ChatPage;
  root: HTMLElement;
  status: HTMLElement;
  time: string;        // now, as the server has it
  stay(on: boolean): void;
  /** prove asks whose the link is, after the server has refused to let this browser in. */
  prove(refused: ApiError): void;
  /** back shows the card again: with what went wrong, or after leaving. */
  back(problem: string, left?: Left): void;
}

/** What the card offers after a conversation depends on it. */
export interface Left {
  talked: boolean;     // something was said, with somebody who can be mailed
  transcript: boolean; // is on its way anyhow
}

/** talk opens the conversation; without an entry it comes back to one, and rings nobody. */
export function talk(card: Card, entry?: Entry, ring = true): void {
  const { page } = card;
  const { callee } = page;
  const name = nameOf(callee);
  const link = new Link(page);
  heardAt(card.time);
  let first = entry;
  card.stay(true);
  const release = holdOpen(page.token);

  const room = new Room({
    callee: callee.addr,
    files: `/c/${page.token}/files`,
    enter: async () => {
      const known = first;
      first = undefined;
      return known ?? link.guarded<Entry>('ticket');
    },
    changed: () => soon(update),
    welcomed: (isFirst) => {
      if (!entry || !ring || !isFirst || room.amCallee) return;
      const a = room.call.attempt;
      if (a && a.id === entry.attempt) return; // it rings since the button was pressed
      // Also when the callee seems to be here: the relay knows a page that has vanished from one that is there.
      if (a?.state !== 'ringing' && a?.state !== 'busy') room.ring();
    },
    heard: (m) => {
      if (m.from !== room.me && document.hidden) {
        tabTitle(t('chat.titleNew', { name }), 1);
      }
    },
    over: (err) => {
      end();
      room.close();
      if (err instanceof ApiError) {
        if (link.lost(err)) return;
        if (err.status === 409) return card.prove(err);
      }
      // Coming back is not worth a word when it does not work: the card is there.
      if (!entry && !room.id) card.back('');
      else card.back(err instanceof ApiError && err.status !== 403 ? explain(err) : t('error.over'));
    },
  });
  const head = new RoomHead(room, new StatusLine(card.status), null,
    h('button', { class: 'secondary', type: 'button', onclick: () => void leave() }, t('chat.leave')));
  const view = new Conversation(room);
  const panel = new Panel(room, () => view.focus());
  const seen = () => {
    if (document.hidden) return;
    tabTitle(t('chat.title', { name }));
    view.look();
  };
  document.addEventListener('visibilitychange', seen);
  const blocked = h('p', { class: 'problem', role: 'alert', hidden: true }, tr('chat.blocked', { name }), ' ',
    page.reply && h('a', { href: page.reply }, t('chat.byMail')));
  fill(card.root, h('div', { class: 'talk' }, head.el, blocked, panel.el, view.el));
  update();
  view.focus();

  function end(): void {
    document.removeEventListener('visibilitychange', seen);
    tabTitle(t('chat.title', { name }));
    panel.close();
    view.close();
    card.stay(false);
    release();
  }

  async function leave(): Promise<void> {
    const unsent = view.unsent();
    if (unsent && !(await ask(unsent, t('chat.leave')))) return view.focus();
    end();
    room.leave();
    page.mine = true;
    card.back('', {
      talked: room.messages.some((m) => m.kind === 'text' || m.kind === 'file') && !room.people.get(room.me)?.guest,
      transcript: room.transcript,
    });
  }

  function update(): void {
    if (!view.el.isConnected) return;
    head.update([name], callee);
    blocked.hidden = room.why !== 'blocked' || room.phase !== 'lost';
    panel.draw();
    const waits = !room.amCallee && !room.calleeHere && room.phase === 'open';
    const rung = panel.state === 'ringing' || panel.state === 'none';
    view.ask(waits && rung && !room.others.length ? tr('compose.whileRinging', { name }) : [],
      waits && !rung && !room.others.length ? t('compose.leavePlaceholder') : t('compose.placeholder'));
    view.update();
  }
}
