// SPDX-License-Identifier: GPL-3.0-or-later

// The desk: the conversations of a login on the left, the open one on the
// right, and the place where its owner is rung.

import '../base/mishap';
import { bdi, fill, h, icon } from '../base/dom';
import { explain, sessionOver } from '../base/errors';
import { type Key, t, tr } from '../base/i18n';
import { tabTitle } from '../base/tabtitle';
import { cleanLine, nameOf } from '../base/text';
import { soon } from '../base/time';
import { Device } from '../model/device';
import { forgetAll } from '../model/outbox';
import { Prefs } from '../model/prefs';
import { handedTo, Rooms } from '../model/rooms';
import { onTabs, shareSound, soundHere, tellTabs } from '../model/tabs';
import { SettingsPage } from './settings';
import { signIn } from './signin';
import { Availability } from '../view/availability';
import { avatar } from '../view/avatar';
import { Bell } from '../view/bell';
import { DeskRoom } from '../view/deskroom';
import { DeskRooms } from '../view/deskrooms';
import { firstDay } from '../view/firstday';
import { figures } from '../view/figures';
import { Incoming } from '../view/incoming';
import { SilentRings } from '../view/silentrings';
import { notify, messageSound } from '../view/ringer';
import { preview, RoomList } from '../view/roomlist';
import { Search } from '../view/search';
import { Toast } from '../view/toast';
import { writing } from '../view/writing';
import { actAs, get, post, readPage } from '../wire/api';
import type { Phase } from '../wire/connection';
import { onPressed, registration, unsubscribe } from '../wire/push';
import type { DeskPage, Participant, Ring, Summary } from '../wire/wire';

function desk(page: DeskPage, root: HTMLElement): void {
  void registration();
  const start = (p: DeskPage): Desk => {
    tellTabs(p.login!);
    return new Desk(root, p, (why) => signIn(root, why, () => void enter()), () => start(p).say('account.changed'));
  };
  const enter = async () => {
    const fresh = await get<DeskPage>('/desk/me').catch(() => null);
    if (fresh?.login) start(fresh);
    else signIn(root, 'signin.expired', () => void enter());
  };
  if (page.login) start(page);
  else signIn(root, '', () => void enter());
}

class Desk {
  private readonly open = new DeskRooms();
  private ended = false;
  private readonly listeners = new AbortController();
  private readonly device: Device;
  private readonly incoming: Incoming;
  private readonly prefs: Prefs;
  private readonly avail: Availability;
  private readonly bell: Bell;
  private readonly rooms: Rooms;
  private readonly list: RoomList;
  private readonly silent: SilentRings;
  private settings: SettingsPage | undefined;
  private other = ''; // what else is shown instead of a room

  private readonly problem = h('p', { class: 'problem', role: 'alert' });
  private readonly toast = new Toast();
  private readonly pane = h('section', { class: 'pane', 'aria-label': t('desk.pane') });
  private readonly el: HTMLElement;

