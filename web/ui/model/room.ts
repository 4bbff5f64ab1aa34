// SPDX-License-Identifier: GPL-3.0-or-later

// A room is the state of one conversation as this browser knows it. It owns
// its connection; views read it and are told when it changed.

import { atIt, watchActivity } from '../base/activity';
import { language, zone } from '../base/i18n';
import { nameAmong } from '../base/text';
import { after, heardAt, now } from '../base/time';
import { answeredFor, arriving, calling, callWait, noCall, step, type Call, type CallEvent } from './call';
import { Changes } from './changes';
import { canDirect, Direct } from './direct';
import { History } from './history';
import type { Pending } from './outbox';
import { type Coming, Comings, Typists } from './presence';
import { Sending } from './sending';
import { Uploads } from './uploads';
import type { Why } from '../wire/carrier';
import { Connection, type Phase } from '../wire/connection';
import type { Entry, FromRelay, Message, Participant, RelayFrame, Status } from '../wire/wire';

const typingEvery = 2500;     // ms between two typing frames

export interface Options {
  /** The first time with what is at hand, later with a new ticket. */
  enter(): Promise<Entry>;
  /** Who the conversation's mail came from: an address or a participant ID. */
  callee: string | number;
  /** Where files are sent to and fetched from. */
  files: string;
  changed(): void;
  /** After each welcome; first is true once. */
  welcomed?(first: boolean): void;
  heard?(m: Message): void;
  /** Somebody came in while one is here. */
  came?(p: Participant): void;
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
  call: Call = noCall;
  status: Status | undefined;
  trouble = '';             // code of the last error frame, until something works again
  refused = '';             // code of why the last edit or deletion was not made
  transcript = false;       // one's wish for a mail with all that was said
  maxFile = 0;              // octets; 0: no files here
  editFor = 0;              // s in which a message may be changed
  readonly uploads: Uploads;
  met = false;              // somebody was here while we were

  private epoch = '';
  private readonly history = new History();
  private readonly coming = new Comings();
  private readonly typists = new Typists(() => this.options.changed());
  private readonly changes = new Changes((f) => this.connection.send(f));
  private seenBy = new Map<number, number>();
  private seenSent = 0;
  private typingSent = 0;
  private readonly sending = new Sending((f, at) => {
    if (this.direct.waits) return false;
    if (!this.direct.on) return this.epoch !== '' && this.connection.send(f);
    this.direct.say(f, at);
    return true;
  }, () => this.options.changed());
  private readonly direct = new Direct({
    me: () => this.me,
    relay: (f) => this.connection.send(f),
    kept: (id) => this.sending.settle(id),
    heard: (m) => this.past(m),
    typing: (from) => {
      this.typists.heard(from);
      this.options.changed();
    },
    refused: (f) => {
      this.error(f);
      this.options.changed();
    },
    turned: () => {
      if (!this.direct.on) this.sending.lost();
      this.sending.flush();
      this.options.changed();
    },
  });
  private first = true;
  private readonly connection: Connection;
  private readonly unwatch: () => void;

  constructor(private readonly options: Options) {
    this.uploads = new Uploads(options.files, () => options.changed(), (m) => {
      this.insert(m);
      options.changed();
    });
    this.unwatch = watchActivity((here) => this.connection.send({ t: 'away', on: !here }));
    this.connection = new Connection({
      enter: async () => {
        const entry = await options.enter();
        this.id = entry.room;
        this.me = entry.me;
        this.happens({ type: 'entry', attempt: entry.attempt });
        this.sending.open(`${entry.room}.${entry.me}`);
        return { endpoints: entry.endpoints, ticket: entry.ticket };
      },
      hello: (ticket) => this.epoch
        ? { t: 'hello', ticket, epoch: this.epoch, after: this.history.last, direct: canDirect() }
        : { t: 'hello', ticket, direct: canDirect() },
      frame: (f) => this.frame(f),
      phase: (p, why) => {
        this.phase = p;
        if (why) this.why = why;
        if (p !== 'open' && !this.direct.on) this.sending.lost();
        this.options.changed();
      },
      over: (reason) => options.over(reason),
    });
  }

  // What the views ask.

  get messages(): Message[] {
    return this.history.messages;
  }

  get callee(): Participant | undefined {
    const c = this.options.callee;
    if (typeof c === 'number') return this.people.get(c);
    return [...this.people.values()].find((p) => p.addr === c && !p.guest);
  }

  get calleeHere(): boolean {
    const c = this.callee;
    // Of a group, the member who answered stands for it.
    return !!c && (this.here.has(c.id) || this.here.has(this.call.attempt?.by ?? 0)) && !this.unattended(c.id);
  }

  /** unattended: a page of the callee is here, and the attempt to reach them says that nobody sits before it. */
  private unattended(callee: number): boolean {
    const a = this.call.attempt;
    if (!a || a.callee !== callee || ['answered', 'cancelled'].includes(a.state)) return false;
    const said = this.messages.findLast((m) => m.from === callee && m.kind === 'text');
    return !said || Date.parse(said.at) < Date.parse(a.started);
  }

