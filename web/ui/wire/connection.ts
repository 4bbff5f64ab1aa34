// SPDX-License-Identifier: GPL-3.0-or-later

// A connection that lasts: it enters, says hello, keeps the heartbeat, and
// comes back whenever it was lost, until it is stopped. To come back it asks
// all places that it knows side by side, again and again: the relay where it
// was and the other relays, with the ticket that it got for that, and the
// front door. The first welcome counts.

import { ApiError } from '../base/errors';
import { after, every } from '../base/time';
import { arrive, Mute, place, Refusal, type Way } from './arrive';
import { aborted, type Why, type Wire } from './carrier';
import { type ClientFrame, type FromRelay, lostAfter, pingEvery, type RelayFrame } from './wire';

export type Phase = 'connecting' | 'open' | 'lost' | 'closed';

export interface Owner {
  /** A new way in. An ApiError of 401, 403, 404, 409 or 410 ends the connection. */
  enter(): Promise<Way>;
  hello(ticket?: string): ClientFrame;
  frame(f: RelayFrame): void;
  phase(p: Phase, why?: Why): void;
  /** It is over and does not come back; the reason is an answer's or an error frame's. */
  over(reason: unknown): void;
}

const beat = 1000;         // ms between two looks at the silence
const hastyPause = 5000;   // ms after "too-fast"
const probeWait = 2000;    // ms for a pong after sleep or a change of network
const passLife = 540_000;  // ms a ticket for coming back is good for, a little less than the relay's
const doorPause = 1000;    // ms between two requests to the front door
const mostHops = 3;        // from relay to relay in one round

// A relay counts as dead after 4 s without a heartbeat; whoever was there is to be elsewhere soon after that.
const rounds = [
  { until: 15_000, pause: 400 },
  { until: 60_000, pause: 1500 },
  { until: Infinity, pause: 15_000 },
];

/** patience is how long a place may take until its welcome: longer from try to try, for slow networks. */
const patience = (searched: number) => Math.min(12_000, Math.max(3000, searched));
const firstPatience = 15_000;

const final = new Set([401, 403, 404, 409, 410]);

export class Connection {
  private wire: Wire | undefined;
  private stopped = false;
  private readonly tries = new Map<string, AbortController>(); // by place
  private since = Date.now();         // of the search
  private resting = 0;                // no round before
  private doorRests = 0;              // no request to the front door before
  private hops = 0;
  private readonly avoid = new Set<string>(); // carriers that opened and carried nothing
  private heard = 0;
  private pinged = 0;
  private resume: (() => void) | undefined;
  private unloading = false;
  private answered = false;           // the front door has let us in, whatever the carriers do
  private door: Way | undefined;      // the way that it showed last

  private last: Way | undefined;      // the way that led in
  private pass: { ticket: string; at: number } | undefined;
  private peers: string[] = [];       // WebSocket endpoints of the other relays
  private moved: Way | undefined;     // where the relay has sent us
  private lost: (() => void) | undefined;

  private readonly wake = (ev: Event) => {
    if (ev.type === 'pageshow') this.unloading = false;
    this.check();
  };

  /** leave: the page goes away, perhaps to be loaded again. The relay learns it now, not from the silence. */
  private readonly leave = () => {
    this.unloading = true;
    this.abandon();
    this.wire?.close(true);
    const way = this.last ?? this.door;
    const socket = way?.endpoints.find((e) => e.carrier === 'websocket')?.url;
    const ticket = this.pass?.ticket ?? way?.ticket;
    if (ticket && socket) navigator.sendBeacon?.(socket.replace(/^ws/, 'http') + '/gone', ticket);
  };

  constructor(private readonly owner: Owner) {
    addEventListener('online', this.wake);
    addEventListener('pageshow', this.wake);
    addEventListener('pagehide', this.leave);
    document.addEventListener('visibilitychange', this.wake);
    document.addEventListener('resume', this.wake); // of a page that was frozen
    network()?.addEventListener('change', this.wake);
    void this.run();
  }

  /** send reports whether there was a connection to send on. */
  send(f: ClientFrame): boolean {
    if (!this.wire) return false;
    this.wire.send(f);
    return true;
  }

  stop(): void {
    if (this.stopped) return;
    this.stopped = true;
    removeEventListener('online', this.wake);
    removeEventListener('pageshow', this.wake);
    removeEventListener('pagehide', this.leave);
    document.removeEventListener('visibilitychange', this.wake);
    document.removeEventListener('resume', this.wake);
    network()?.removeEventListener('change', this.wake);
    this.abandon();
    this.wire?.close();
    this.resume?.();
    this.owner.phase('closed');
  }

  /** After sleep or a change of network nobody waits for a timer. */
  private check(): void {
    if (document.visibilityState === 'hidden') return;
    const wire = this.wire;
    if (wire) {
      const asked = Date.now();
      this.ping(wire);
      after(probeWait, () => {
        if (wire === this.wire && this.heard < asked) wire.close();
      });
    }
    this.resume?.();
  }

  private ping(wire: Wire): void {
    wire.send({ t: 'ping', n: ++this.pinged });
  }

  private async run(): Promise<void> {
    while (!this.stopped) {
      await this.search();
      if (this.wire) await new Promise<void>((lost) => { this.lost = lost; });
    }
  }

  /** search asks for a way in, round after round, until there is a wire. */
  private async search(): Promise<void> {
    this.since = Date.now();
    for (let round = 0; !this.stopped && !this.wire; round++) {
      if (this.unloading) {
        await this.sleep(passLife);
        continue;
      }
      this.hops = 0;
      const ways = this.ways();
      for (const way of ways) this.ask(place(way), async () => way);
      // The front door costs more than the others; it is asked when they have not led in at once.
      if ((round > 0 || !ways.length) && Date.now() >= this.doorRests) {
        this.doorRests = Date.now() + doorPause;
        this.ask('', async () => {
          const way = await this.owner.enter();
          this.answered = true;
          this.door = way;
          return way;
        });
      }
      const searched = Date.now() - this.since;
      const { pause } = rounds.find((r) => searched < r.until)!;
      await this.sleep(Math.max(this.resting - Date.now(), pause * (0.75 + Math.random() / 2)));
    }
  }