  /** renewed: the desk begins anew, after a change of the password. */
  constructor(root: HTMLElement, private readonly page: DeskPage, private readonly over: (why: Key) => void,
    private readonly renewed: () => void) {
    const me = { addr: page.login!, name: page.name ?? '' };
    const whose = bdi(nameOf(me));
    const face = h('span', { class: 'face' }, avatar(me));
    this.prefs = new Prefs(() => {
      const called = cleanLine(this.prefs.now!.called ?? '');
      if (called && called !== me.name) {
        me.name = called;
        whose.textContent = called;
        fill(face, avatar(me));
      }
      this.configured();
    }, (why) => this.lost(why));
    this.avail = new Availability(this.prefs, (err) => this.tell(explain(err)));
    this.bell = new Bell(() => this.prefs.now?.push ?? true);
    this.rooms = new Rooms(page.login!, (id) => this.looking(id));
    this.list = new RoomList(me, this.rooms, {
      open: () => this.open.shown?.id ?? '',
      inTeam: () => !!this.prefs.now?.groups?.length,
      read: (older) => void this.read(older),
      dismiss: (room) => this.dismiss(room),
    });
    this.silent = new SilentRings((r) => this.answer(r));
    const search = new Search((on) => { this.list.el.hidden = on; });
    this.incoming = new Incoming({
      answer: (r) => this.answer(r),
      decline: (r, words) => this.decline(r, words),
      talking: () => (this.open.shown?.inTalk ?? false) && !document.hidden,
      canned: () => this.prefs.canned,
    }, this.listeners.signal);
    this.el = h('div', { class: 'desk' },
      h('aside', { class: 'side', 'aria-label': t('desk.side') },
        h('header', { class: 'side-head' },
          h('h1', { class: 'sr' }, t('desk.side')),
          face,
          h('div', { class: 'side-who' }, h('p', { class: 'strong' }, whose), this.avail.el),
          h('a', { class: 'button round', href: '#write', 'aria-label': t('write.title'), title: t('write.title') },
            icon('edit')),
          h('a', { class: 'button round', href: '#figures', 'aria-label': t('figures.title'),
            title: t('figures.title') }, icon('chart')),
          h('a', { class: 'button round', href: '#settings', 'aria-label': t('settings.title'),
            title: t('settings.title') }, icon('settings'))),
        this.bell.el, this.silent.el, this.problem, search.el, search.found, this.list.el),
      this.pane, this.toast.el);
    fill(root, this.el);

    actAs(page.login!);
    shareSound();
    this.device = new Device(page.login!, {
      ring: (r) => this.rung(r),
      ended: (attempt, code, who) => this.ringEnded(attempt, code, who),
      welcomed: () => void this.read(),
      changed: (room, summary) => this.changed(room, summary),
      settings: () => void this.prefs.read(),
      status: (s) => this.avail.shows(s),
      phase: (p) => this.phaseIs(p),
    });
    const { signal } = this.listeners;
    addEventListener('hashchange', () => this.follow(), { signal });
    document.addEventListener('visibilitychange', () => this.looked(), { signal });
    // Any press lets the tab sound; the button also asks for notifications.
    for (const press of ['pointerdown', 'keydown']) {
      addEventListener(press, () => {
        soundHere();
        this.bell.pressed();
      }, { signal });
    }
    onTabs((login) => {
      if (!login) this.lost('signin.expired');
      else if (login !== page.login) this.lost('signin.other');
    }, signal);
    onPressed((p) => {
      const r = this.incoming.get(p.attempt);
      if (p.action === 'decline') r && this.decline(r, '');
      else if (r) this.answer(r);
      else this.show(p.room);
    }, signal);
    void this.read();
    this.follow();
  }

  // The list.

  private changed(room: string, summary: Summary | undefined): void {
    const before = this.rooms.find(room);
    if (this.rooms.tell(room, summary)) this.announce(summary);
    // Whoever takes a room, by answering or by the button, has it before their eyes.
    else if (summary && !this.looking(room) && handedTo(this.page.login!, before, summary)) this.handedOver(summary);
    if (this.open.shown?.id === room) this.open.shown.redraw();
    if (String(before?.labels ?? []) !== String(summary?.labels ?? [])) void this.list.learnLabels();
    soon(this.drawSoon);
  }

  private readonly drawSoon = () => {
    if (!this.ended) this.drawList();
  };

  private async read(older = false): Promise<void> {
    if (this.ended) return;
    try {
      const news = await this.list.read(older);
      if (this.ended) return;
      this.problem.textContent = '';
      this.announce(news.find((r) => r.last));
      this.drawList();
      if (!older) void this.list.learnLabels();
    } catch (err) {
      const why = sessionOver(err);
      if (why) return this.lost(why);
      this.problem.textContent = explain(err);
    }
  }

  private looking(room: string): boolean {
    return this.open.shown?.id === room && !document.hidden;
  }

  /** announce sounds for a message in a conversation that is not before one's eyes. */
  private announce(r: Summary | undefined): void {
    if (!r?.last) return;
    messageSound();
    const from = nameOf(r.participants.find((p) => p.id === r.last!.from));
    notify({ title: from, body: h('p', null, preview(r)).textContent, room: r.id,
      onclick: () => { location.hash = r.id; } });
  }

