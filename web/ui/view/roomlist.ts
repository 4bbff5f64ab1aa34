// SPDX-License-Identifier: GPL-3.0-or-later

// The list of conversations, newest first, unread ones bold with a count.

import { type Child, fill, h, icon } from '../base/dom';
import { list, shortMoment, t } from '../base/i18n';
import { cleanLine, fileName, nameAmong, nameOf } from '../base/text';
import { avatar } from './avatar';
import { noteWords } from './callnote';
import { type Rooms, when } from '../model/rooms';
import { get } from '../wire/api';
import type { Person, Summary } from '../wire/wire';

const pageSize = 50; // conversations read at a time

export class RoomList {
  readonly el: HTMLElement;
  private readonly items = h('ul', { class: 'rooms' });
  private readonly older: HTMLElement;

  constructor(private readonly me: Person, private readonly rooms: Rooms, private readonly open: () => string,
    readMore: () => void) {
    this.older = h('button', { class: 'link', type: 'button', hidden: true, onclick: readMore }, t('desk.older'));
    this.el = h('nav', { 'aria-label': t('desk.list') }, this.items, this.older);
  }

  /** read gets the newest, or the next older ones, and returns those in which more is unread. */
  async read(older: boolean): Promise<Summary[]> {
    const last = this.rooms.all.at(-1);
    const before = older && last ? `&before=${encodeURIComponent(when(last))}` : '';
    const answer = await get<{ rooms: Summary[] | null }>(`/desk/rooms?limit=${pageSize}${before}`);
    const rooms = answer.rooms ?? [];
    return this.rooms.take(rooms, older, rooms.length >= pageSize);
  }

  draw(): void {
    const focused = document.activeElement?.getAttribute('href');
    fill(this.items, this.rooms.all.map((r) => this.item(r)));
    if (focused) this.items.querySelector<HTMLElement>(`a[href="${CSS.escape(focused)}"]`)?.focus();
    this.older.hidden = !this.rooms.more;
  }

  private item(r: Summary): HTMLElement {
    const others = r.participants.filter((p) => p.id !== r.me);
    const unread = this.rooms.unreadIn(r);
    const at = new Date(when(r));
    return h('li', null, h('a', {
      href: '#' + r.id, class: `room ${unread ? 'unread' : ''} ${r.muted ? 'muted-room' : ''}`,
      'aria-current': this.open() === r.id && 'page',
    },
      avatar(others[0] ?? this.me),
      h('span', { class: 'room-text' },
        h('span', { class: 'room-top' },
          h('bdi', { class: 'room-name' }, others.length ? list(others.map((p) => nameAmong(p, others)))
            : nameOf(this.me)),
          r.muted && h('span', { class: 'room-muted' }, icon('mute'), h('span', { class: 'sr' }, t('desk.muted'))),
          h('time', { datetime: at.toISOString() }, shortMoment(at))),
        h('span', { class: 'room-subject', dir: 'auto' }, cleanLine(r.subject) || t('mail.noSubject')),
        h('span', { class: 'room-last' },
          h('span', { class: 'room-preview', dir: 'auto' }, preview(r)),
          unread > 0 && h('span', { class: 'count' }, unread > 99 ? '99+' : unread,
            h('span', { class: 'sr' }, ' ', t('desk.unread')))))));
  }
}

/** preview: the last that happened, in one line. */
export function preview(r: Summary): Child {
  const m = r.last;
  if (!m) return t('desk.nothingYet');
  if (m.kind === 'note') return noteWords(m, r.me, r.participants, r.owner);
  if (m.kind === 'mail') {
    return m.offset === 1 ? t('desk.mailSent')
      : t('desk.mailLater', { subject: cleanLine(m.text) || t('mail.noSubject') });
  }
  const from = r.participants.find((p) => p.id === m.from);
  const who = from?.id === r.me ? t('desk.you')
    : r.participants.length > 2 && from ? nameAmong(from, r.participants) + ': ' : '';
  if (m.deleted) return who + t('line.deleted');
  if (m.kind === 'file') {
    return who + t(m.file?.width ? 'desk.picture' : 'desk.file', { name: fileName(m.file?.name ?? '') });
  }
  return who + cleanLine(m.text);
}
