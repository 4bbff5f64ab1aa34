// SPDX-License-Identifier: GPL-3.0-or-later

// The page behind a chat link: the card, the ringing, the conversation.
// Nothing happens until "Chat now" is pressed.

import { ApiError, fetchPage, post } from './api';
import { every } from './clock';
import { Conversation } from './conversation';
import { bdi, fill, h, icon, soon } from './dom';
import { explain, gate, type How } from './gate';
import { goneCard } from './gone';
import { RoomHead, StatusLine } from './head';
import { fullTime, t, tr } from './i18n';
import { Room } from './room';
import { cardLine, devices, outcome } from './status';
import { avatar, cleanLine, nameOf } from './text';
import type { ChatPage, Entry } from './wire';

const refreshEvery = 60_000; // ms between two looks at whether the person is there

export function chat(page: ChatPage, root: HTMLElement): void {
  const { token } = page;
  const callee = page.card.callee;
  const name = nameOf(callee);
  const status = new StatusLine();
  document.title = t('chat.title', { name });
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
    return true;
  }

  function lost(err: ApiError): boolean {
    if (err.status !== 404 && err.status !== 410) return false;
    onCard = false;
    const reason = err.status === 404 ? 'unknown' : err.code === 'revoked' ? 'revoked' : 'expired';
    fill(root, goneCard({ page: 'gone', lang: page.lang, reason, from: callee, reply: page.reply }));
    return true;
  }

  function card(problem = '', left = false): void {
    onCard = true;
    const to = page.card.recipient;
    const trouble = h('p', { class: 'problem', role: 'alert' }, problem);
    const start = h('button', { class: 'primary large', type: 'button', onclick: () => void press() },
      icon('chat'), h('span', null, t('chat.now')));
    status.show(left ? { mood: 'quiet', nodes: tr('status.left') } : cardLine(page.card.status));

    async function press(): Promise<void> {
      trouble.textContent = '';
      start.disabled = true;
      status.show({ mood: 'busy', nodes: tr('status.connecting') });
      try {
        talk(await guarded<Entry>('chat'));
      } catch (err) {
        start.disabled = false;
        status.show(cardLine(page.card.status));
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
      enter: async (how: How) => talk(await guarded<Entry>('chat', how)),
      back: () => card(),
    });
    fill(root, h('div', { class: 'stage' }, h('article', { class: 'card' }, el)));
    el.querySelector('h1')!.focus();
  }

  function talk(entry: Entry): void {
    onCard = false;
    let first: Entry | null = entry;
    const panel = h('section', { class: 'panel', hidden: true });
    let drawn = '';

    const room = new Room({
      callee: callee.addr,
      enter: async () => {
        const known = first;
        first = null;
        return known ?? guarded<Entry>('ticket');
      },
      changed: () => soon(update),
      welcomed: (isFirst) => {
        // Also when the callee seems to be here: the relay knows a page that has vanished from one that is there.
        if (isFirst && !room.amCallee && room.attempt?.state !== 'ringing') room.call();
      },
      heard: (m) => {
        if (m.from !== room.me && document.hidden) document.title = t('chat.titleNew', { name });
      },
      over: (err) => {
        room.close();
        if (err instanceof ApiError && lost(err)) return;
        card(err instanceof ApiError && err.status !== 403 ? explain(err) : t('error.over'));
      },
    });
    const head = new RoomHead(room, status, null,
      h('button', { class: 'secondary', type: 'button', onclick: leave }, t('chat.leave')));
    const view = new Conversation(room);
    const seen = () => {
      if (document.hidden) return;
      document.title = t('chat.title', { name });
      view.look();
    };
    document.addEventListener('visibilitychange', seen);
    fill(root, h('div', { class: 'talk' }, head.el, panel, view.el));
    update();
    view.focus();

    function leave(): void {
      document.removeEventListener('visibilitychange', seen);
      room.leave();
      page.mine = true;
      card('', true);
    }

    function update(): void {
      if (!view.el.isConnected) return;
      head.update(name, callee);
      drawPanel();
      const waits = !room.amCallee && !room.calleeHere && room.phase === 'open';
      const ringing = room.attempt?.state === 'ringing';
      view.ask(!waits || room.others.length ? [] : ringing ? tr('compose.whileRinging', { name }) : tr('compose.leave', { name }),
        waits && !ringing && !room.others.length ? t('compose.leavePlaceholder') : t('compose.placeholder'));
      view.update();
    }

    function drawPanel(): void {
      const a = room.attempt;
      const ringing = a?.state === 'ringing' && !room.calleeHere;
      const ended = !room.calleeHere && !room.amCallee && room.phase === 'open' && !ringing && !room.arriving
        && (a !== undefined || room.metCallee);
      const back = room.status?.state === 'available';
      const print = JSON.stringify([ringing, ended, a, back]);
      if (print === drawn) return;
      drawn = print;
      const held = panel.contains(document.activeElement);
      panel.hidden = !ringing && !ended;
      panel.classList.toggle('ringing', ringing);
      if (ringing) {
        const on = devices(a!);
        fill(panel,
          h('span', { class: 'pulse', 'aria-hidden': 'true' }, avatar(callee, 'medium')),
          h('div', { class: 'panel-words' },
            h('p', { class: 'strong' }, tr('ringing.who', { name })),
            h('p', { class: 'muted' }, on ? tr('ringing.on', { devices: on }) : t('ringing.wait'))),
          h('button', { class: 'secondary', type: 'button', onclick: () => room.cancel() }, t('ringing.cancel')));
      } else if (ended) {
        const tellable = a?.state === 'unanswered' || a?.state === 'alarmed';
        const tick = h('input', { type: 'checkbox', checked: a?.tell === true, onchange: () => room.tell(tick.checked) });
        fill(panel,
          h('div', { class: 'panel-words' },
            h('p', null, a && !(room.metCallee && a.state === 'answered') ? outcome(a, name) : tr('outcome.left', { name })),
            a?.state === 'declined' && a.words && h('blockquote', { dir: 'auto' }, cleanLine(a.words)),
            tellable && h('label', { class: 'tick' }, tick, h('span', null, tr('outcome.tell', { name }))),
            back && h('p', { class: 'strong' }, tr('outcome.back', { name }))),
          h('button', { class: 'secondary', type: 'button', onclick: () => room.call() }, icon('phone'),
            h('span', null, t('outcome.again'))));
      }
      if (held) (panel.querySelector('button') ?? view).focus();
    }
  }

  card();
  const look = async () => {
    if (!onCard || document.hidden || !(await refresh()) || !onCard) return;
    const start = root.querySelector<HTMLButtonElement>('button.large');
    if (start && !start.disabled) status.show(cardLine(page.card.status));
  };
  every(refreshEvery, () => void look());
  document.addEventListener('visibilitychange', () => void look());
}