  /** handedOver sounds for a conversation that a colleague has given to this login. */
  private handedOver(r: Summary): void {
    const who = nameOf(r.participants.find((p) => p.id !== r.me));
    const words = t('toast.handed', { name: who, subject: cleanLine(r.subject) });
    messageSound();
    this.tell(tr('toast.handed', { name: who, subject: cleanLine(r.subject) }));
    notify({ title: words, body: '', room: r.id, onclick: () => { location.hash = r.id; } });
  }

  /** dismiss forgets missed calls, at every desk of the login. */
  private async dismiss(room: string): Promise<void> {
    try {
      await post('/desk/dismiss', room ? { room } : { all: true });
      this.rooms.dismiss(room);
    } catch (err) {
      this.tell(explain(err));
    }
    this.drawList();
  }

  private drawList(): void {
    const unread = this.rooms.unread();
    tabTitle((unread ? `(${unread}) ` : '') + t('desk.title'), unread);
    this.list.draw();
    if (!this.open.shown && !this.settings && !this.other) this.drawEmpty();
  }

  private drawEmpty(): void {
    if (!this.rooms.loaded('chats') || !this.prefs.now) return;
    const first = this.rooms.list === 'chats' && !this.rooms.shown().length;
    if (this.pane.querySelector<HTMLElement>('.empty')?.dataset.first === String(first)) return;
    fill(this.pane, h('div', { class: 'empty', 'data-first': String(first) },
      first ? firstDay(this.page, this.prefs) : [h('span', { class: 'emblem' }, icon('chat')),
        h('h2', null, t('desk.choose')), h('p', { class: 'muted' }, t('desk.chooseWhy'))]));
  }

  // The open conversation.

  /**
   * follow shows what the address names: "#ROOM", "#ROOM/OFFSET" of a search, "#settings", "#write", "#figures", or
   * nothing.
   */
  private follow(): void {
    const [id = '', offset] = location.hash.slice(1).split('/');
    this.el.classList.toggle('has-room', id !== '');
    if (id === 'settings') {
      if (this.settings) return;
      this.other = '';
      this.open.show('', () => { throw new Error('no room'); });
      this.settings = new SettingsPage(this.pane, this.prefs, {
        back: () => { location.hash = ''; },
        signOut: () => void this.signOut(),
        signOutEverywhere: () => void this.signOutEverywhere(),
        renewed: this.page.account ? () => this.end(this.renewed) : undefined,
      });
      this.list.draw();
      return;
    }
    this.settings?.close();
    this.settings = undefined;
    if (id === 'write' || id === 'figures') {
      if (this.other === id) return;
      this.other = id;
      this.open.show('', () => { throw new Error('no room'); });
      const back = () => { location.hash = ''; };
      if (id === 'write') {
        void (this.prefs.now ? Promise.resolve() : this.prefs.read()).then(() => {
          if (this.other !== 'write' || this.ended) return;
          writing(this.pane, this.prefs.now?.groups ?? [], back, (room) => { location.hash = room; });
        });
      } else figures(this.pane, back);
      this.list.draw();
      return;
    }
    this.other = '';
    if (this.open.shown?.id !== id || !id) {
      this.open.show(id, () => this.room(id));
      if (!id) fill(this.pane);
      this.drawList();
    }
    if (offset) this.open.shown?.reveal(Number(offset));
  }

  private room(id: string): DeskRoom {
    if (!this.rooms.find(id)) void this.learn(id);
    return new DeskRoom(id, this.page.login!, this.pane, () => this.rooms.find(id), {
      back: () => { location.hash = ''; },
      came: (p) => this.came(id, p),
      news: () => soon(this.drawSoon),
      gone: () => this.open.drop(id),
      rings: () => this.incoming.has(id),
      over: (why) => this.lost(why),
      canned: () => this.prefs.canned,
      mute: (on) => void this.mute(id, on),
      block: (p) => void this.act(p, 'toast.blocked', '/desk/block', { room: id, participant: p.id, on: true }),
      revoke: (p) => void this.act(p, 'toast.revoked', '/desk/revoke', { room: id, participant: p.id }),
      remove: (p) => void this.act(p, 'toast.removed', '/desk/remove', { room: id, participant: p.id }),
    });
  }

