// SPDX-License-Identifier: GPL-3.0-or-later

// A connection that lasts: it enters, says hello, keeps the heartbeat, and
// comes back with a new ticket whenever it was lost, until it is stopped.

import { ApiError } from './api';
import { race, type Why, type Wire } from './carrier';
import { after, every } from './clock';
import { idleWait, pingEvery, type Endpoint, type Frame } from './wire';

export type Phase = 'connecting' | 'open' | 'lost' | 'closed';

export interface Owner {
  /** A way in, new each time. An ApiError of 401, 403, 404, 409 or 410 ends the connection. */
  enter(): Promise<{ endpoints: Endpoint[]; hello: Frame }>;
  frame(f: Frame): void;
  phase(p: Phase, why?: Why): void;
  /** It is over and does not come back; the reason is an answer's or an error frame's. */
  over(reason: unknown): void;
}

const firstPause = 400;   // ms before the first try to come back
const longestPause = 15_000;
const hastyPause = 5000;  // after "too-fast"

const final = new Set([401, 403, 404, 409, 410]);

export class Connection {
  private wire: Wire | undefined;
  private stopped = false;
  private tries = 0;
  private pause = 0;
  private avoidQuic = false;
  private heard = 0;
  private resume: (() => void) | undefined;
  private readonly wake = () => this.check();

  constructor(private readonly owner: Owner) {
    addEventListener('online', this.wake);
    addEventListener('pageshow', this.wake);
    document.addEventListener('visibilitychange', this.wake);
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
    this.wire?.close();
    this.resume?.();
    this.owner.phase('closed');
  }

  /** After sleep or a change of network nobody waits for a timer. */
  private check(): void {
    if (document.visibilityState === 'hidden') return;
    if (this.wire && Date.now() - this.heard > idleWait) this.wire.close();
    this.resume?.();
  }

  private async run(): Promise<void> {
    while (!this.stopped) {
      this.pause = 0;
      try {
        const { endpoints, hello } = await this.owner.enter();
        if (this.stopped) return;
        const { wire, why } = await race(endpoints, this.avoidQuic);
        if (this.stopped) return wire.close();
        const welcomed = await this.session(wire, why, hello);
        // A path that opens and then carries nothing is not tried twice in a row.
        this.avoidQuic = !welcomed && wire.carrier === 'webtransport';
        if (welcomed) this.tries = 0;
      } catch (err) {
        if (err instanceof ApiError) {
          if (final.has(err.status)) return this.end(err);
          this.pause = err.retryAfter * 1000;
        }
      }
      if (this.stopped) return;
      this.owner.phase('lost');
      const backoff = Math.min(longestPause, firstPause * 2 ** this.tries++);
      await this.sleep(Math.max(this.pause, backoff * (0.5 + Math.random())));
    }
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

  /** session lasts as long as the wire and reports whether the relay welcomed us. */
  private session(wire: Wire, why: Why, hello: Frame): Promise<boolean> {
    return new Promise((done) => {
      let welcomed = false;
      let n = 0;
      this.wire = wire;
      this.heard = Date.now();
      const beat = every(pingEvery, () => {
        if (Date.now() - this.heard > idleWait) wire.close();
        else wire.send({ t: 'ping', n: ++n });
      });
      wire.onframe = (f) => {
        this.heard = Date.now();
        if (f.t === 'pong') return;
        if (f.t === 'welcome') {
          welcomed = true;
          this.owner.phase('open', why);
        }
        if (f.t === 'error') {
          if (f.code === 'too-fast') this.pause = hastyPause;
          if (f.code === 'room' || (f.code === 'forbidden' && f.fatal)) return this.end(f);
        }
        this.owner.frame(f);
      };
      wire.onclose = () => {
        beat();
        if (this.wire === wire) this.wire = undefined;
        done(welcomed);
      };
      wire.send(hello);
    });
  }
}