  get amCallee(): boolean {
    return !!this.me && this.callee?.id === this.me;
  }

  /** A ring was asked for, and the relay has not said yet what came of it. */
  get calling(): boolean {
    return calling(this.call, Date.now());
  }

  /** Where a file of this room is fetched from. */
  fileURL(id: string): string {
    return `${this.options.files}/${encodeURIComponent(id)}`;
  }

  /** mayEdit: one's own words, for a while. */
  mayEdit(m: Message): boolean {
    return this.mayDelete(m) && m.kind === 'text'
      && now().getTime() - Date.parse(m.at) < this.editFor * 1000;
  }

  mayDelete(m: Message): boolean {
    // What has no offset of its own is not kept, see History.free.
    return m.from === this.me && (m.kind === 'text' || m.kind === 'file') && !m.deleted && m.via !== 'mail'
      && this.editFor > 0 && Number.isInteger(m.offset);
  }

  /** The others who are here now. */
  get others(): Participant[] {
    return [...this.here].filter((id) => id !== this.me).flatMap((id) => this.people.get(id) ?? []);
  }

  /** What somebody is called here: with the address where two go by the same name. */
  name(p: Participant | undefined): string {
    return nameAmong(p, this.people.values());
  }

  get typing(): Participant[] {
    return this.typists.ids.flatMap((id) => this.people.get(id) ?? []);
  }

  /** past: what is said goes from computer to computer. */
  get isPast(): boolean {
    return this.direct.on;
  }

  /** isKept: what is said stays on the computer of whoever the mail came from. */
  get isKept(): boolean {
    return this.direct.keeps;
  }

  get comings(): Coming[] {
    return this.coming.all;
  }

  get pending(): Pending[] {
    return this.sending.pending;
  }

  /** failed: the messages that were refused, and the code of why. */
  get failed(): ReadonlyMap<string, string> {
    return this.sending.failed;
  }

