// SPDX-License-Identifier: GPL-3.0-or-later

// A room is the state of one conversation as this browser knows it. It owns
// its connection; views read it and are told when it changed.

import type { Why } from './carrier';
import { after } from './clock';
import { Connection, type Phase } from './connection';
import { Outbox, type Pending } from './outbox';
import type { Attempt, Entry, Frame, Message, Participant, Status } from './wire';

const inFlightMost = 8;            // messages sent and not yet acknowledged at a time
const ackWait = 15_000;       // ms until a sent message counts as failed
const typingFor = 5000;       // ms somebody counts as typing
const typingEvery = 2500;     // ms between two typing frames
const answeredFor = 15_000;   // ms from "answered" until the person should be here

export interface Options {
  /** The first time with what is at hand, later with a new ticket. */
  enter(): Promise<Entry>;
  /** Who the conversation's mail came from: an address or a participant ID. */
  callee: string | number;
  changed(): void;
  /** After each welcome; first is true once. */
  welcomed?(first: boolean): void;
  heard?(m: Message): void;
  over(reason: unknown): void;
}

export class Room {
  id = '';
  me = 0;
  subject = '';
  phase: Phase = 'connecting';
  why: Why | undefined;
  carrier = '';
  port = 0;
  people = new Map<number, Participant>();
  here = new Set<number>();
  attempt: Attempt | undefined;
  status: Status | undefined;
  messages: Message[] = []; // by offset, without gaps at the end
  failed = new Set<string>();
  trouble = '';             // code of the last error frame, until something works again
  metCallee = false;        // the callee was here while we were
  met = false;              // somebody was

  private epoch = '';
  private last = 0;
  private seenBy = new Map<number, number>();
  private seenSent = 0;
  private typingSent = 0;
  private typists = new Map<number, () => void>();
  private inFlight = new Map<string, () => void>();
  private outbox: Outbox | undefined;
  private answeredAt = 0;
  private stale = '';        // the attempt that was answered already when we were welcomed
  private wish = false;      // to be told when the callee is back, for the attempts to come too
  private asked = '';        // the attempt for which the wish was last sent
  private granted = '';      // the attempt for which the relay has taken it up
  private calls = false;
  private first = true;
  private readonly connection: Connection;

  constructor(private readonly options: Options) {
    this.connection = new Connection({
      enter: async () => {
        const entry = await options.enter();
        this.id = entry.room;
        this.me = entry.me;
        this.outbox ??= new Outbox(`${entry.room}.${entry.me}`);
        const hello: Frame = { t: 'hello', ticket: entry.ticket };
        if (this.epoch) Object.assign(hello, { epoch: this.epoch, after: this.last });
        return { endpoints: entry.endpoints, hello };
      },
      frame: (f) => this.frame(f),
      phase: (p, why) => {
        this.phase = p;
        if (why) this.why = why;
        if (p !== 'open') this.landed();
        this.options.changed();
      },
      over: (reason) => options.over(reason),
    });
  }

  // What the views ask.

  get callee(): Participant | undefined {
    const c = this.options.callee;
    if (typeof c === 'number') return this.people.get(c);
    return [...this.people.values()].find((p) => p.addr === c && !p.guest);
  }

  get calleeHere(): boolean {
    const c = this.callee;
    return !!c && this.here.has(c.id);
  }

  get amCallee(): boolean {
    return !!this.me && this.callee?.id === this.me;
  }

  /** Whose ring this browser started in this visit: its outcome is news. */
  get called(): boolean {
    return this.calls;
  }

  /** The others who are here now. */
  get others(): Participant[] {
    return [...this.here].filter((id) => id !== this.me).flatMap((id) => this.people.get(id) ?? []);
  }

  get typing(): Participant[] {
    return [...this.typists.keys()].flatMap((id) => this.people.get(id) ?? []);
  }

  get pending(): Pending[] {
    return this.outbox?.all() ?? [];
  }

  /** Answered, and on the way into the room. */
  get arriving(): boolean {
    return this.attempt?.state === 'answered' && Date.now() - this.answeredAt < answeredFor && !this.metCallee;
  }

  /** Who of the others has seen the message at offset. */
  seers(offset: number): Participant[] {
    return [...this.seenBy].filter(([id, o]) => id !== this.me && o >= offset)
      .flatMap(([id]) => this.people.get(id) ?? []);
  }

  /** calleeIs names the callee when it was not known at first. */
  calleeIs(id: number | undefined): void {
    if (id && this.options.callee === 0) this.options.callee = id;
  }

  // What the person does.

  say(text: string): boolean {
    const p = this.outbox?.add(text);
    if (!p) return false;
    this.typingSent = 0;
    this.flush();
    this.options.changed();
    return true;
  }

  again(id: string): void {
    this.failed.delete(id);
    this.flush();
    this.options.changed();
  }

  type(): void {
    if (Date.now() - this.typingSent < typingEvery) return;
    this.typingSent = Date.now();
    this.connection.send({ t: 'typing' });
  }

  /** see says that all there is has been seen. */
  see(): void {
    const offset = this.messages.at(-1)?.offset ?? 0;
    if (offset <= this.seenSent || this.phase !== 'open') return;
    if (this.connection.send({ t: 'seen', offset })) this.seenSent = offset;
  }

  call(): void {
    this.calls = true;
    if (!this.calleeHere) {
      this.metCallee = false;
      this.answeredAt = 0;
      this.attempt = undefined;
    }
    this.connection.send({ t: 'attempt' });
    this.options.changed();
  }

  cancel(): void {
    this.connection.send({ t: 'cancel' });
  }

  tell(on: boolean): void {
    this.wish = on;
    if (this.attempt) {
      this.attempt.tell = on;
      this.asked = this.attempt.id;
    }
    this.connection.send({ t: 'tell', on });
  }

