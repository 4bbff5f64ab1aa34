// SPDX-License-Identifier: GPL-3.0-or-later

// The page behind a chat link: the card, the ringing, the conversation.
// Nothing happens until "Chat now" is pressed.

import { bdi, fill, h, icon } from '../base/dom';
import { ApiError, explain } from '../base/errors';
import { fullTime, t, tr } from '../base/i18n';
import { tabTitle } from '../base/tabtitle';
import { cleanLine, nameOf } from '../base/text';
import { every, heardAt, soon } from '../base/time';
import { Room } from '../model/room';
import { cardLine } from '../model/status';
import { avatar } from '../view/avatar';
import { Conversation } from '../view/conversation';
import { gate, type How } from '../view/gate';
import { Panel } from '../view/panel';
import { RoomHead, StatusLine } from '../view/roomheader';
import { fetchPage, post, readPage } from '../wire/api';
import type { ChatPage, Entry } from '../wire/wire';

const refreshEvery = 60_000; // ms between two looks at whether the person is there

function chat(page: ChatPage, root: HTMLElement): void {
  const { token } = page;
  heardAt(page.at);
  const callee = page.card.callee;
  const name = nameOf(callee);
  const status = new StatusLine();
  tabTitle(t('chat.title', { name }));
  let onCard = false;

  /** guarded posts with the page's nonce, and once more with a new one when it was refused. */
  async function guarded<T>(what: string, body: object = {}): Promise<T> {
    const go = () => post<T>(`/c/${token}/${what}`, { nonce: page.nonce, ...body });
    try {
      return await go();
    } catch (err) {
      if (!(err instanceof ApiError) || err.status !== 403 || err.code === 'code') throw err;
      if (!(await refresh())) throw err;
      return go();
    }
  }

  async function refresh(): Promise<boolean> {
    const fresh = await fetchPage(location.pathname).catch(() => null);
    if (fresh?.page !== 'chat') return false;
    page.nonce = fresh.nonce;
    page.card.status = fresh.card.status;
    page.card.waiting = fresh.card.waiting;
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
    const to = page.card.recipient;
    const trouble = h('p', { class: 'problem', role: 'alert' }, problem);
    const start = h('button', { class: 'primary large', type: 'button', onclick: () => void press() },
      icon('chat'), h('span', null, t('chat.now')));
    status.show(left ? { mood: 'quiet', nodes: tr('status.left') } : cardLine(page.card.status, page.card.waiting));

    async function press(): Promise<void> {
      trouble.textContent = '';
      start.disabled = true;
      status.show({ mood: 'busy', nodes: tr('status.connecting') });
      try {
        talk(await guarded<Entry>('chat', { ring: true }));
      } catch (err) {
        start.disabled = false;
        status.show(cardLine(page.card.status, page.card.waiting));
        if (err instanceof ApiError) {
          if (lost(err)) return;
          if (err.status === 409) return claimed(String(err.body.to ?? ''), err.body.guest === true);
        }
        trouble.textContent = explain(err);
        start.focus();
      }
    }

    fill(root, h('div', { class: 'stage' }, h('article', { class: 'card' },
      h('div', { class: 'card-who' }, avatar(callee, 'huge'),
        h('h1', null, bdi(name)),
        name !== callee.addr && h('p', { class: 'muted' }, bdi(cleanLine(callee.addr))),
        status.el),
      h('div', { class: 'card-mail' }, icon('mail'),
        h('div', null,
          h('p', { class: 'card-subject', dir: 'auto' }, cleanLine(page.card.subject) || t('mail.noSubject')),
          page.card.date && h('p', { class: 'muted' },
            h('time', { datetime: page.card.date }, fullTime(new Date(page.card.date)))))),
      page.mine && h('p', { class: 'before' }, t('chat.before')),
      start,
      page.reply?.startsWith('mailto:') && h('a', { class: 'quiet', href: page.reply }, t('chat.byMail')),
      trouble,
      h('p', { class: 'fine' }, t('chat.nothing')),
      h('p', { class: 'fine' }, nameOf(to) === cleanLine(to.addr)
        ? tr('chat.whoseAddress', { addr: nameOf(to) })
        : tr('chat.whose', { name: nameOf(to), addr: cleanLine(to.addr) })))));
  }

  function claimed(to: string, guest: boolean): void {
    onCard = false;
    const el = gate({
      to, guest,
      mail: () => guarded('code'),
      enter: async (how: How) => talk(await guarded<Entry>('chat', { ...how, ring: true })),
      back: () => card(),
    });
    fill(root, h('div', { class: 'stage' }, h('article', { class: 'card' }, el)));
    el.querySelector('h1')!.focus();
  }

  /** talk opens the conversation; without an entry it comes back to one, and rings nobody. */
  function talk(entry?: Entry): void {
    onCard = false;
    let first = entry;
    const rings = entry !== undefined;
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
        room.close();
        panel.close();
        stay(false);
        if (err instanceof ApiError && lost(err)) return;
        // Coming back is not worth a word when it does not work: the card is there.
        if (!rings && !room.id) card();
        else card(err instanceof ApiError && err.status !== 403 ? explain(err) : t('error.over'));
      },
    });
    const head = new RoomHead(room, status, null,
      h('button', { class: 'secondary', type: 'button', onclick: leave }, t('chat.leave')));
    const view = new Conversation(room);
    const panel = new Panel(room, () => view.focus());
    const seen = () => {
      if (document.hidden) return;
      tabTitle(t('chat.title', { name }));
      view.look();
    };
    document.addEventListener('visibilitychange', seen);
    const blocked = h('p', { class: 'problem', role: 'alert', hidden: true }, tr('chat.blocked', { name }), ' ',
      page.reply?.startsWith('mailto:') && h('a', { href: page.reply }, t('chat.byMail')));
    fill(root, h('div', { class: 'talk' }, head.el, blocked, panel.el, view.el));
    update();
    view.focus();

    function leave(): void {
      document.removeEventListener('visibilitychange', seen);
      panel.close();
      room.leave();
      stay(false);
      page.mine = true;
      card('', true);
    }

    function update(): void {
      if (!view.el.isConnected) return;
      head.update(name, callee);
      blocked.hidden = room.why !== 'blocked' || room.phase !== 'lost';
      panel.draw();
      const waits = !room.amCallee && !room.calleeHere && room.phase === 'open';
      const rung = panel.state === 'ringing' || panel.state === 'none';
      view.ask(!waits || room.others.length ? []
        : rung ? tr('compose.whileRinging', { name }) : tr('compose.leave', { name }),
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

  if (stayed()) talk();
  else card();
  const look = async () => {
    if (!onCard || document.hidden || !(await refresh()) || !onCard) return;
    const start = root.querySelector<HTMLButtonElement>('button.large');
    if (start && !start.disabled) status.show(cardLine(page.card.status, page.card.waiting));
  };
  every(refreshEvery, () => void look());
  document.addEventListener('visibilitychange', () => void look());
}

chat(readPage<ChatPage>(document), document.getElementById('app')!);
