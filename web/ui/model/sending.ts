// SPDX-License-Identifier: GPL-3.0-or-later

// What one writes, on its way: out of the outbox, a few messages at a time, and
// again after a lost connection, until each is acknowledged or refused.

import { after } from '../base/time';
import { Outbox, type Pending } from './outbox';
import type { ClientFrame, FromRelay } from '../wire/wire';

type Say = Extract<ClientFrame, { t: 'say' }>;

const atOnce = 8;         // messages sent and not yet acknowledged, so that a long outbox is not "too fast"
const ackWait = 15_000;   // ms until a sent message counts as failed

export class Sending {
  readonly failed = new Map<string, string>(); // id to the code of why
  private readonly flying = new Map<string, () => void>();
  private readonly sent = new Map<string, Pending>(); // another tab may have taken it out of the box that both have
  private readonly held = new Set<string>(); // said past the server, which does not have them yet
  private outbox: Outbox | undefined;

  /** send reports whether there was a connection to send on. */
  constructor(private readonly send: (f: Say, at: string) => boolean, private readonly changed: () => void) {}

  /** open takes the outbox of a participant of a room. */
  open(key: string): void {
    this.outbox ??= new Outbox(key);
  }

  get pending(): Pending[] {
    return (this.outbox?.all() ?? []).filter((p) => !this.held.has(p.id));
  }

  /** hold keeps a message in the outbox that is not to be sent: it will be handed over. */
  hold(id: string): void {
    this.land(id);
    this.held.add(id);
  }

  /** release sends it after all. */
  release(id: string): void {
    this.held.delete(id);
    this.flush();
  }

  /** add reports whether the outbox had room for it. */
  add(text: string, ref = 0): boolean {
    if (!this.outbox?.add(text, ref)) return false;
    this.flush();
    return true;
  }

  again(id: string): void {
    this.failed.delete(id);
    this.flush();
  }

  /** settle takes a message out: acknowledged, heard, or given up. */
  settle(id: string): Pending | undefined {
    this.land(id);
    this.failed.delete(id);
    this.held.delete(id);
    const mine = this.sent.get(id);
    this.sent.delete(id);
    return this.outbox?.remove(id) ?? mine;
  }

  /** refused takes an error frame; a message that came too fast is sent again by itself. */
  refused(f: FromRelay<'error'>): void {
    const id = f.id ?? '';
    if (f.code === 'too-fast') {
      this.land(id);
      this.flying.set(id, after((f.wait || 1) * 1000, () => {
        this.flying.delete(id);
        this.flush();
      }));
    } else if (this.flying.has(id)) this.fail(id, f.code);
    else if (f.code === 'store' || f.code === 'too-large' || f.code === 'forbidden') {
      for (const each of [...this.flying.keys()]) this.fail(each, f.code);
    }
  }

  flush(): void {
    for (const p of this.pending) {
      if (this.flying.size >= atOnce) return;
      if (this.flying.has(p.id) || this.failed.has(p.id) || this.held.has(p.id)) continue;
      if (!this.send({ t: 'say', id: p.id, text: p.text, ...(p.ref && { ref: p.ref }) }, p.at)) return;
      this.sent.set(p.id, p);
      this.flying.set(p.id, after(ackWait, () => {
        this.fail(p.id);
        this.changed();
      }));
    }
  }

  /** lost forgets what was under way: the next welcome sends it again. */
  lost(): void {
    for (const id of [...this.flying.keys()]) this.land(id);
  }

  private fail(id: string, code = ''): void {
    this.land(id);
    this.failed.set(id, code);
  }

  private land(id: string): void {
    this.flying.get(id)?.();
    this.flying.delete(id);
  }
}
