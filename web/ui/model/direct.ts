// SPDX-License-Identifier: GPL-3.0-or-later

// The way from computer to computer, past the server: docs/direct.md. While the
// relay says so, words go to the program on the sender's computer and come from
// there. The relay has none of them until the part is over, so each is kept here,
// others' too, until it comes back from the relay with its own offset. Those of a
// part that stays on the sender's computer never do.

import { after, every } from '../base/time';
import { aborted, webTransport, type Wire } from '../wire/carrier';
import type { ClientFrame, FromRelay, Message } from '../wire/wire';

const comeWait = 4000;   // ms for the way to open and echo
const beat = 1000;       // ms between two pings
const silence = 3;       // beats without a frame: the way is lost
const overWait = 4000;   // ms for the relay to say that a part which is lost here is over
const headStart = 100;   // ms of each way before the next one
const mostKnown = 2000;  // messages that are told apart from those that come again

/** canDirect says whether this browser can take the way. */
export const canDirect = () => 'WebTransport' in window && !!crypto.subtle;

type Say = Extract<ClientFrame, { t: 'say' }>;

/** What one said, or heard, as it is handed over. */
interface Said { msg: Message; frame: Say; keep: boolean }

interface Owner {
  me(): number;
  /** To the relay; false: there is no connection. */
  relay(f: ClientFrame): boolean;
  /** One's own words that stay on the sender's computer. */
  kept(id: string): void;
  /** Somebody's words, or one's own that the program has. */
  heard(m: Message): void;
  typing(from: number): void;
  refused(f: FromRelay<'error'>): void;
  /** Words go to the program from now on, or to the relay again. */
  turned(): void;
}

interface Part {
  epoch: string; via: string; key: Promise<CryptoKey>; wire?: Wire; on: boolean; stop: AbortController; keep: boolean;
}

export class Direct {
  private part: Part | undefined;
  private readonly said = new Map<string, Said>(); // by participant and id, in the order of the program
  private readonly sent = new Map<string, Say>();  // not acknowledged by the program
  private readonly known = new Set<string>();      // by participant and id: what was said and stays there
  private resume: { epoch: string; after: number } | undefined; // the last part that stays there, and how much one has
  private marking = Promise.resolve();

  constructor(private readonly owner: Owner) {}

  /** on: words go to the program. */
  get on(): boolean {
    return !!this.part?.on && !!this.part.wire;
  }

  /** keeps: what is said stays on the sender's computer alone. */
  get keeps(): boolean {
    return this.on && this.part!.keep;
  }

  /** waits: words wait, until the relay has those of the part. */
  get waits(): boolean {
    return !!this.part?.on && !this.part.wire;
  }

  /** has says whether a message has been said, and the relay does not have it yet. */
  has(from: number, id: string): boolean {
    return this.said.has(`${from} ${id}`);
  }

  /** settle forgets what the relay has. */
  settle(from: number, id: string): void {
    this.said.delete(`${from} ${id}`);
  }

  /** frame takes what the relay says of the way. */
  frame(f: FromRelay<'direct'>): void {
    if (f.code === 'offer') void this.come(f);
    else if (f.epoch !== this.part?.epoch) return;
    else if (f.code === 'over') this.over();
    else if (f.code === 'on' && this.part?.wire) {
      this.part.on = true;
      this.owner.turned();
    }
  }

  /** say marks a message and says it to the program. */
  say(f: Say, at: string): void {
    const part = this.part!;
    const whole: Say = { ...f, at };
    this.sent.set(f.id, whole);
    this.marking = this.marking.then(async () => {
      const text = [f.id, Date.parse(at), f.ref ?? 0, f.text].join('\n');
      const sum = await crypto.subtle.sign('HMAC', await part.key, new TextEncoder().encode(text));
      whole.mac = base64url(new Uint8Array(sum));
      part.wire?.send(whole);
    }).catch(() => this.lost(part));
  }

  type(): void {
    this.part?.wire?.send({ t: 'typing' });
  }

  close(): void {
    const { part } = this;
    this.part = undefined;
    part?.stop.abort();
    part?.wire?.close();
  }

  /** over ends the part: what the relay does not have is handed over, in its order, before anything else is said. */
  over(): void {
    const was = this.part?.on;
    this.close();
    this.sent.clear();
    const me = this.owner.me();
    for (const [key, { msg, frame, keep }] of this.said) {
      if (!keep) {
        this.owner.relay(frame);
        continue;
      }
      this.said.delete(key);
      if (msg.from === me) this.owner.kept(msg.id);
      this.known.add(key);
      if (this.known.size > mostKnown) this.known.delete(this.known.values().next().value!);
    }
    if (was) this.owner.turned();
  }

