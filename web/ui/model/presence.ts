// SPDX-License-Identifier: GPL-3.0-or-later

// Who comes, goes and types in a room while one is there oneself.

import { after, now } from '../base/time';

const comingsMost = 20;   // comings and goings shown; older ones are forgotten
const backSoon = 30_000;  // ms within which who left and came back never left
const typingFor = 5000;   // ms somebody counts as typing

/** Somebody came or left while we were here; after is the offset it happened behind. */
export interface Coming { id: number; on: boolean; at: string; after: number }

export class Comings {
  all: Coming[] = [];

  /** compare notes the difference between two moments; leftOut is oneself. */
  compare(before: Set<number>, here: number[], leftOut: number, offset: number): void {
    for (const id of here) if (!before.has(id) && id !== leftOut) this.note(id, true, offset);
    for (const id of before) if (!here.includes(id) && id !== leftOut) this.note(id, false, offset);
  }

  private note(id: number, on: boolean, offset: number): void {
    const at = now();
    const i = this.all.findLastIndex((c) => c.id === id);
    const last = this.all[i];
    if (on && last && !last.on && at.getTime() - Date.parse(last.at) < backSoon) this.all.splice(i, 1);
    else this.all = [...this.all, { id, on, at: at.toISOString(), after: offset }].slice(-comingsMost);
  }
}

export class Typists {
  private readonly stops = new Map<number, () => void>();

  constructor(private readonly changed: () => void) {}

  get ids(): number[] {
    return [...this.stops.keys()];
  }

  /** heard: somebody types, for a while. */
  heard(id: number): void {
    this.stops.get(id)?.();
    this.stops.set(id, after(typingFor, () => {
      this.stops.delete(id);
      this.changed();
    }));
  }

  /** stopped: what was typed has come. */
  stopped(id: number): void {
    this.stops.get(id)?.();
    this.stops.delete(id);
  }

  close(): void {
    for (const id of this.ids) this.stopped(id);
  }
}
