// SPDX-License-Identifier: GPL-3.0-or-later

// The desk: the conversations of a login on the left, the open one on the
// right, and the place where its owner is rung.

import { ApiError, fetchPage, get, post } from './api';
import { after } from './clock';
import type { Phase } from './connection';
import { Device } from './device';
import { bdi, fill, h, icon, type Child } from './dom';
import { explain } from './gate';
import { moment, shortMoment, list, t, tr, type Key } from './i18n';
import { Incoming } from './incoming';
import { forgetAll } from './outbox';
import { askToNotify, canSound, mayNotify, notify, plink, unlock } from './ringer';
import { DeskRoom } from './deskroom';
import { DeskRooms } from './deskrooms';
import { noteWords } from './note';
import { signIn } from './signin';
import { avatar, cleanLine, nameOf } from './text';
import type { DeskPage, Ring, Summary } from './wire';

const pageSize = 50;      // conversations read at a time
const readPause = 250;    // ms in which several changes are one reading
const noticeFor = 6000;   // ms a passing word stays
const missedMost = 20;    // missed rings shown; older ones are in their rooms

export function desk(page: DeskPage, root: HTMLElement): void {
  const start = (login: string, name: string) => new Desk(root, login, name, () =>
    signIn(root, true, () => void enter()));
  const enter = async () => {
    const fresh = await fetchPage('/desk').catch(() => null);
    if (fresh?.page === 'desk' && fresh.login) start(fresh.login, fresh.name ?? '');
    else signIn(root, true, () => void enter());
  };
  if (page.login) start(page.login, page.name ?? '');
  else signIn(root, false, () => void enter());
}

class Desk {
  private rooms: Summary[] = [];
  private more = false;
  private loaded = false;
  private missed: Ring[] = [];
  private phase: Phase = 'connecting';
  private away: boolean;
  private readonly open = new DeskRooms();
  private ended = false;
  private reading: (() => void) | undefined;
  private readonly listeners = new AbortController();
  private readonly device: Device;
  private readonly incoming: Incoming;
  private readonly me: { addr: string; name: string };

  private readonly avail = h('button', { class: 'avail', type: 'button', onclick: () => this.toggleAway() });
  private readonly bell = h('div', { class: 'bell' });
  private readonly notices = h('div', { class: 'notices' });
  private readonly items = h('ul', { class: 'rooms' });
  private readonly older = h('button', { class: 'link', type: 'button', hidden: true, onclick: () => void this.read(true) }, t('desk.older'));
  private readonly problem = h('p', { class: 'problem', role: 'alert' });
  private readonly toast = h('p', { class: 'toast', 'aria-live': 'polite' });
  private readonly pane = h('section', { class: 'pane' });
  private readonly el: HTMLElement;

  constructor(root: HTMLElement, private readonly login: string, name: string, private readonly expired: () => void) {
    this.me = { addr: login, name };
    this.away = localStorage.getItem('chmail.away.' + login) === '1';
    this.incoming = new Incoming({ answer: (r) => this.answer(r), decline: (r, words) => this.decline(r, words) });
    this.el = h('div', { class: 'desk' },
      h('aside', { class: 'side', 'aria-label': t('desk.side') },
        h('header', { class: 'side-head' },
          h('h1', { class: 'sr' }, t('desk.side')),
          avatar(this.me),
          h('div', { class: 'side-who' }, h('p', { class: 'strong' }, bdi(nameOf(this.me))), this.avail),
          h('button', { class: 'link', type: 'button', onclick: () => void this.signOut() }, t('desk.signOut'))),
        this.bell, this.notices, this.problem,
        h('nav', { 'aria-label': t('desk.list') }, this.items, this.older)),
      this.pane, this.toast);
    fill(root, this.el);

    this.device = new Device({
      ring: (r) => this.rung(r),
      ended: (attempt, code) => this.ringEnded(attempt, code),
      changed: () => this.changed(),
      phase: (p) => this.phaseIs(p),
    });
    if (this.away) this.device.setAway(true);
    const { signal } = this.listeners;
    addEventListener('hashchange', () => this.follow(), { signal });
    document.addEventListener('visibilitychange', () => this.looked(), { signal });
    // Any press lets the tab sound; the button also asks for notifications.
    addEventListener('pointerdown', () => void unlock().then(() => this.drawBell()), { signal });
    this.drawTop();
    this.drawBell();
    void this.read();
    this.follow();
  }

  // The list.

  private changed(): void {
    this.reading ??= after(readPause, () => {
      this.reading = undefined;
      void this.read();
    });
  }

