// SPDX-License-Identifier: GPL-3.0-or-later

// Carriers bring frames to the relay and back. WebTransport (QUIC to the
// granted port) is tried first, WebSocket after a head start or at once when
// QUIC fails; the loser is closed.

import { after } from '../base/time';
import { parse, split, varint } from './parse';
import { type ClientFrame, type Endpoint, headStart, type RelayFrame } from './wire';

export interface Wire {
  readonly carrier: string;
  send(f: ClientFrame): void;
  /** now: without time for what was written last, since the page goes away. */
  close(now?: boolean): void;
  /** Set by the owner before anything can arrive. */
  onframe: (f: RelayFrame) => void;
  onclose: () => void;
}

/** Why this carrier: shown under Details. */
export type Why = 'quic' | 'absent' | 'unoffered' | 'failed' | 'slow' | 'avoided';

async function webTransport(e: Endpoint, signal: AbortSignal): Promise<Wire> {
  const wt = new WebTransport(e.url, {
    serverCertificateHashes: (e.hashes ?? []).map((hash) => ({
      algorithm: 'sha-256',
      value: Uint8Array.from(atob(hash), (c) => c.charCodeAt(0)),
    })),
  });
  wt.closed.catch(() => {}); // ready and the reader report the same
  const abort = () => {
    try { wt.close(); } catch { /* closed already */ }
  };
  signal.addEventListener('abort', abort, { once: true });
  await wt.ready;
  const stream = await wt.createBidirectionalStream();
  signal.removeEventListener('abort', abort);
  if (signal.aborted) {
    abort();
    throw new Error('opening WebTransport: too late');
  }

  const writer = stream.writable.getWriter();
  const reader = stream.readable.getReader() as ReadableStreamDefaultReader<Uint8Array>;
  const encoder = new TextEncoder();
  const decoder = new TextDecoder();
  let open = true;
  const wire: Wire = {
    carrier: 'webtransport',
    onframe: () => {},
    onclose: () => {},
    send(f) {
      const body = encoder.encode(JSON.stringify(f));
      const head = varint(body.length);
      const both = new Uint8Array(head.length + body.length);
      both.set(head);
      both.set(body, head.length);
      writer.write(both).catch(end);
    },
    close(now = false) {
      // What was written last (leave) is given the time to go out.
      if (now) abort();
      else writer.close().catch(() => {}).finally(() => after(200, abort));
      end();
    },
  };
  function end(): void {
    if (!open) return;
    open = false;
    wire.onclose();
  }
  function take(text: string): void {
    const f = open && parse(text);
    if (f) wire.onframe(f);
  }
  void (async () => {
    let rest: Uint8Array = new Uint8Array(0);
    try {
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        const buf = new Uint8Array(rest.length + value.length);
        buf.set(rest);
        buf.set(value, rest.length);
        rest = split(buf, (bytes) => take(decoder.decode(bytes))).slice();
      }
    } catch {
      // The connection is over, whatever ended it.
    }
    abort();
    end();
  })();
  return wire;
}

function webSocket(e: Endpoint, signal: AbortSignal): Promise<Wire> {
  return new Promise((resolve, reject) => {
    const ws = new WebSocket(e.url);
    const abort = () => ws.close();
    signal.addEventListener('abort', abort, { once: true });
    let open = true;
    const wire: Wire = {
      carrier: 'websocket',
      onframe: () => {},
      onclose: () => {},
      send(f) {
        if (ws.readyState === WebSocket.OPEN) ws.send(JSON.stringify(f));
      },
      close() {
        ws.close();
        end();
      },
    };
    function end(): void {
      if (!open) return;
      open = false;
      wire.onclose();
    }
    ws.onopen = () => {
      signal.removeEventListener('abort', abort);
      resolve(wire);
    };
    ws.onmessage = (ev) => {
      const f = open && typeof ev.data === 'string' && parse(ev.data);
      if (f) wire.onframe(f);
    };
    ws.onclose = () => {
      reject(new Error('opening a WebSocket: refused'));
      end();
    };
  });
}

/** aborted fails when the signal comes. */
export function aborted(signal: AbortSignal): Promise<never> {
  const given = new Promise<never>((_, reject) => {
    const late = () => reject(new Error('connecting: no answer'));
    if (signal.aborted) late();
    else signal.addEventListener('abort', late, { once: true });
  });
  given.catch(() => {});
  return given;
}

/** race opens the best carrier of those offered, until signal ends it. */
export async function race(endpoints: Endpoint[], avoidQuic: boolean, signal: AbortSignal):
Promise<{ wire: Wire; why: Why }> {
  const quic = endpoints.find((e) => e.carrier === 'webtransport');
  const socket = endpoints.find((e) => e.carrier === 'websocket');
  let why: Why = 'slow';
  if (!quic) why = 'unoffered';
  else if (!('WebTransport' in window)) why = 'absent';
  else if (avoidQuic && socket) why = 'avoided';

  const stop = new AbortController();
  const giveUp = () => stop.abort();
  signal.addEventListener('abort', giveUp, { once: true });
  if (signal.aborted) giveUp();
  let winner: Wire | undefined;
  const tries: Promise<Wire>[] = [];
  const started = new Promise<void>((go) => {
    if (why !== 'slow') return go();
    const q = webTransport(quic!, stop.signal);
    q.catch(() => {
      why = 'failed';
      go();
    });
    tries.push(q);
    after(headStart, go);
  });
  if (socket) {
    tries.push(started.then(() => {
      if (winner) throw new Error('QUIC was faster');
      return webSocket(socket, stop.signal);
    }));
  }
  const given = aborted(stop.signal);
  for (const p of tries) p.then((w) => winner && w !== winner && w.close(), () => {});
  try {
    winner = await Promise.race([Promise.any(tries), given]);
  } finally {
    signal.removeEventListener('abort', giveUp);
    stop.abort();
  }
  return { wire: winner, why: winner.carrier === 'webtransport' ? 'quic' : why };
}
