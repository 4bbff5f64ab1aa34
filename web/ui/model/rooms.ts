// SPDX-License-Identifier: GPL-3.0-or-later

// The conversations of the desk, newest first, as far as they have been read.

import type { Summary } from '../wire/wire';

/** when a conversation last changed. */
export const when = (r: Summary): string => r.last?.at ?? r.created;

export class Rooms {
  all: Summary[] = [];
  loaded = false;
  more = false; // there are older ones on the server

  /** looking: whether a room is before one's eyes; then nothing in it is unread. */
  constructor(private readonly looking: (room: string) => boolean) {}

  /**
   * take merges an answer of the server: the newest conversations, or the next older ones. It returns those in which
   * more is unread than before.
   */
  take(rooms: Summary[], older: boolean, full: boolean): Summary[] {
    const known = new Map(this.all.map((r) => [r.id, r.unread]));
    const news = this.loaded && !older ? rooms.filter((r) => r.unread > (known.get(r.id) ?? 0)) : [];
    const fresh = new Set(rooms.map((r) => r.id));
    const kept = this.all.filter((r) => !fresh.has(r.id));
    if (older || !this.loaded) this.more = full;
    // What changed is among the newest; those read before stay below them.
    this.all = older ? [...kept, ...rooms] : [...rooms, ...kept];
    this.loaded = true;
    return news.filter((r) => !r.muted && !this.looking(r.id));
  }

  find(id: string): Summary | undefined {
    return this.all.find((r) => r.id === id);
  }

  /** unreadIn is how many messages of a conversation were not seen. */
  unreadIn(r: Summary): number {
    return this.looking(r.id) ? 0 : r.unread;
  }

  /** unread counts what was not seen; muted conversations do not call for attention. */
  unread(): number {
    return this.all.reduce((sum, r) => sum + (r.muted ? 0 : this.unreadIn(r)), 0);
  }
}
