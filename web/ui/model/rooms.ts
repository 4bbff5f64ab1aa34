// SPDX-License-Identifier: GPL-3.0-or-later

// The rooms that the desk knows, and the lists of them, newest first.

import type { Summary } from '../wire/wire';

/** A list as the server names it. */
export type List = 'chats' | 'mine' | 'unassigned' | 'all' | 'missed' | 'mails' | `label:${string}`;

/** How far a list has been read. */
interface Read { before: string; more: boolean }

/** handedTo: a room that was not a login's to look after is now. */
export function handedTo(login: string, before: Summary | undefined, now: Summary): boolean {
  const whose = (r: Summary | undefined) => r?.teams?.some((team) => team.assignee === login) ?? false;
  return whose(now) && !whose(before);
}

export class Rooms {
  list: List = 'chats'; // the one that is shown
  private readonly known = new Map<string, Summary>();
  private readonly read = new Map<List, Read>();
  private readonly told = new Map<string, number>(); // when the relay last told of a room, by this count:
  private tellings = 0;

  /** looking: whether a room is before one's eyes; then nothing in it is unread. */
  constructor(private readonly login: string, private readonly looking: (room: string) => boolean) {}

  /** loaded: the newest rooms of a list have been read. */
  loaded(list: List = this.list): boolean {
    return this.read.has(list);
  }

  /** next is where the list that is shown goes on; undefined: nowhere. */
  get next(): string | undefined {
    const read = this.read.get(this.list);
    return read?.more ? read.before : undefined;
  }

  /** now is to be asked before a list is, since what the relay tells meanwhile is newer than the answer. */
  get now(): number {
    return this.tellings;
  }

  /**
   * page takes a part of a list that was asked for at a time: its newest rooms, or those that follow. It returns the
   * rooms in which more is unread than before.
   */
  page(list: List, answer: Summary[], more: boolean, first: boolean, asked: number): Summary[] {
    const newer = (id: string) => (this.told.get(id) ?? 0) > asked;
    const rooms = answer.filter((r) => !newer(r.id));
    const again = first && this.read.has(list);
    const oldest = answer.at(-1)?.touched ?? '';
    if (first) {
      // What is in the list no more is not among its newest. Without more this is the whole list.
      const still = new Set(rooms.map((r) => r.id));
      for (const r of this.known.values()) {
        const missing = this.in(list, r) && !still.has(r.id) && !newer(r.id);
        if (missing && (!more || r.touched > oldest)) this.known.delete(r.id);
      }
    }
    if (!again) this.read.set(list, { before: oldest, more });
    const news = rooms.filter((r) => this.put(r));
    return again ? news : [];
  }

  /** put takes one room as it is now, and reports whether more is unread in it, and calls for attention. */
  put(r: Summary): boolean {
    const before = this.known.get(r.id);
    this.known.set(r.id, r);
    return this.calls(r) > (before?.unread ?? 0);
  }

  /**
   * tell takes what the relay says of a room; without a summary it is none of one's own any more. It reports what put
   * does.
   */
  tell(id: string, r: Summary | undefined): boolean {
    this.told.set(id, ++this.tellings);
    if (r) return this.put(r);
    this.known.delete(id);
    return false;
  }

  /** dismiss forgets the missed calls of a room, or of all with ''. */
  dismiss(id: string): void {
    for (const r of this.known.values()) if (!id || r.id === id) this.known.set(r.id, { ...r, missed: undefined });
  }

  find(id: string): Summary | undefined {
    return this.known.get(id);
  }

  /** shown are the rooms of the list that is shown; keep stays in it while it is open. */
  shown(keep = ''): Summary[] {
    return [...this.known.values()].filter((r) => this.in(this.list, r) || r.id === keep && this.list === 'missed')
      .sort((a, b) => (a.touched < b.touched ? 1 : a.touched > b.touched ? -1 : 0));
  }

  /** unreadIn is how many messages of a room were not seen. */
  unreadIn(r: Summary): number {
    return this.looking(r.id) ? 0 : r.unread;
  }

  /** unread counts what was not seen; muted conversations do not call for attention. */
  unread(): number {
    return [...this.known.values()].reduce((sum, r) => sum + this.calls(r), 0);
  }

  /** missed counts the calls that were missed and not dismissed. */
  missed(): number {
    return [...this.known.values()].reduce((sum, r) => sum + (r.missed?.count ?? 0), 0);
  }

  private calls(r: Summary): number {
    return r.muted ? 0 : this.unreadIn(r);
  }

  private in(list: List, r: Summary): boolean {
    const teams = r.teams ?? [];
    const mine = !teams.length || teams.some((x) => x.assignee === this.login);
    switch (list) {
      case 'missed': return !!r.missed;
      case 'mails': return !r.talked;
      case 'all': return r.talked;
      case 'chats': return r.talked && (mine || teams.some((x) => !x.assignee));
      case 'mine': return r.talked && mine;
      case 'unassigned': return r.talked && !mine && teams.some((x) => !x.assignee);
      default: return r.labels?.includes(list.slice('label:'.length)) ?? false;
    }
  }
}
