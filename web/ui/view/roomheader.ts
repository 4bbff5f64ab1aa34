// SPDX-License-Identifier: GPL-3.0-or-later

// The top of a conversation: with whom, how it stands, who is here, and the
// details of the connection.

import { type Child, fill, h, icon } from '../base/dom';
import { type Key, listed, t } from '../base/i18n';
import { cleanLine, nameOf } from '../base/text';
import type { Room } from '../model/room';
import { type Line, roomLine } from '../model/status';
import { avatar, breakable } from './avatar';
import type { Why } from '../wire/carrier';
import type { Participant, Person } from '../wire/wire';

/** StatusLine is the page's one role=status; it speaks only when its words change. */
export class StatusLine {
  constructor(readonly el: HTMLElement = h('p', { class: 'status', role: 'status', 'aria-live': 'polite' })) {}

  show(line: Line): void {
    const words = h('span', null, line.nodes);
    if (this.el.dataset.mood === line.mood && this.el.textContent === words.textContent) return;
    this.el.dataset.mood = line.mood;
    fill(this.el, words);
  }
}

const whys: Record<Why, Key> = {
  quic: 'why.quic', absent: 'why.absent', unoffered: 'why.unoffered',
  failed: 'why.failed', slow: 'why.slow', avoided: 'why.avoided', blocked: 'why.blocked',
};

/** What a desk can do about a conversation. */
export interface Powers {
  muted(): boolean;
  mute(on: boolean): void;
  /** A button for what can be done about somebody. */
  about(p: Participant): HTMLElement;
  /** What invites somebody into it, in one's own conversation. */
  invite?: HTMLElement;
}

/** backButton leads from what a phone shows alone to the list. */
export const backButton = (back: () => void) =>
  h('button', { class: 'round back', type: 'button', 'aria-label': t('desk.back'), onclick: back }, icon('back'));

/** paneHead is the top of what the desk shows in the place of a conversation. */
export const paneHead = (title: Key, back: () => void, ...more: Child[]) =>
  h('header', { class: 'room-head' }, backButton(back),
    h('div', { class: 'room-title' }, h('h1', { tabindex: '-1' }, t(title))), more);

export class RoomHead {
  readonly el: HTMLElement;
  private readonly face = h('span', { class: 'face' });
  private readonly title = h('h1');
  private readonly everyone = h('ul', { class: 'everyone' });
  private readonly wishes = h('div', { class: 'wishes' });
  private readonly details = h('dl');
  private drawn = '';

  constructor(private readonly room: Room, private readonly status: StatusLine, before: Child, actions: Child,
    private readonly powers?: Powers) {
    const sheet = h('div', { class: 'sheet', popover: 'auto', onbeforetoggle: () => {
      const { bottom, right } = this.el.getBoundingClientRect();
      sheet.style.top = `${bottom}px`;
      sheet.style.right = `${document.documentElement.clientWidth - right}px`;
    } }, this.everyone, powers?.invite, this.wishes,
      h('details', null, h('summary', null, t('details.carrier')), this.details));
    const details = h('button', { class: 'details', type: 'button' }, t('details.name'));
    details.popoverTargetElement = sheet;
    this.el = h('header', { class: 'room-head' }, before, this.face,
      h('div', { class: 'room-title' }, this.title, status.el),
      h('div', { class: 'room-actions' }, details, sheet, actions));
  }

  /** update names the conversation by those in it, or by what it is about, and shows the face of who. */
  update(title: string[], who: Person | undefined): void {
    const { room } = this;
    this.status.show(roomLine(room));
    const print = [...title, who?.addr, who?.name, room.carrier, room.port, room.why, room.isPast, room.phase,
      [...room.here], room.transcript, this.powers?.muted(), room.amCallee,
      [...room.people.values()].map((p) => room.name(p))].join('|');
    if (print === this.drawn) return;
    this.drawn = print;
    fill(this.title, listed(title));
    fill(this.face, avatar(who));
    const quic = room.carrier === 'webtransport' || room.carrier === 'quic';
    this.details.dataset.carrier = room.carrier;
    this.details.dataset.way = room.isPast ? 'direct' : 'relay';
    this.details.dataset.port = String(room.port);
    const row = (key: Key, value: Child) => [h('dt', null, t(key)), h('dd', null, value)];
    fill(this.details,
      row('details.carrier', room.carrier === '' ? t('details.none') : quic ? 'WebTransport (QUIC)'
        : room.carrier === 'http' ? 'HTTP' : 'WebSocket'),
      room.isPast && row('details.way', t('details.past')),
      row('details.port', room.port ? t('details.udp', { port: room.port }) : t('details.tcp')),
      room.why && row('details.why', t(room.carrier === 'http' ? 'why.http' : whys[room.why], { port: room.port })));
    this.drawPeople();
    this.drawWishes();
    if (this.powers?.invite) this.powers.invite.hidden = !room.amCallee;
  }

  private drawPeople(): void {
    const { room, powers } = this;
    fill(this.everyone, [...room.people.values()].map((p) => h('li', null,
      avatar(p, 'small'),
      h('span', { class: 'everyone-who' },
        h('bdi', null, breakable(nameOf(p))), p.id === room.me && ` (${t('people.you')})`,
        p.guest && h('span', { class: 'tag' }, t('people.guest')),
        room.here.has(p.id) && !p.proven && !p.guest && h('span', { class: 'tag' }, t('line.byLink')),
        // Two people may have the same name.
        cleanLine(p.addr) !== nameOf(p) && h('span', { class: 'muted' }, h('bdi', null, breakable(cleanLine(p.addr))))),
      room.here.has(p.id) && h('span', { class: 'here' }, t('people.isHere')),
      powers && p.id !== room.me && powers.about(p))));
  }

  private drawWishes(): void {
    const { room, powers } = this;
    const held = this.wishes.contains(document.activeElement) ? document.activeElement!.id : '';
    const tick = (id: string, key: Key, on: boolean, change: (on: boolean) => void) => {
      const box = h('input', { type: 'checkbox', id, checked: on, onchange: () => change(box.checked) });
      return h('label', { class: 'tick' }, box, h('span', null, t(key)));
    };
    fill(this.wishes,
      room.editFor > 0 && tick('wish-transcript', 'details.transcript',
        room.transcript, (on) => room.wantTranscript(on)),
      powers && tick('wish-mute', 'details.mute', powers.muted(), (on) => powers.mute(on)));
    if (held) document.getElementById(held)?.focus();
  }
}