  private async read(older = false): Promise<void> {
    if (this.ended) return;
    const last = this.rooms.at(-1);
    const before = older && last ? `&before=${encodeURIComponent(when(last))}` : '';
    try {
      const answer = await get<{ me: string; rooms: Summary[] | null }>(`/desk/rooms?limit=${pageSize}${before}`);
      const rooms = answer.rooms ?? [];
      if (older || !this.loaded) this.more = rooms.length >= pageSize;
      const fresh = new Set(rooms.map((r) => r.id));
      const kept = this.rooms.filter((r) => !fresh.has(r.id));
      const unread = this.unread();
      // What changed is among the newest; those read before stay below them.
      this.rooms = older ? [...kept, ...rooms] : [...rooms, ...kept];
      if (this.loaded && this.unread() > unread && document.hidden) this.announce();
      this.loaded = true;
      this.problem.textContent = '';
      this.drawList();
    } catch (err) {
      if (err instanceof ApiError && err.status === 401) return this.end(this.expired);
      this.problem.textContent = explain(err);
    }
  }

  private unread(): number {
    return this.rooms.reduce((sum, r) => sum + (this.looking(r.id) ? 0 : r.unread), 0);
  }

  private looking(room: string): boolean {
    return this.open.shown?.id === room && !document.hidden;
  }

  private announce(): void {
    plink();
    const r = this.rooms.find((x) => x.unread > 0 && !this.looking(x.id));
    if (r?.last) {
      const from = nameOf(r.participants.find((p) => p.id === r.last!.from));
      notify(from, h('p', null, preview(r)).textContent, 'room-' + r.id, () => { location.hash = r.id; });
    }
  }

  private drawList(): void {
    const focused = document.activeElement?.getAttribute('href');
    const unread = this.unread();
    document.title = (unread ? `(${unread}) ` : '') + t('desk.title');
    fill(this.items, this.rooms.map((r) => this.item(r)));
    if (focused) this.items.querySelector<HTMLElement>(`a[href="${CSS.escape(focused)}"]`)?.focus();
    this.older.hidden = !this.more;
    if (!this.open.shown) this.drawEmpty();
  }

  private item(r: Summary): HTMLElement {
    const others = r.participants.filter((p) => p.id !== r.me);
    const unread = this.looking(r.id) ? 0 : r.unread;
    const at = new Date(when(r));
    return h('li', null, h('a', {
      href: '#' + r.id, class: unread ? 'room unread' : 'room', 'aria-current': this.open.shown?.id === r.id && 'page',
    },
      avatar(others[0] ?? this.me),
      h('span', { class: 'room-text' },
        h('span', { class: 'room-top' },
          h('bdi', { class: 'room-name' }, others.length ? list(others.map(nameOf)) : nameOf(this.me)),
          h('time', { datetime: at.toISOString() }, shortMoment(at))),
        h('span', { class: 'room-subject', dir: 'auto' }, cleanLine(r.subject) || t('mail.noSubject')),
        h('span', { class: 'room-last' },
          h('span', { class: 'room-preview', dir: 'auto' }, preview(r)),
          unread > 0 && h('span', { class: 'count' }, unread, h('span', { class: 'sr' }, ' ', t('desk.unread')))))));
  }

  private drawEmpty(): void {
    if (!this.loaded) return;
    const first = this.rooms.length === 0;
    fill(this.pane, h('div', { class: 'empty' },
      h('span', { class: 'emblem' }, icon(first ? 'mail' : 'chat')),
      h('h2', null, t(first ? 'empty.title' : 'desk.choose')),
      first ? h('ol', { class: 'teach' },
        h('li', null, t('empty.one')), h('li', null, t('empty.two')), h('li', null, t('empty.three')))
        : h('p', { class: 'muted' }, t('desk.chooseWhy'))));
  }

  // The open conversation.

  private follow(): void {
    const id = location.hash.slice(1);
    if (this.open.shown?.id === id) return;
    this.el.classList.toggle('has-room', id !== '');
    this.open.show(id, () => new DeskRoom(id, this.pane, () => this.rooms.find((r) => r.id === id), {
      back: () => { location.hash = ''; },
      news: () => this.changed(),
      gone: () => this.open.drop(id),
      rings: () => this.incoming.has(id),
      expired: () => this.end(this.expired),
    }));
    if (id) {
      this.missed = this.missed.filter((m) => m.room !== id);
      this.drawNotices();
    } else fill(this.pane);
    this.drawList();
  }

  private looked(): void {
    this.open.shown?.looked();
    if (!document.hidden) this.changed();
  }

  // Rings.

  private rung(r: Ring): void {
    if (r.waiting) {
      this.miss(r);
      return;
    }
    this.incoming.show(r);
  }

  private miss(r: Ring): void {
    this.missed = [r, ...this.missed.filter((m) => m.attempt !== r.attempt && m.room !== r.room)].slice(0, missedMost);
    this.drawNotices();
  }

