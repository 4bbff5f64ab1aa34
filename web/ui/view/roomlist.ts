// SPDX-License-Identifier: GPL-3.0-or-later

// The lists of rooms, newest first: which one is shown, and its rows. Unread
// ones are bold with a count, missed calls are marked.

import { type Child, fill, h, icon } from '../base/dom';
import { listed, moment, shortMoment, t } from '../base/i18n';
import { cleanLine, fileName, nameAmong, nameOf } from '../base/text';
import { after } from '../base/time';
import type { List, Rooms } from '../model/rooms';
import { avatar } from './avatar';
import { noteWords } from './callnote';
import { Bindings, KeyedList, type View } from './list';
import { type Item, menu } from './menu';
import { get } from '../wire/api';
import type { Person, Summary } from '../wire/wire';

/** The lists that have a button. What is known last comes last: no button moves away under a pointer. */
const choices = ['chats', 'mails', 'missed', 'mine', 'unassigned', 'all'] as const;
/** Those of a team: who is in no group has one list of conversations. */
const ofTeam: readonly string[] = ['mine', 'unassigned', 'all'];
type Shown = typeof choices[number];

const pageSize = 50;    // rooms read at a time
const missedMost = 100; // rooms with missed calls, which are counted: as many as the server gives at once

export interface Callbacks {
  /** The room that is open, '' for none. */
  open(): string;
  /** Whether one is a member of a group. */
  inTeam(): boolean;
  /** Another list, or more of this one, is wanted. */
  read(older: boolean): void;
  /** Missed calls of a room, or of all with '', are to be forgotten; it is done when that shows. */
  dismiss(room: string): Promise<void>;
}

export class RoomList {
  readonly el: HTMLElement;
  private readonly rows: KeyedList<Summary>;
  private readonly lists = h('div', { class: 'lists', role: 'group', 'aria-label': t('list.which') });
  private readonly buttons = new Map<Shown, HTMLButtonElement>();
  private readonly label = h('span', { dir: 'auto' });
  private readonly byLabel = menu(h('button', { type: 'button', class: 'chip list-label', hidden: true },
    this.label, icon('down')), t('list.labels'), () => this.labelItems());
  private labels: string[] = [];
  private readonly dismissAll = h('button', { class: 'link', type: 'button', hidden: true,
    onclick: () => void this.dismiss('', 0) }, t('missed.dismissAll'));
  private readonly older = h('button', { class: 'link', type: 'button', hidden: true,
    onclick: () => this.callbacks.read(true) }, t('desk.older'));
  private readonly none = h('p', { class: 'muted list-none', hidden: true }, t('list.none'));
  private pressed = false;

  constructor(private readonly me: Person, private readonly rooms: Rooms, private readonly callbacks: Callbacks) {
    const items = h('ul', { class: 'rooms', onpointerdown: () => this.press() });
    this.rows = new KeyedList<Summary>(items, (r) => r.id, () => this.row());
    for (const each of choices) {
      const button = h('button', { type: 'button', class: `chip list-${each}`, onclick: () => this.choose(each) });
      this.buttons.set(each, button);
      this.lists.append(button);
    }
    this.lists.append(this.byLabel);
    this.el = h('nav', { 'aria-label': t('desk.list') }, this.lists, this.dismissAll, items, this.none, this.older);
  }

  /** read gets the newest rooms of the list that is shown, or those that follow; and which have missed calls. */
  async read(older: boolean): Promise<Summary[]> {
    const { rooms } = this;
    const ask = async (which: typeof rooms.list, limit: number, before: string) => {
      const query = new URLSearchParams({ list: which, limit: String(limit), ...(before && { before }) });
      const asked = rooms.now;
      const answer = await get<{ rooms: Summary[] }>('/desk/rooms?' + query);
      return rooms.page(which, answer.rooms, answer.rooms.length >= limit, !before, asked);
    };
    if (older) return ask(rooms.list, pageSize, rooms.next ?? '');
    const [shown, missed] = await Promise.all([
      rooms.list === 'missed' ? [] : ask(rooms.list, pageSize, ''), ask('missed', missedMost, '')]);
    return [...shown, ...missed];
  }

  /** learnLabels asks which labels there are, to choose a list by. */
  async learnLabels(): Promise<void> {
    try {
      this.labels = (await get<{ labels: { label: string }[] }>('/desk/labels')).labels.map((l) => l.label);
    } catch {
      return; // the next change of a room asks again
    }
    this.draw();
  }

  private labelItems(): Item[] {
    const item = (words: string, list: List): Item => ({ words, checked: this.rooms.list === list,
      press: () => this.choose(list) });
    return [...this.labels.map((label) => item(cleanLine(label), `label:${label}`)),
      ...this.rooms.list.startsWith('label:') ? [item(t('list.noLabel'), 'chats')] : []];
  }

  /** choose shows another list. */
  choose(which: List): void {
    this.rooms.list = which;
    this.callbacks.read(false);
    this.draw();
  }

  /** dismiss forgets missed calls; the focus goes on to the next row's button. */
  private async dismiss(room: string, index: number): Promise<void> {
    await this.callbacks.dismiss(room);
    const all = [...this.rows.el.querySelectorAll<HTMLElement>('.room-dismiss')];
    (all[Math.min(index, all.length - 1)] ?? this.buttons.get('chats'))?.focus();
  }