  /** refused says whose words the relay has refused when they were handed over; they are forgotten. */
  refused(id: string): number | undefined {
    const key = [...this.said.keys()].find((k) => k.endsWith(` ${id}`));
    if (key === undefined) return undefined;
    this.said.delete(key);
    return parseInt(key, 10);
  }

  private async come(f: FromRelay<'direct'>): Promise<void> {
    this.close();
    const raw = Uint8Array.from(atob(f.key ?? ''), (c) => c.charCodeAt(0));
    const part: Part = {
      epoch: f.epoch ?? '', via: f.via ?? '', on: false, stop: new AbortController(), keep: f.keep === true,
      key: crypto.subtle.importKey('raw', raw, { name: 'HMAC', hash: 'SHA-256' }, false, ['sign']),
    };
    part.key.catch(() => {});
    this.part = part;
    let won = false; // by the first way that is open
    const late = after(comeWait, () => part.stop.abort());
    try {
      const ways = (f.endpoints ?? []).map(async (e, i) => {
        if (i > 0) await new Promise<void>((done) => after(i * headStart, done));
        const wire = await webTransport(e, part.stop.signal);
        await this.echo(part, wire, f.ticket ?? '');
        if (won) return wire.close();
        won = true;
        part.wire = wire;
      });
      await Promise.race([Promise.any(ways), aborted(part.stop.signal)]);
      late();
      if (this.part !== part) return part.wire?.close();
      this.keep(part, part.wire!);
      this.owner.relay({ t: 'direct', epoch: part.epoch, on: true });
    } catch {
      late();
      if (this.part !== part) return;
      this.close();
      this.owner.relay({ t: 'direct', epoch: part.epoch });
    }
  }

  /** echo shows the ticket, and waits until the program has let us in and answers. */
  private echo(part: Part, wire: Wire, ticket: string): Promise<void> {
    return new Promise((done, fail) => {
      wire.onclose = () => fail(new Error('the direct way: closed'));
      wire.onframe = (f) => {
        if (f.t === 'welcome') wire.send({ t: 'ping', n: 1 });
        else if (f.t === 'msg') this.hear(part, f); // which one has missed
        else if (f.t === 'pong') done();
        else if (f.t === 'error') wire.close();
      };
      part.stop.signal.addEventListener('abort', () => wire.close(), { once: true });
      wire.send({ t: 'hello', ticket, ...this.resume });
    });
  }

  private keep(part: Part, wire: Wire): void {
    let silent = 0;
    const stop = every(beat, () => {
      if (++silent > silence) wire.close();
      else wire.send({ t: 'ping', n: silent });
    });
    wire.onclose = () => {
      stop();
      this.lost(part);
    };
    wire.onframe = (f) => {
      silent = 0;
      if (f.t === 'msg') this.hear(part, f);
      else if (f.t === 'ack') {
        const own = this.sent.get(f.id);
        this.sent.delete(f.id);
        const me = this.owner.me();
        if (own) {
          this.got(part, part.epoch, f.offset ?? 0);
          this.take(part, { offset: 0, id: own.id, from: me, kind: 'text', text: own.text, at: own.at!,
            ...(own.ref && { ref: own.ref }), ...(part.via && { via: part.via }) },
          { ...own, from: me, epoch: part.epoch, ...(part.via && { via: part.via }) });
        }
      } else if (f.t === 'typing') this.owner.typing(f.from);
      else if (f.t === 'error' && !f.fatal) {
        this.sent.delete(f.id ?? '');
        this.owner.refused(f);
      }
    };
  }

  private hear(part: Part, f: FromRelay<'msg'>): void {
    const { id, from, at, ref, via, text, offset } = f.msg;
    const epoch = f.epoch ?? part.epoch;
    this.got(part, epoch, offset);
    this.take(part, f.msg, { t: 'say', id, text: f.text ?? text, at, from, ...(ref && { ref }), ...(via && { via }),
      epoch, mac: f.mac });
  }

  /** got notes how much one has of a part that stays on the sender's computer. */
  private got(part: Part, epoch: string, after: number): void {
    if (part.keep && after > 0) this.resume = { epoch, after };
  }

  private take(part: Part, msg: Message, frame: Say): void {
    const key = `${msg.from} ${msg.id}`;
    if (this.said.has(key) || this.known.has(key)) return;
    this.said.set(key, { msg, frame, keep: part.keep });
    this.owner.heard(msg);
  }

  /** lost tells the relay that the way is lost, and waits for what it says. */
  private lost(part: Part): void {
    if (this.part !== part) return;
    part.wire?.close();
    part.wire = undefined;
    this.owner.relay({ t: 'direct', epoch: part.epoch });
    after(overWait, () => {
      if (this.part === part) this.over();
    });
    this.owner.turned();
  }
}

function base64url(octets: Uint8Array): string {
  return btoa(String.fromCharCode(...octets)).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}