  leave(): void {
    this.connection.send({ t: 'leave' });
    this.close();
  }

  close(): void {
    this.connection.stop();
    for (const stop of this.typists.values()) stop();
    this.typists.clear();
  }

  // What the relay says.

  private frame(f: Frame): void {
    switch (f.t) {
      case 'reset':
        this.messages = [];
        this.last = 0;
        this.seenSent = 0;
        this.seenBy.clear();
        break;
      case 'welcome':
        this.welcome(f);
        break;
      case 'msg':
        if (f.msg) this.insert(f.msg);
        break;
      case 'ack':
        this.ack(f);
        break;
      case 'people':
        this.meet(f.people, f.here);
        break;
      case 'typing':
        if (f.from && f.from !== this.me) this.typist(f.from);
        break;
      case 'seen':
        if (f.from) this.seenBy.set(f.from, Math.max(f.offset ?? 0, this.seenBy.get(f.from) ?? 0));
        break;
      case 'state':
        this.progress(f.attempt);
        break;
      case 'status':
        this.status = f.status;
        break;
      case 'error':
        this.error(f);
        break;
    }
    this.options.changed();
  }

  private welcome(f: Frame): void {
    this.id = f.room ?? this.id;
    this.epoch = f.epoch ?? '';
    this.me = f.me ?? this.me;
    this.subject = f.subject ?? '';
    this.carrier = f.carrier ?? '';
    this.port = f.port ?? 0;
    this.status = f.status ?? this.status;
    this.trouble = '';
    this.meet(f.people, f.here ?? []);
    for (const [id, offset] of Object.entries(f.seen_by ?? {})) this.seenBy.set(Number(id), offset);
    this.seenSent = Math.max(this.seenSent, this.seenBy.get(this.me) ?? 0);
    this.attempt = f.attempt;
    this.stale = f.attempt?.state === 'answered' ? f.attempt.id : '';
    this.remind();
    this.flush();
    const first = this.first;
    this.first = false;
    this.options.welcomed?.(first);
  }

  private meet(people: Participant[] | undefined, here: number[] | undefined): void {
    for (const p of people ?? []) this.people.set(p.id, p);
    if (here) this.here = new Set(here);
    if (this.calleeHere) {
      this.metCallee = true;
      this.wish = false; // it has come true
    }
    if (this.others.length) this.met = true;
  }

  private progress(a: Attempt | undefined): void {
    if (a?.state === 'answered' && a.id !== this.stale && this.attempt?.state !== 'answered') {
      this.answeredAt = Date.now();
      this.metCallee = this.calleeHere;
      after(answeredFor, () => this.options.changed());
    }
    this.attempt = a;
    this.remind();
  }

  /** remind asks again, for a new attempt without response, for what was asked for the one before. */
  private remind(): void {
    const a = this.attempt;
    if (!a || a.caller !== this.me) return;
    if (a.tell) {
      this.wish = true;
      this.granted = a.id;
    } else if (this.granted === a.id) this.wish = false; // the mail has gone out
    else if (this.wish && this.asked !== a.id && (a.state === 'unanswered' || a.state === 'alarmed')) this.tell(true);
  }

  private insert(m: Message): void {
    // Nearly always at the end; a repeated offset is dropped.
    let i = this.messages.length;
    while (i > 0 && this.messages[i - 1]!.offset > m.offset) i--;
    if (i > 0 && this.messages[i - 1]!.offset === m.offset) return;
    this.messages.splice(i, 0, m);
    // Only what has no gap before it may be claimed when coming back.
    if (this.last === 0) this.last = m.offset;
    for (let j = i; this.messages[j]?.offset === this.last + 1; j++) this.last++;
    if (m.from === this.me) this.settle(m.id);
    if (m.kind !== 'note') this.typists.get(m.from)?.();
    this.options.heard?.(m);
  }

  private ack(f: Frame): void {
    const p = this.settle(f.id ?? '');
    this.trouble = '';
    if (p && f.offset) {
      this.insert({ offset: f.offset, id: p.id, from: this.me, kind: 'text', text: p.text, at: f.at ?? p.at });
    }
    this.flush();
  }

  private settle(id: string): Pending | undefined {
    this.inFlight.get(id)?.();
    this.inFlight.delete(id);
    this.failed.delete(id);
    return this.outbox?.remove(id);
  }

  private error(f: Frame): void {
    this.trouble = f.code ?? '';
    if (f.code !== 'store' && f.code !== 'too-large' && f.code !== 'forbidden') return;
    for (const id of f.id ? [f.id] : [...this.inFlight.keys()]) this.fail(id);
  }

  private fail(id: string): void {
    this.inFlight.get(id)?.();
    this.inFlight.delete(id);
    this.failed.add(id);
  }

  /** flush sends what waits, a few at a time, so that a long outbox is not "too fast". */
  private flush(): void {
    for (const p of this.pending) {
      if (this.inFlight.size >= inFlightMost) return;
      if (this.inFlight.has(p.id) || this.failed.has(p.id)) continue;
      if (!this.epoch || !this.connection.send({ t: 'say', id: p.id, text: p.text })) return;
      this.inFlight.set(p.id, after(ackWait, () => {
        this.fail(p.id);
        this.options.changed();
      }));
    }
  }

  /** landed forgets what was in flight: the next welcome sends it again. */
  private landed(): void {
    for (const stop of this.inFlight.values()) stop();
    this.inFlight.clear();
  }

  private typist(id: number): void {
    this.typists.get(id)?.();
    const off = after(typingFor, () => end());
    const end = () => {
      off();
      this.typists.delete(id);
      this.options.changed();
    };
    this.typists.set(id, end);
  }
}