  /** ways lead to the relays that are known. */
  private ways(): Way[] {
    const ways: Way[] = [];
    if (this.moved) ways.push(this.moved);
    this.moved = undefined;
    if (!this.pass || Date.now() - this.pass.at > passLife) return ways;
    const ticket = this.pass.ticket;
    if (this.last) ways.push({ endpoints: this.last.endpoints, ticket });
    for (const url of this.peers) {
      ways.push({ endpoints: [{ carrier: 'websocket', url }, { carrier: 'http', url: streamOf(url) }], ticket });
    }
    return ways;
  }

  /** ask tries to enter at a place, unless a try there is under way. */
  private ask(where: string, find: () => Promise<Way>): void {
    if (this.tries.has(where)) return;
    const one = new AbortController();
    this.tries.set(where, one);
    const giveUp = after(this.last ? patience(Date.now() - this.since) : firstPatience, () => one.abort());
    const go = async () => {
      const way = await Promise.race([find(), aborted(one.signal)]);
      await arrive(way, this.owner.hello(way.ticket), this.avoid, one.signal,
        (wire, why, frames) => this.welcomed(way, wire, why, frames));
    };
    void go().catch((err) => err).then((err: unknown) => {
      giveUp();
      const current = this.tries.get(where) === one;
      if (current) this.tries.delete(where);
      if (err && current && !this.stopped) this.refused(err);
    });
  }

  private refused(err: unknown): void {
    if (err instanceof ApiError) {
      // To a browser that keeps no cookies the front door says that it has not claimed the link; its ticket still counts.
      if (final.has(err.status) && !(err.code === 'claim' && this.ways().length)) return this.end(err);
      this.doorRests = Math.max(this.doorRests, Date.now() + err.retryAfter * 1000);
    }
    // A path that opens and then carries nothing is not tried twice in a row.
    if (err instanceof Mute) this.avoid.add(err.carrier);
    else this.avoid.clear();
    // The front door answers, and no carrier gets through: it is the network.
    const blocked = !(err instanceof ApiError) && !(err instanceof Refusal) && this.answered;
    if (!this.last) this.owner.phase('lost', blocked ? 'blocked' : undefined);
    if (!(err instanceof Refusal)) return;
    const f = err.frame;
    if (f.t !== 'moved') return this.wrong(f);
    const way = { endpoints: f.endpoints, ticket: f.ticket };
    if (this.hops++ < mostHops) this.ask(place(way), async () => way);
  }

  /** wrong takes an error frame. */
  private wrong(f: FromRelay<'error'>): void {
    if (f.code === 'too-fast') this.resting = Date.now() + hastyPause;
    if (f.code === 'ticket') this.pass = undefined;
    if (f.code === 'room' || (f.code === 'forbidden' && f.fatal)) return this.end(f);
    this.owner.frame(f);
  }

  /** abandon ends all tries. */
  private abandon(): void {
    const tries = [...this.tries.values()];
    this.tries.clear();
    for (const one of tries) one.abort();
  }

  private end(reason: unknown): void {
    this.stop();
    this.owner.over(reason);
  }

  private sleep(ms: number): Promise<void> {
    return new Promise((done) => {
      const cancel = after(ms, () => this.resume?.());
      this.resume = () => {
        this.resume = undefined;
        cancel();
        done();
      };
    });
  }

  /** welcomed keeps the wire for as long as it lasts. */
  private welcomed(way: Way, wire: Wire, why: Why, frames: RelayFrame[]): void {
    this.abandon();
    this.wire = wire;
    this.last = way;
    this.avoid.clear();
    this.heard = Date.now();
    // Silence is counted in beats, not on the clock: a page that slept has not listened.
    let silent = 0;
    let sincePing = 0;
    const stop = every(beat, () => {
      if (++silent * beat >= lostAfter) return wire.close();
      if (++sincePing * beat < pingEvery) return;
      sincePing = 0;
      this.ping(wire);
    });
    wire.onframe = (f) => {
      silent = 0;
      this.heard = Date.now();
      switch (f.t) {
        case 'pong':
          return;
        case 'ticket':
          return this.keep(f);
        case 'moved':
          this.moved = { endpoints: f.endpoints, ticket: f.ticket };
          return wire.close();
        case 'error':
          return this.wrong(f);
        case 'welcome':
          this.keep(f);
          this.owner.phase('open', why);
      }
      this.owner.frame(f);
    };
    wire.onclose = () => {
      stop();
      this.wire = undefined;
      if (!this.stopped) this.owner.phase('lost');
      this.lost?.();
    };
    for (const f of frames) wire.onframe(f);
    this.resume?.(); // the search is over
  }

  /** keep takes the ticket for coming back, and the other relays. */
  private keep(f: FromRelay<'ticket' | 'welcome'>): void {
    if (f.ticket) this.pass = { ticket: f.ticket, at: Date.now() };
    this.peers = f.peers ?? [];
  }
}

/** streamOf is the HTTP endpoint beside a WebSocket endpoint. */
export function streamOf(socket: string): string {
  const url = new URL(socket.replace(/^ws/, 'http'));
  url.pathname += '/stream';
  return url.href;
}

/** network tells of a change from one network to another, where the browser does. */
function network(): EventTarget | undefined {
  return (navigator as { connection?: EventTarget }).connection;
}
