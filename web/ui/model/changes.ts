// SPDX-License-Identifier: GPL-3.0-or-later

// Edits and deletions on their way to the relay. They keep their ids, so that
// sending one again after a lost connection changes nothing twice.

import { after } from '../base/time';
import { newID } from './outbox';
import type { ClientFrame, FromRelay, Message } from '../wire/wire';

interface Change { kind: 'edit' | 'delete'; offset: number; text: string }

const pause = 2; // s until a change that could not be kept is sent again, when the relay names no time

export class Changes {
  private readonly waiting = new Map<string, Change>();

  constructor(private readonly send: (f: ClientFrame) => void) {}

  add(kind: Change['kind'], offset: number, text: string): void {
    const id = newID();
    this.waiting.set(id, { kind, offset, text });
    this.go(id);
  }

  /** resume sends all again: after a welcome. */
  resume(): void {
    for (const id of this.waiting.keys()) this.go(id);
  }

  /** acked is the change as a message, if the frame acknowledges one. */
  acked(f: FromRelay<'ack'>, me: number): Message | undefined {
    const { id } = f;
    const c = this.waiting.get(id);
    if (!c || !f.offset) return undefined;
    this.waiting.delete(id);
    return { offset: f.offset, id, from: me, kind: c.kind, ref: c.offset, text: c.text, at: f.at };
  }

  /** refused: undefined when the error is not about a change, '' when it is tried again, else why it was given up. */
  refused(f: FromRelay<'error'>): string | undefined {
    const id = f.id ?? '';
    if (!this.waiting.has(id)) return undefined;
    if (f.code === 'store' || f.code === 'too-fast') {
      after((f.wait ?? pause) * 1000, () => this.go(id));
      return '';
    }
    this.waiting.delete(id);
    return f.code;
  }

  private go(id: string): void {
    const c = this.waiting.get(id);
    if (!c) return;
    this.send(c.kind === 'edit' ? { t: 'edit', id, offset: c.offset, text: c.text }
      : { t: 'delete', id, offset: c.offset });
  }
}
