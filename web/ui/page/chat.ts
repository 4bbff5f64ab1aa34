// SPDX-License-Identifier: GPL-3.0-or-later

// The page behind a chat link: the card, the ringing, the conversation.
// Nothing happens until "Chat now" is pressed.

import '../base/mishap';
import { fill, h } from '../base/dom';
import { ApiError, explain } from '../base/errors';
import { fullTime, t, tr } from '../base/i18n';
import { tabTitle } from '../base/tabtitle';
import { nameOf } from '../base/text';
import { every, heardAt, soon } from '../base/time';
import { Room } from '../model/room';
import { cardLine } from '../model/status';
import { Conversation } from '../view/conversation';
import { ask } from '../view/dialog';
import { gate, type How } from '../view/gate';
import { Panel } from '../view/panel';
import { RoomHead, StatusLine } from '../view/roomheader';
import { get, post, readPage } from '../wire/api';
import type { ChatPage, Entry } from '../wire/wire';

const refreshEvery = 20_000; // ms between two looks at whether the person is there

function chat(page: ChatPage, root: HTMLElement): void {
  const { token } = page;
  heardAt(page.at);
  const { callee } = page;
  const name = nameOf(callee);
  // The card as the server has written it. It comes back after a conversation.
  const stage = root.querySelector<HTMLElement>('.stage')!;
  const part = <E extends HTMLElement>(selector: string) => stage.querySelector<E>(selector)!;
  const start = part<HTMLButtonElement>('button.large');
  const trouble = part('.card > .problem');
  const before = part('.before');
  const there = h('p', { class: 'muted' }); // after leaving: whether the person is there
  const status = new StatusLine(part('.status'));
  tabTitle(t('chat.title', { name }));
  let onCard = false;

  /** guarded posts with the page's nonce, and once more with a new one when it was refused. */
  async function guarded<T>(what: string, body: object = {}): Promise<T> {
    const go = () => post<T>(`/c/${token}/${what}`, { nonce: page.nonce, pass: page.pass, ...body });
    try {
      return await go();
    } catch (err) {
      if (!(err instanceof ApiError) || err.code !== 'nonce') throw err;
      if (!(await refresh())) throw err;
      return go();
    }
  }

  async function refresh(): Promise<boolean> {
    try {
      page.waiting = undefined;
      Object.assign(page, await get<ChatPage>(`/c/${token}/state`));
    } catch (err) {
      return err instanceof ApiError && lost(err);
    }
    return true;
  }

  /** lost: the link leads nowhere any more, and the page as the server has it now says so. */
  function lost(err: ApiError): boolean {
    if (err.status !== 404 && err.status !== 410) return false;
    location.reload();
    return true;
  }

  function card(problem = '', left = false): void {
    onCard = true;
    trouble.textContent = problem;
    start.disabled = false;
    before.hidden = !page.mine || left;
    there.replaceChildren();
    status.show(left ? { mood: 'quiet', nodes: tr('status.left') } : cardLine(page.status, page.waiting));
    if (stage.isConnected) return;
    part('.card-who').append(status.el, ...left ? [there] : []);
    root.replaceChildren(stage);
  }

  async function press(ring = true): Promise<void> {
    trouble.textContent = '';
    start.disabled = true;
    status.show({ mood: 'busy', nodes: tr('status.connecting') });
    try {
      talk(await guarded<Entry>('chat', { ring }), ring);
    } catch (err) {
      start.disabled = false;
      status.show(cardLine(page.status, page.waiting));
      if (err instanceof ApiError) {
        if (lost(err)) return;
        if (err.status === 409) return claimed(err);
      }
      trouble.textContent = explain(err);
      start.focus();
    }
  }

  function claimed({ body, code }: ApiError): void {
    onCard = false;
    const el = gate({
      to: String(body.to ?? ''), guest: body.guest === true, account: body.account === true,
      prove: code === 'prove' ? name : '',
      mail: () => guarded('code'),
      enter: async (how: How) => talk(await guarded<Entry>('chat', { ...how, ring: true })),
      back: () => card(),
    });
    fill(root, h('div', { class: 'stage' }, h('article', { class: 'card' }, el)));
    el.querySelector('h1')!.focus();
  }

  /** talk opens the conversation; without an entry it comes back to one. */
  function talk(entry?: Entry, ring = true): void {
    onCard = false;
    let first = entry;
    const rings = ring && entry !== undefined;
    stay(true);

    const room = new Room({
      callee: callee.addr,
      files: `/c/${token}/files`,
      enter: async () => {
        const known = first;
        first = undefined;
        return known ?? guarded<Entry>('ticket');
      },
      changed: () => soon(update),
      welcomed: (isFirst) => {
        if (!rings || !isFirst || room.amCallee) return;
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
          if (lost(err)) return;
          if (err.status === 409) return claimed(err);
        }
        // Coming back is not worth a word when it does not work: the card is there.
        if (!rings && !room.id) card();
        else card(err instanceof ApiError && err.status !== 403 ? explain(err) : t('error.over'));
      },
    });
    const head = new RoomHead(room, status, null,
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
    fill(root, h('div', { class: 'talk' }, head.el, blocked, panel.el, view.el));
    update();
    view.focus();

    function end(): void {
      document.removeEventListener('visibilitychange', seen);
      panel.close();
      view.close();
      stay(false);
    }

    async function leave(): Promise<void> {
      const unsent = view.unsent();
      if (unsent && !(await ask(unsent, t('chat.leave')))) return view.focus();
      end();
      room.leave();
      page.mine = true;
      card('', true);
      void refresh().then(() => onCard && there.replaceChildren(...cardLine(page.status, page.waiting).nodes));
    }

    function update(): void {
      if (!view.el.isConnected) return;
      head.update(name, callee);
      blocked.hidden = room.why !== 'blocked' || room.phase !== 'lost';
      panel.draw();
      const waits = !room.amCallee && !room.calleeHere && room.phase === 'open';
      const rung = panel.state === 'ringing' || panel.state === 'none';
      view.ask(waits && rung && !room.others.length ? tr('compose.whileRinging', { name }) : [],
        waits && !rung && !room.others.length ? t('compose.leavePlaceholder') : t('compose.placeholder'));
      view.update();
    }
  }

  /** stay remembers, for as long as the tab lives, that the conversation is open in it. */
  function stay(on: boolean): void {
    try {
      if (on) sessionStorage.setItem('chmail.open.' + token, '1');
      else sessionStorage.removeItem('chmail.open.' + token);
    } catch {
      // Without storage a reload leads to the card.
    }
  }

  function stayed(): boolean {
    try {
      return page.mine && sessionStorage.getItem('chmail.open.' + token) === '1';
    } catch {
      return false;
    }
  }

  for (const time of stage.querySelectorAll('time')) time.textContent = fullTime(new Date(time.dateTime));
  start.onclick = () => void press();
  // Whoever pressed before this script was there saw that it is loading.
  const loading = stage.querySelector('#loading');
  const pressed = loading?.matches(':popover-open');
  loading?.remove();
  start.removeAttribute('popovertarget');
  if (stayed()) talk();
  else if (pressed || page.do) void press(page.do !== 'enter');
  else card();
  const look = async () => {
    if (!onCard || document.hidden || !(await refresh()) || !onCard || start.disabled) return;
    status.show(cardLine(page.status, page.waiting));
  };
  every(refreshEvery, () => void look());
  document.addEventListener('visibilitychange', () => void look());
}

chat(readPage<ChatPage>(), document.getElementById('app')!);