  /** learn reads of a room that no list has told of: an old one, opened by a link. */
  private async learn(id: string): Promise<void> {
    const summary = await get<Summary>(`/desk/rooms/${encodeURIComponent(id)}`).catch(() => undefined);
    if (!summary || this.ended) return; // it cannot be opened either, and says so
    this.rooms.put(summary);
    this.open.shown?.redraw();
    this.drawList();
  }

  /** came tells of somebody who does not ring, since this desk is in their conversation, unseen. */
  private came(room: string, p: Participant): void {
    const r = this.rooms.find(room);
    if (r?.muted) return;
    const [name, subject] = [nameOf(p), cleanLine(r?.subject ?? '')];
    this.tell(tr('toast.came', { name, subject }));
    messageSound();
    notify({ title: t('coming.in', { name }), body: subject, room, onclick: () => this.show(room) });
  }

  private async mute(id: string, on: boolean): Promise<void> {
    try {
      await post('/desk/mute', { room: id, on });
      const r = this.rooms.find(id);
      if (r) r.muted = on;
      this.say(on ? 'toast.muted' : 'toast.unmuted');
    } catch (err) {
      this.tell(explain(err));
    }
    this.drawList();
    this.open.shown?.redraw();
  }

  /** act does something about somebody, and says so. */
  private async act(p: Participant, done: Key, path: string, body: object): Promise<void> {
    try {
      await post(path, body);
      this.say(done, nameOf(p));
      void this.prefs.read(); // with whom is blocked
    } catch (err) {
      this.tell(explain(err));
    }
  }

  private looked(): void {
    this.open.shown?.looked();
    this.bell.draw();
    if (this.prefs.now) void this.bell.keep();
    this.drawList();
  }

  // Rings.

  private rung(r: Ring): void {
    if (r.waiting) return; // the list has it, among the missed calls
    if (r.muted) this.silent.add(r);
    else this.incoming.show(r);
  }

  private ringEnded(attempt: string, code: string, who: string): void {
    this.silent.end(attempt);
    const r = this.incoming.end(attempt);
    if (!r) return;
    const name = nameOf(r.from);
    if (code === 'elsewhere') {
      if (who) this.say('toast.taken', name, who);
      else this.say('toast.elsewhere', name);
    } else if (code === 'declined') this.say('toast.declined', name);
    else if (code === 'cancelled') this.say('toast.cancelled', name);
    else if (code === 'answered') this.show(r.room);
    this.drawList();
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
    this.drawList();
  }

  private decline(r: Ring, words: string): void {
    this.device.decline(r.attempt, words);
    this.incoming.end(r.attempt);
    this.drawList();
  }

  say(key: Key, name = '', who = ''): void {
    this.tell(tr(key, { name, who }));
  }

  private tell(words: (Node | string)[] | string): void {
    this.toast.tell(words);
  }

  // The top.

  private phaseIs(p: Phase): void {
    this.avail.phaseIs(p);
    this.bell.phaseIs(p);
    // A refused connection may be a session that ended: the list knows.
    if (p === 'lost') void this.read();
  }

  private configured(): void {
    this.drawList();
    this.avail.draw();
    void this.bell.keep();
    this.settings?.draw();
    this.open.shown?.redraw();
  }

  // The end.

  private async signOut(): Promise<void> {
    await unsubscribe(); // whoever signs in next is not told of these rings
    try {
      await post('/desk/sign-out');
    } catch (err) {
      return this.tell(explain(err));
    }
    tellTabs('');
    forgetAll();
    this.end(() => location.replace('/desk'));
  }

  private async signOutEverywhere(): Promise<void> {
    try {
      await post('/desk/sign-out/everywhere');
    } catch (err) {
      return this.tell(explain(err));
    }
    tellTabs('');
    forgetAll();
    this.end(() => void unsubscribe().then(() => location.replace('/desk')));
  }

  /** lost: the session is over, or is another login's now. */
  private lost(why: Key): void {
    this.end(() => this.over(why));
  }

  private end(then: () => void): void {
    if (this.ended) return;
    this.ended = true;
    this.listeners.abort();
    this.incoming.clear();
    this.open.close();
    this.device.close();
    tabTitle(t('desk.title'));
    then();
  }
}

desk(readPage<DeskPage>(), document.getElementById('app')!);
