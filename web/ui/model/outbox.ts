// SPDX-License-Identifier: GPL-3.0-or-later

// The outbox keeps what was written and not yet acknowledged, across reloads
// and lost connections. A message keeps its id, so sending it again is
// harmless, in two tabs too.

import { now } from '../base/time';

/** ref: the offset of what it answers. */
export interface Pending { id: string; text: string; at: string; ref?: number }

const prefix = 'chmail.outbox.';
/** draftPrefix begins the key of what is written in a room and not sent. */
export const draftPrefix = 'chmail.draft.';
const most = 200; // messages kept for one room

export function newID(): string {
  // randomUUID exists on secure origins only; a demo may run on plain http.
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, '0')).join('');
}

export class Outbox {
  private memory: Pending[] = []; // where storage is refused

  constructor(private readonly key: string) {}

  all(): Pending[] {
    try {
      return JSON.parse(localStorage.getItem(prefix + this.key) ?? '[]') as Pending[];
    } catch {
      return this.memory;
    }
  }

  private write(list: Pending[]): void {
    this.memory = list;
    try {
      if (list.length) localStorage.setItem(prefix + this.key, JSON.stringify(list));
      else localStorage.removeItem(prefix + this.key);
    } catch {
      // Private mode or a full disk: the memory has it.
    }
  }

  /** add reports null when the box is full. */
  add(text: string, ref = 0): Pending | null {
    const list = this.all();
    if (list.length >= most) return null;
    const p: Pending = { id: newID(), text, at: now().toISOString(), ...(ref && { ref }) };
    this.write([...list, p]);
    return p;
  }

  /** remove returns what was acknowledged, or undefined when it was not here. */
  remove(id: string): Pending | undefined {
    const list = this.all();
    const found = list.find((p) => p.id === id);
    if (found) this.write(list.filter((p) => p.id !== id));
    return found;
  }
}

/** forgetAll empties every outbox and draft of this browser's desk: after signing out. */
export function forgetAll(): void {
  try {
    for (const key of Object.keys(localStorage)) {
      if (key.startsWith(prefix) || key.startsWith(draftPrefix)) localStorage.removeItem(key);
    }
  } catch {
    // Where storage is refused there is nothing to forget.
  }
}
