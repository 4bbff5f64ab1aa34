// SPDX-License-Identifier: GPL-3.0-or-later

// A connection that lasts: it enters, says hello, keeps the heartbeat, and
// comes back whenever it was lost, until it is stopped. It comes back to where
// it was with the ticket that the relay gave it for that; if nobody is there
// any more, by way of the front door, or by any other relay it knows of, which
// says where the room is now.

import { ApiError } from './api';
import { race, type Why, type Wire } from './carrier';
import { after, every } from './clock';
import { lostAfter, pingEvery, type Endpoint, type Frame } from './wire';

export type Phase = 'connecting' | 'open' | 'lost' | 'closed';

/** A way in. */
export interface Way { endpoints: Endpoint[]; ticket?: string }

export interface Owner {
  /** A new way in. An ApiError of 401, 403, 404, 409 or 410 ends the connection. */
  enter(): Promise<Way>;
  hello(ticket?: string): Frame;
  frame(f: Frame): void;
  phase(p: Phase, why?: Why): void;
  /** It is over and does not come back; the reason is an answer's or an error frame's. */
  over(reason: unknown): void;
}

const firstPause = 300;    // ms before the first try to come back
const shortPause = 1500;   // the longest for as long as
const hurry = 30_000;      // ms it has not been lost for longer
const longPause = 15_000;
const hastyPause = 5000;   // after "too-fast"
const enterWait = 3000;    // ms until the front door counts as gone, where there are other relays
const returnWait = 4000;   // ms until a place where it was before does
const probeWait = 2000;    // ms for a pong after sleep or a change of network
const passLife = 540_000;  // ms a ticket for coming back is good for, a little less than the relay's

const mostHops = 3;        // from relay to relay without a pause

const final = new Set([401, 403, 404, 409, 410]);

type Outcome = 'welcomed' | 'moved' | 'refused';

export class Connection {
  private wire: Wire | undefined;
  private stopped = false;
  private tries = 0;
  private pause = 0;
  private lostAt = 0;
  private hops = 0;
  private avoidQuic = false;
  private heard = 0;
  private pinged = 0;
  private resume: (() => void) | undefined;

  private last: Way | undefined;      // the way that led in
  private pass: { ticket: string; at: number } | undefined;
  private peers: string[] = [];       // WebSocket endpoints of the other relays
  private moved: Way | undefined;     // where the relay has sent us

  private readonly wake = () => this.check();

  constructor(private readonly owner: Owner) {
    addEventListener('online', this.wake);
    addEventListener('pageshow', this.wake);
    document.addEventListener('visibilitychange', this.wake);
    document.addEventListener('resume', this.wake); // of a page that was frozen
    network()?.addEventListener('change', this.wake);
    void this.run();
  }

  /** send reports whether there was a connection to send on. */
  send(f: Frame): boolean {
    if (!this.wire) return false;
    this.wire.send(f);
    return true;
  }

  stop(): void {
    if (this.stopped) return;
    this.stopped = true;
    removeEventListener('online', this.wake);
    removeEventListener('pageshow', this.wake);
    document.removeEventListener('visibilitychange', this.wake);
    document.removeEventListener('resume', this.wake);
    network()?.removeEventListener('change', this.wake);
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
      this.pause = 0;
      try {
        for await (const way of this.ways()) {
          const outcome = await this.go(way);
          if (this.stopped) return;
          if (outcome !== 'refused') break;
        }
      } catch (err) {
        if (err instanceof ApiError) {
          if (final.has(err.status)) return this.end(err);
          this.pause = err.retryAfter * 1000;
        }
      }
      if (this.stopped) return;
      this.owner.phase('lost');
      if (this.moved && this.hops++ < mostHops) continue;
      this.lostAt ||= Date.now();
      const longest = Date.now() - this.lostAt < hurry ? shortPause : longPause;
      const backoff = Math.min(longest, firstPause * 2 ** this.tries++);
      await this.sleep(Math.max(this.pause, backoff * (0.5 + Math.random())));
    }
  }

  /** ways are tried one after another until one leads in. */
  private async *ways(): AsyncGenerator<Way> {
    if (this.moved) {
      const way = this.moved;
      this.moved = undefined;
      yield way;
    }
    const ticket = this.pass && Date.now() - this.pass.at < passLife ? this.pass.ticket : undefined;
    if (ticket && this.last) yield { endpoints: this.last.endpoints, ticket };
    const peers = ticket ? [...this.peers] : [];
    let refused: unknown;
    try {
      yield await (peers.length ? within(enterWait, this.owner.enter()) : this.owner.enter());
    } catch (err) {
      if (!peers.length || (err instanceof ApiError && final.has(err.status))) throw err;
      refused = err;
    }
    for (const url of peers) yield { endpoints: [{ carrier: 'websocket', url }], ticket };
    if (refused) throw refused;
  }

  /** go takes one way, and stays for as long as it lasts. */
  private async go(way: Way): Promise<Outcome> {
    let opened;
    try {
      opened = await race(way.endpoints, this.avoidQuic, this.lostAt ? returnWait : undefined);
    } catch {
      return 'refused';
    }
    const { wire, why } = opened;
    if (this.stopped) {
      wire.close();
      return 'refused';
    }
    const outcome = await this.session(wire, why, way);
    // A path that opens and then carries nothing is not tried twice in a row.
    this.avoidQuic = outcome === 'refused' && wire.carrier === 'webtransport';
    return outcome;
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

  /** session lasts as long as the wire. */
  private session(wire: Wire, why: Why, way: Way): Promise<Outcome> {
    return new Promise((done) => {
      let outcome: Outcome = 'refused';
      this.wire = wire;
      this.heard = Date.now();
      const beat = every(pingEvery, () => {
        if (Date.now() - this.heard > lostAfter) wire.close();
        else this.ping(wire);
      });
      wire.onframe = (f) => {
        this.heard = Date.now();
        switch (f.t) {
          case 'pong':
            return;
          case 'ticket':
            this.keep(f);
            return;
          case 'moved':
            outcome = 'moved';
            this.moved = { endpoints: f.endpoints ?? [], ticket: f.ticket };
            wire.close();
            return;
          case 'welcome':
            outcome = 'welcomed';
            this.last = way;
            this.tries = this.lostAt = this.hops = 0;
            this.keep(f);
            this.owner.phase('open', why);
            break;
          case 'error':
            if (f.code === 'too-fast') this.pause = hastyPause;
            if (f.code === 'ticket') this.pass = undefined;
            if (f.code === 'room' || (f.code === 'forbidden' && f.fatal)) return this.end(f);
        }
        this.owner.frame(f);
      };
      wire.onclose = () => {
        beat();
        if (this.wire === wire) this.wire = undefined;
        done(outcome);
      };
      wire.send(this.owner.hello(way.ticket));
    });
  }

  /** keep takes the ticket for coming back, and the other relays. */
  private keep(f: Frame): void {
    if (f.ticket) this.pass = { ticket: f.ticket, at: Date.now() };
    this.peers = f.peers ?? [];
  }
}

/** network tells of a change from one network to another, where the browser does. */
function network(): EventTarget | undefined {
  return (navigator as { connection?: EventTarget }).connection;
}

function within<T>(ms: number, p: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const cancel = after(ms, () => reject(new ApiError(0, 'network', {}, 0)));
    p.then(resolve, reject).finally(cancel);
  });
}
