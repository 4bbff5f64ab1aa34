// SPDX-License-Identifier: GPL-3.0-or-later

// Arriving: from the opening of a carrier to the relay's welcome.

import { race, type Why, type Wire } from './carrier';
import type { ClientFrame, Endpoint, FromRelay, RelayFrame } from './wire';

/** A way in. */
export interface Way { endpoints: Endpoint[]; ticket?: string }

/** Refusal is a relay that answered hello with something else than a welcome. */
export class Refusal extends Error {
  constructor(readonly frame: FromRelay<'error' | 'moved'>) {
    super(frame.t === 'error' ? `error ${frame.code}` : frame.t);
  }
}

/** Mute is a carrier that opened and then carried nothing. */
export class Mute extends Error {
  constructor(readonly carrier: string) {
    super(`${carrier} carried nothing`);
  }
}

/** place names where a way leads, whatever its carrier and its ticket. */
export function place(way: Way): string {
  return (way.endpoints.find((e) => e.carrier === 'websocket') ?? way.endpoints[0])?.url ?? '';
}

/**
 * arrive says hello at the end of a way. It calls welcomed at once, with the frames up to the welcome, and whoever is
 * called takes the wire over; the promise is done then. It fails with a Refusal, a Mute, or because nothing opened.
 */
export async function arrive(way: Way, hello: ClientFrame, avoid: ReadonlySet<string>, signal: AbortSignal,
  welcomed: (wire: Wire, why: Why, frames: RelayFrame[]) => void): Promise<void> {
  const { wire, why } = await race(way.endpoints, avoid, signal);
  return new Promise((done, fail) => {
    const frames: RelayFrame[] = [];
    const abort = () => wire.close();
    signal.addEventListener('abort', abort, { once: true });
    wire.onclose = () => fail(new Mute(wire.carrier));
    wire.onframe = (f) => {
      if (f.t === 'error' || f.t === 'moved') {
        fail(new Refusal(f));
        return wire.close();
      }
      frames.push(f);
      if (f.t !== 'welcome') return;
      signal.removeEventListener('abort', abort);
      welcomed(wire, why, frames);
      done();
    };
    if (signal.aborted) wire.close();
    else wire.send(hello);
  });
}
