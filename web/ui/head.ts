// SPDX-License-Identifier: GPL-3.0-or-later

// The top of a conversation: with whom, how it stands, who is here, and the
// details of the connection.

import type { Why } from './carrier';
import { fill, h, type Child } from './dom';
import { list, t, tr, type Key } from './i18n';
import type { Room } from './room';
import { roomLine, type Line } from './status';
import { avatar, nameOf } from './text';
import type { Person } from './wire';

/** StatusLine is the page's one role=status; it speaks only when its words change. */
export class StatusLine {
  readonly el = h('p', { class: 'status', role: 'status', 'aria-live': 'polite' });

  show(line: Line): void {
    const words = h('span', null, line.nodes);
    if (this.el.dataset.mood === line.mood && this.el.textContent === words.textContent) return;
    this.el.dataset.mood = line.mood;
    fill(this.el, words);
  }
}

const whys: Record<Why, Key> = {
  quic: 'why.quic', absent: 'why.absent', unoffered: 'why.unoffered',
  failed: 'why.failed', slow: 'why.slow', avoided: 'why.avoided',
};

export class RoomHead {
  readonly el: HTMLElement;
  private readonly face = h('span', { class: 'face' });
  private readonly title = h('h1', { dir: 'auto' });
  private readonly people = h('p', { class: 'people' });
  private readonly details = h('dl');
  private drawn = '';

  constructor(private readonly room: Room, private readonly status: StatusLine, before: Child, actions: Child) {
    const fold = h('details', {
      class: 'details',
      onkeydown: (ev: KeyboardEvent) => {
        if (ev.key !== 'Escape' || !fold.open) return;
        fold.open = false;
        fold.querySelector('summary')!.focus();
      },
    }, h('summary', null, t('details.name')), h('div', { class: 'sheet' }, this.people, this.details));
    this.el = h('header', { class: 'room-head' }, before, this.face,
      h('div', { class: 'room-title' }, this.title, status.el),
      h('div', { class: 'room-actions' }, fold, actions));
  }

  /** update names the conversation, and shows the face of who. */
  update(title: string, who: Person | undefined): void {
    const { room } = this;
    this.status.show(roomLine(room));
    const print = [title, who?.addr, who?.name, room.carrier, room.port, room.why, room.phase, [...room.here],
      [...room.people.values()].map(nameOf)].join('|');
    if (print === this.drawn) return;
    this.drawn = print;
    this.title.textContent = title;
    fill(this.face, avatar(who));
    const here = [...room.here].flatMap((id) => room.people.get(id) ?? []);
    fill(this.people, here.length ? tr('people.here', {
      names: list(here.map((p) => (p.id === room.me ? t('people.you') : nameOf(p)))),
    }) : t('people.nobody'));
    const quic = room.carrier === 'webtransport' || room.carrier === 'quic';
    this.details.dataset.carrier = room.carrier;
    this.details.dataset.port = String(room.port);
    const row = (key: Key, value: Child) => [h('dt', null, t(key)), h('dd', null, value)];
    fill(this.details,
      row('details.carrier', room.carrier === '' ? t('details.none') : quic ? 'WebTransport (QUIC)' : 'WebSocket'),
      row('details.port', room.port ? t('details.udp', { port: room.port }) : t('details.tcp')),
      room.why && row('details.why', t(whys[room.why], { port: room.port })),
      row('details.everyone', list([...room.people.values()].map((p) =>
        nameOf(p) + (p.guest ? ` (${t('people.guest')})` : '')))));
  }
}