  draw(): void {
    const { rooms } = this;
    const missed = rooms.missed();
    if (rooms.list === 'missed' && !missed && !this.callbacks.open()) rooms.list = 'chats';
    for (const [each, button] of this.buttons) {
      button.setAttribute('aria-pressed', String(each === rooms.list));
      const words = each === 'missed' ? t('missed.count', { n: missed }) : t(`list.${each}`);
      if (button.textContent !== words) fill(button, each === 'missed' && icon('missed'), words);
      if (ofTeam.includes(each)) button.hidden = !this.callbacks.inTeam();
      if (each === 'missed') button.hidden = !missed && rooms.list !== 'missed';
    }
    const label = rooms.list.startsWith('label:') ? cleanLine(rooms.list.slice('label:'.length)) : '';
    this.byLabel.hidden = !this.labels.length && !label;
    this.byLabel.classList.toggle('on', label !== '');
    fill(this.label, label ? t('list.label', { label }) : t('list.labels'));
    this.dismissAll.hidden = rooms.list !== 'missed' || !missed;
    this.older.hidden = rooms.next === undefined;
    const shown = rooms.shown(this.callbacks.open());
    this.none.hidden = shown.length > 0 || !rooms.loaded() || rooms.list === 'chats';
    // What is being pressed stays where it is until the press ends.
    if (!this.pressed) this.rows.update(shown);
  }

  private press(): void {
    this.pressed = true;
    const over = new AbortController();
    for (const end of ['pointerup', 'pointercancel']) {
      addEventListener(end, () => {
        over.abort();
        after(0, () => { // the click comes after it
          this.pressed = false;
          this.draw();
        });
      }, { signal: over.signal });
    }
  }

  private row(): View<Summary> {
    const name = h('span', { class: 'room-name' });
    const marks = h('span', { class: 'room-marks' });
    const time = h('time');
    const subject = h('span', { class: 'room-subject', dir: 'auto' });
    const last = h('span', { class: 'room-preview', dir: 'auto' });
    const count = h('span', { class: 'count' });
    const face = h('span', { class: 'face' });
    const link = h('a', { class: 'room' }, face, h('span', { class: 'room-text' },
      h('span', { class: 'room-top' }, name, marks, time), subject, h('span', { class: 'room-last' }, last, count)));
    const el = h('li', null, link);
    const b = new Bindings<Summary>();
    const others = (r: Summary) => r.participants.filter((p) => p.id !== r.me);
    b.bind((r) => r.id, (id) => { link.href = '#' + id; });
    b.bind((r) => {
      const all = others(r);
      const more = r.people - r.participants.length;
      return all.length ? [...all.map((p) => nameAmong(p, all)), ...more > 0 ? [t('list.more', { n: more })] : []]
        : [nameOf(this.me)];
    }, (names) => fill(name, listed(names)));
    b.bind((r) => [others(r)[0]?.id, others(r)[0]?.name], (_, r) => fill(face, avatar(others(r)[0] ?? this.me)));
    b.bind((r) => [r.muted, r.missed?.attempt], (_, r) => fill(marks,
      r.missed && h('span', { class: 'room-missed', title: this.missedWords(r) }, icon('missed'),
        h('span', { class: 'sr' }, this.missedWords(r))),
      r.muted && h('span', { class: 'room-muted' }, icon('mute'), h('span', { class: 'sr' }, t('desk.muted')))));
    b.bind((r) => shortMoment(new Date(r.touched)), (words, r) => {
      time.dateTime = r.touched;
      time.textContent = words;
    });
    b.bind((r) => cleanLine(r.subject) || t('mail.noSubject'), (words) => { subject.textContent = words; });
    b.bind((r) => [r.last?.offset, r.last?.deleted, r.last?.edited, r.people],
      (_, r) => fill(last, preview(r)));
    b.bind((r) => this.rooms.unreadIn(r), (n) => {
      link.classList.toggle('unread', n > 0);
      count.hidden = n === 0;
      fill(count, h('span', { 'aria-hidden': 'true' }, n > 99 ? '99+' : n),
        h('span', { class: 'sr' }, t('desk.unread', { n })));
    });
    b.bind((r) => this.callbacks.open() === r.id, (on) => {
      if (on) link.setAttribute('aria-current', 'page');
      else link.removeAttribute('aria-current');
    });
    b.bind((r) => this.rooms.list === 'missed' && !!r.missed, (on, r) => {
      el.querySelector('.room-dismiss')?.remove();
      if (!on) return;
      el.append(h('button', { class: 'round room-dismiss', type: 'button',
        'aria-label': t('missed.dismissWhose', { name: name.textContent! }), title: t('missed.dismiss'),
        onclick: () => void this.dismiss(r.id, [...this.rows.el.children].indexOf(el)) }, icon('close')));
    });
    return { el, update: (r) => b.update(r) };
  }

  private missedWords(r: Summary): string {
    const from = r.participants.find((p) => p.id === r.missed!.from);
    return t('missed.what', { name: nameOf(from), time: moment(new Date(r.missed!.at)) });
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
