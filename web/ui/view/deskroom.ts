// SPDX-License-Identifier: GPL-3.0-or-later

// One conversation opened on the desk.

import { fill, h } from '../base/dom';
import { ApiError, explain, sessionOver } from '../base/errors';
import { type Key, t, tr } from '../base/i18n';
import { cleanLine, nameAmong } from '../base/text';
import { after, soon } from '../base/time';
import { Room } from '../model/room';
import { Conversation } from './conversation';
import { inviteForm } from './invite';
import { Panel } from './panel';
import { personMenu } from './personmenu';
import { backButton, RoomHead, StatusLine } from './roomheader';
import { TeamBar } from './team';
import { post } from '../wire/api';
import type { Canned, Entry, Participant, Summary } from '../wire/wire';

// Whoever is in a room is not rung. A desk that does not show a room, or that
// nobody looks at, leaves it this long after the last other person did, so that
// the next attempt rings: no longer than a page takes to be loaded again.
const restAfter = 5_000; // ms

export interface Callbacks {
  back(): void;
  /** Somebody came in while it was not looked at. */
  came(p: Participant): void;
  /** There is something new, or it has been seen. */
  news(): void;
  /** It left the room while it was not shown. */
  gone(): void;
  rings(): boolean;
  over(why: Key): void;
  canned(): Canned[];
  mute(on: boolean): void;
  block(p: Participant): void;
  revoke(p: Participant): void;
  remove(p: Participant): void;
}

export class DeskRoom {
  private room: Room | undefined;
  private view: Conversation | undefined;
  private head: RoomHead | undefined;
  private rest: (() => void) | undefined;
  private wanted = false;
  private behind = false;   // in the room, and not shown
  private company = false;  // somebody else was there since it went behind
  private panel: Panel | undefined;
  private readonly team: TeamBar;
  private wanting = 0;      // the offset to be shown

  constructor(readonly id: string, login: string, private readonly pane: HTMLElement,
    private readonly summary: () => Summary | undefined,
    private readonly callbacks: Callbacks) {
    this.team = new TeamBar(id, login);
    this.enter();
  }

  focus(): void {
    this.wanted = true;
    this.view?.focus();
  }

  /** wake enters again after a rest. */
  wake(): void {
    if (!this.room) this.enter();
  }

  looked(): void {
    this.awake();
    if (document.hidden) this.tire();
    else if (this.room) this.view?.look();
    else if (!this.callbacks.rings()) this.enter();
  }

  /** Somebody else is in the room, or may be: it is only just entered. */
  get inCompany(): boolean {
    return !!this.room && (this.room.phase === 'connecting' || this.room.others.length > 0);
  }

  /** inTalk: somebody is there to talk to. */
  get inTalk(): boolean {
    return !!this.room && this.room.phase === 'open' && this.room.others.length > 0;
  }

  /** reveal shows the message at an offset. */
  reveal(offset: number): void {
    this.wanting = offset;
    this.view?.reveal(offset);
  }

  redraw(): void {
    if (this.room) this.update(this.room);
  }

  /** hide stays in the room without showing it. */
  hide(): void {
    this.behind = true;
    this.wanted = false;
    this.company = !!this.room?.others.length;
    this.awake();
  }

  /** show brings a hidden room back as it stands now. */
  show(): void {
    this.behind = false;
    this.awake();
    if (!this.room || !this.view || !this.head) return this.enter();
    this.draw();
    this.update(this.room);
    this.view.shown();
  }

  close(): void {
    this.awake();
    this.room?.close();
    this.panel?.close();
    this.view?.close();
    this.room = undefined;
  }

  private tire(): void {
    this.rest ??= after(restAfter, () => {
      this.rest = undefined;
      if (!document.hidden || !this.room) return;
      if (this.room.others.length || this.room.pending.length) return this.tire();
      this.close();
    });
  }

  private awake(): void {
    this.rest?.();
    this.rest = undefined;
  }

  /** linger: behind, the room is kept as long as somebody else is there, and a little longer. */
  private linger(room: Room): void {
    if (room.phase !== 'open') return;
    if (room.others.length) {
      this.company = true;
      this.awake();
    } else if (this.company) this.rest ??= after(restAfter, () => this.callbacks.gone());
    else this.callbacks.gone();
  }

  private draw(): void {
    fill(this.pane, h('div', { class: 'talk' }, this.head!.el, this.panel!.el, this.team.el, this.view!.el));
  }

  private enter(): void {
    const changed = () => this.update(room);
    const room: Room = new Room({
      callee: this.summary()?.owner ?? 0,
      files: `/desk/rooms/${encodeURIComponent(this.id)}/files`,
      enter: async () => {
        const entry = await post<Entry>(`/desk/rooms/${encodeURIComponent(this.id)}/ticket`);
        // A deep link opens its room before the list has been read.
        room.calleeIs(this.summary()?.owner);
        return entry;
      },
      changed: () => soon(changed),
      came: (p) => {
        if (this.behind || document.hidden) this.callbacks.came(p);
      },
      heard: () => this.callbacks.news(),
      over: (err) => this.over(err),
    });
    this.room = room;
    this.head = new RoomHead(room, new StatusLine(),
      backButton(() => this.callbacks.back()), null, {
        invite: inviteForm(this.id),
        muted: () => this.summary()?.muted ?? false,
        mute: (on) => this.callbacks.mute(on),
        about: (p) => personMenu(room.name(p), room.amCallee, {
          block: () => this.callbacks.block(p),
          revoke: () => this.callbacks.revoke(p),
          remove: () => this.callbacks.remove(p),
        }),
      });
    this.view = new Conversation(room, () => this.callbacks.canned());
    const { view } = this;
    this.panel = new Panel(room, () => view.focus());
    if (this.wanting) view.reveal(this.wanting);
    this.draw();
    this.update(room);
    if (this.wanted) this.view.focus();
  }

  private over(err: unknown): void {
    this.close();
    const why = sessionOver(err);
    if (why) return this.callbacks.over(why);
    if (this.behind) return this.callbacks.gone();
    const missing = !(err instanceof ApiError) || err.status === 404 || err.status === 403;
    fill(this.pane, h('div', { class: 'empty' },
      h('h1', null, t('desk.noRoom')),
      h('p', { class: 'muted' }, missing ? t('desk.noRoomWhy') : explain(err)),
      h('button', { class: 'secondary', type: 'button', onclick: () => this.callbacks.back() }, t('desk.back'))));
  }

  private update(room: Room): void {
    if (room !== this.room || !this.view || !this.head) return;
    room.calleeIs(this.summary()?.owner);
    const people = [...room.people.values()];
    const others = (people.length ? people : this.summary()?.participants ?? []).filter((p) => p.id !== room.me);
    const subject = cleanLine(room.subject || this.summary()?.subject || '');
    this.head.update(others.length ? others.map((p) => nameAmong(p, others)) : [subject], others[0] ?? people[0]);
    this.panel?.draw();
    this.team.update(this.summary());
    const alone = room.phase === 'open' && room.others.length === 0;
    this.view.ask(alone ? tr('compose.alone') : [], t('compose.placeholder'));
    this.view.update();
    if (this.behind) this.linger(room);
  }
}