  private ringEnded(attempt: string, code: string): void {
    const r = this.incoming.end(attempt);
    if (!r) return;
    const name = nameOf(r.from);
    if (code === 'elsewhere') this.say('toast.elsewhere', name);
    else if (code === 'declined') this.say('toast.declined', name);
    else if (code === 'cancelled' || code === 'unanswered') {
      if (code === 'cancelled') this.say('toast.cancelled', name);
      this.miss(r);
    } else if (code === 'answered') this.show(r.room);
    this.changed();
  }

  private answer(r: Ring): void {
    this.device.answer(r.attempt);
    this.incoming.end(r.attempt);
    this.show(r.room);
  }

  private show(room: string): void {
    if (this.open.shown?.id === room) this.open.shown.wake();
    location.hash = room;
    this.follow(); // now, not when the change of the hash is told: the focus goes to the right room
    this.open.shown?.focus();
  }

  private decline(r: Ring, words: string): void {
    this.device.decline(r.attempt, words);
    this.incoming.end(r.attempt);
  }

  private drawNotices(): void {
    fill(this.notices, this.missed.map((r) => h('div', { class: 'notice' },
      icon('bell'),
      h('a', { href: '#' + r.room }, tr('missed.what', { name: nameOf(r.from), time: moment(new Date(r.at)) }),
        h('span', { class: 'notice-subject', dir: 'auto' }, cleanLine(r.subject))),
      h('button', {
        class: 'round', type: 'button', 'aria-label': t('missed.dismiss'),
        onclick: () => {
          this.missed = this.missed.filter((m) => m !== r);
          this.drawNotices();
        },
      }, icon('close')))));
  }

  private say(key: Key, name: string): void {
    fill(this.toast, tr(key, { name }));
    const words = this.toast.textContent;
    after(noticeFor, () => this.toast.textContent === words && fill(this.toast));
  }

  // The top.

  private phaseIs(p: Phase): void {
    this.phase = p;
    this.drawTop();
    this.drawBell();
    // A refused connection may be a session that ended: the list knows.
    if (p === 'lost') this.changed();
  }

  private toggleAway(): void {
    this.away = !this.away;
    if (this.away) localStorage.setItem('chmail.away.' + this.login, '1');
    else localStorage.removeItem('chmail.away.' + this.login);
    this.device.setAway(this.away);
    this.drawTop();
  }

  private drawTop(): void {
    const key: Key = this.phase !== 'open' ? (this.phase === 'connecting' ? 'avail.connecting' : 'avail.lost')
      : this.away ? 'avail.away' : 'avail.available';
    this.avail.dataset.mood = this.phase !== 'open' || this.away ? 'busy' : 'good';
    this.avail.title = t(this.away ? 'avail.toAvailable' : 'avail.toAway');
    fill(this.avail, h('span', null, t(key)), h('span', { class: 'sr' }, '. ', this.avail.title));
  }

  private drawBell(): void {
    const asks = mayNotify() === 'default';
    const state = `${canSound()} ${asks} ${this.phase}`;
    if (this.bell.dataset.state === state) return;
    this.bell.dataset.state = state;
    this.bell.classList.toggle('off', !canSound());
    if (canSound() && !asks) {
      fill(this.bell, icon('bell'), h('p', null, t(this.phase === 'open' ? 'bell.ready' : 'bell.notYet')));
      return;
    }
    fill(this.bell, icon('bell'),
      h('p', null, t(canSound() ? 'bell.soundOnly' : 'bell.silent')),
      h('button', { class: 'secondary', type: 'button', onclick: () => void this.allow() },
        t(canSound() ? 'bell.notify' : 'bell.turnOn')));
  }

  private async allow(): Promise<void> {
    await unlock();
    if (canSound()) plink();
    this.drawBell();
    await askToNotify();
    this.drawBell();
  }

  // The end.

  private async signOut(): Promise<void> {
    await post('/desk/sign-out').catch(() => {});
    forgetAll();
    this.end(() => location.replace('/desk'));
  }

  private end(then: () => void): void {
    if (this.ended) return;
    this.ended = true;
    this.listeners.abort();
    this.reading?.();
    this.incoming.clear();
    this.open.close();
    this.device.close();
    then();
  }
}

const when = (r: Summary) => r.last?.at ?? r.created;

/** preview: the last that happened, in one line. */
function preview(r: Summary): Child {
  const m = r.last;
  if (!m) return t('desk.nothingYet');
  if (m.kind === 'note') return noteWords(m, r.me, r.participants, r.owner);
  if (m.kind === 'mail') return m.offset === 1 ? t('desk.mailSent') : t('desk.mailLater', { subject: cleanLine(m.text) || t('mail.noSubject') });
  const from = r.participants.find((p) => p.id === m.from);
  const who = from?.id === r.me ? t('desk.you') : r.participants.length > 2 && from ? nameOf(from) + ': ' : '';
  return who + cleanLine(m.text);
}