  /** Answered, and on the way into the room. */
  get arriving(): boolean {
    return arriving(this.call, Date.now());
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

  say(text: string, ref = 0): boolean {
    if (!this.sending.add(text, Number.isInteger(ref) ? ref : 0)) return false;
    this.typingSent = 0;
    this.options.changed();
    return true;
  }

  /** change edits or deletes one's own message; it shows when the relay has it. */
  change(kind: 'edit' | 'delete', m: Message, text = ''): void {
    this.refused = '';
    this.changes.add(kind, m.offset, text);
  }

  /** drop gives up a message that was refused. */
  drop(id: string): void {
    this.sending.settle(id);
    this.uploads.settle(id);
    this.options.changed();
  }

  wantTranscript(on: boolean): void {
    this.transcript = on;
    this.connection.send({ t: 'transcript', on, lang: language(), zone: zone() });
  }

  again(id: string): void {
    this.sending.again(id);
    this.options.changed();
  }

  type(): void {
    if (Date.now() - this.typingSent < typingEvery) return;
    this.typingSent = Date.now();
    if (this.direct.on) this.direct.type();
    else this.connection.send({ t: 'typing' });
  }

  /** see says that all there is has been seen. */
  see(): void {
    const offset = Math.floor(this.messages.at(-1)?.offset ?? 0);
    if (offset <= this.seenSent || this.phase !== 'open') return;
    if (this.connection.send({ t: 'seen', offset })) this.seenSent = offset;
  }

  ring(): void {
    this.happens({ type: 'ring', at: Date.now() });
    this.connection.send({ t: 'attempt' });
    this.options.changed();
  }

  cancel(): void {
    this.connection.send({ t: 'cancel' });
  }

  tell(on: boolean): void {
    this.happens({ type: 'tell', on });
  }

  leave(): void {
    this.connection.send({ t: 'leave' });
    this.close();
  }

  close(): void {
    this.unwatch();
    this.direct.close();
    this.connection.stop();
    this.uploads.close();
    this.typists.close();
  }

  // What the relay says.

  private frame(f: RelayFrame): void {
    switch (f.t) {
      case 'reset':
        this.history.clear();
        this.coming.all = [];
        this.seenSent = 0;
        this.seenBy.clear();
        break;
      case 'welcome':
        this.welcome(f);
        break;
      case 'msg':
        this.insert(f.msg);
        break;
      case 'ack':
        this.ack(f);
        break;
      case 'direct':
        this.direct.frame(f);
        break;
      case 'transcript':
        this.transcript = f.on === true;
        break;
      case 'people':
        this.compare(f.here);
        this.greet(f);
        break;
      case 'typing':
        if (f.from !== this.me) this.typists.heard(f.from);
        break;
      case 'seen':
        this.seenBy.set(f.from, Math.max(f.offset, this.seenBy.get(f.from) ?? 0));
        break;
      case 'state':
        this.happens({ type: 'state', attempt: f.attempt, me: this.me, at: Date.now() });
        this.happens({ type: 'people', calleeHere: this.calleeHere }); // whom nobody sits for is not here
        break;
      case 'status':
        this.status = f.status;
        break;
      case 'error':
        this.error(f);
        break;
      case 'ticket': case 'moved': case 'pong':           // the connection's
      case 'ring': case 'ring-end': case 'room': case 'settings': // a device's
        return;
      default:
        f satisfies never;
    }
    this.options.changed();
  }

  private welcome(f: FromRelay<'welcome'>): void {
    this.id = f.room ?? this.id;
    this.epoch = f.epoch ?? '';
    this.me = f.me ?? this.me;
    this.subject = f.subject ?? '';
    this.carrier = f.carrier ?? '';
    this.port = f.port ?? 0;
    this.status = f.status ?? this.status;
    this.trouble = '';
    heardAt(f.at);
    this.transcript = f.transcript === true;
    this.maxFile = f.max_file ?? 0;
    this.editFor = f.edit_for ?? 0;
    if (!this.first) this.compare(f.here);
    this.meet(f.people, f.here ?? []);
    for (const [id, offset] of Object.entries(f.seen_by ?? {})) this.seenBy.set(Number(id), offset);
    this.seenSent = Math.max(this.seenSent, this.seenBy.get(this.me) ?? 0);
    this.happens({ type: 'welcome', attempt: f.attempt, me: this.me, at: Date.now() });
    if (!atIt()) this.connection.send({ t: 'away', on: true });
    this.direct.over(); // the relay ends a part when somebody comes; what it does not have goes before all else
    this.sending.flush();
    this.changes.resume();
    this.uploads.resume();
    const first = this.first;
    this.first = false;
    this.options.welcomed?.(first);
  }

  private meet(people: Participant[] | undefined, here: number[] | undefined): void {
    for (const p of people ?? []) this.people.set(p.id, p);
    if (here) this.here = new Set(here);
    this.happens({ type: 'people', calleeHere: this.calleeHere });
    if (this.others.length) this.met = true;
  }

  /** happens moves the call on, says what is to be said of it, and draws it again when a time is over. */
  private happens(e: CallEvent): void {
    const before = this.call;
    const next = (this.call = step(before, e));
    if (next.asked !== before.asked || e.type === 'tell') this.connection.send({ t: 'tell', on: next.wish });
    if (next.answeredAt !== before.answeredAt) after(answeredFor, () => this.options.changed());
    if (next.calledAt !== before.calledAt) after(callWait, () => this.options.changed());
    if (e.type === 'refused' && next !== before) after(e.wait, () => this.options.changed());
  }

  /** greet meets them, and tells of each who was not here. */
  private greet(f: FromRelay<'people'>): void {
    const before = this.here;
    this.meet(f.people, f.here);
    for (const p of this.others) if (!before.has(p.id)) this.options.came?.(p);
  }

  private compare(here: number[] = []): void {
    this.coming.compare(this.here, here, this.me, this.messages.at(-1)?.offset ?? 0);
  }

  private insert(m: Message): void {
    const heard = this.direct.has(m.from, m.id);
    this.direct.settle(m.from, m.id);
    if (!this.history.insert(m) || m.kind === 'edit' || m.kind === 'delete') return;
    if (m.from === this.me) {
      this.sending.settle(m.id);
      this.uploads.settle(m.id);
    }
    if (m.kind !== 'note') this.typists.stopped(m.from);
    if (!heard) this.options.heard?.(m);
  }

  /** past shows what was said past the server. */
  private past(m: Message): void {
    this.history.early(m);
    if (m.from === this.me) this.sending.hold(m.id);
    else this.typists.stopped(m.from);
    this.options.heard?.(m);
    this.sending.flush();
    this.options.changed();
  }

  private ack(f: FromRelay<'ack'>): void {
    this.trouble = '';
    const change = this.changes.acked(f, this.me);
    if (change) return this.insert(change);
    const p = this.sending.settle(f.id);
    // It may have come as a message already: from another tab that sent it too.
    const known = this.messages.some((m) => m.id === f.id && m.from === this.me && Number.isInteger(m.offset));
    if (p && f.offset && !known) {
      this.insert({ offset: this.history.free(f.offset), id: p.id, from: this.me,
        kind: 'text', text: p.text, at: f.at, ...(p.ref && { ref: p.ref }) });
    }
    this.sending.flush();
  }

  private error(f: FromRelay<'error'>): void {
    const { code } = f;
    const whose = code === 'forbidden' ? this.direct.refused(f.id ?? '') : undefined;
    if (whose !== undefined) {
      this.history.takeBack(whose, f.id!, whose !== this.me);
      return this.sending.release(f.id!);
    }
    const refused = this.changes.refused(f);
    if (refused !== undefined) {
      this.refused = refused;
      return;
    }
    if (code === 'too-fast' && !f.fatal && !f.id) {
      // A ring is the person's to repeat.
      this.happens({ type: 'refused', wait: (f.wait || 1) * 1000, at: Date.now() });
      return;
    }
    if (code !== 'too-fast' || f.fatal) this.trouble = code;
    if (!f.fatal || code !== 'too-fast') this.sending.refused(f);
  }
}
