// SPDX-License-Identifier: GPL-3.0-or-later

// Carriers bring frames to the relay and back. WebTransport (QUIC to the
// granted port) is tried first, then WebSocket, then HTTP, each after a head
// start of the one before it or at once when that fails; the losers are closed.

import { after } from '../base/time';
import { maxFrame, parse, split, varint } from './parse';
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
export type Why = 'quic' | 'absent' | 'unoffered' | 'failed' | 'slow' | 'avoided' | 'blocked';

export async function webTransport(e: Endpoint, signal: AbortSignal): Promise<Wire> {
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

/**
 * httpStream brings frames down as server-sent events and up by POSTs, one at a time and in their order: for networks
 * that let nothing else through.
 */
async function httpStream(e: Endpoint, signal: AbortSignal): Promise<Wire> {
  const stop = new AbortController();
  const abort = () => stop.abort();
  signal.addEventListener('abort', abort, { once: true });
  const res = await fetch(e.url, { headers: { Accept: 'text/event-stream' }, cache: 'no-store', signal: stop.signal });
  if (!res.ok || !res.body) {
    abort();
    throw new Error(`opening a stream: ${res.status}`);
  }
  let open = true;
  let id = '';
  let sent = 0;
  let posting = false;
  const queue: string[] = [];

  async function post(): Promise<void> {
    if (posting || !queue.length) return;
    posting = true;
    const body = queue.splice(0).join('\n');
    const to = new URL(e.url);
    to.searchParams.set('c', id);
    to.searchParams.set('n', String(++sent));
    const res = await fetch(to, { method: 'POST', body, cache: 'no-store',
      headers: { 'Content-Type': 'text/plain' }, keepalive: body.length < 16_000 }).catch(() => null);
    posting = false;
    if (!res?.ok) return wire.close(true);
    if (open || queue.length) await post();
  }

  const wire: Wire = {
    carrier: 'http',
    onframe: () => {},
    onclose: () => {},
    send(f) {
      if (!open) return;
      queue.push(JSON.stringify(f));
      void post();
    },
    close(now = false) {
      end();
      // What was written last (leave) is given the time to go out.
      if (now) abort();
      else after(posting ? 2000 : 200, abort);
    },
  };
  function end(): void {
    if (!open) return;
    open = false;
    wire.onclose();
  }

  const reader = res.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  /** next reads to the end of an event; undefined: the connection is over. */
  async function next(): Promise<string | undefined> {
    let at = rest.indexOf('\n\n');
    while (at < 0) {
      const { value, done } = await reader.read();
      if (done) return undefined;
      rest += value;
      if (rest.length > 2 * maxFrame) throw new Error('reading an event: it is too long');
      at = rest.indexOf('\n\n');
    }
    const event = rest.slice(0, at);
    rest = rest.slice(at + 2);
    return event;
  }

  // A proxy that holds an answer back until it is whole lets no event through: the try ends by its time.
  while (!id) {
    const event = await next();
    if (event === undefined) throw new Error('opening a stream: it ended');
    if (event.startsWith('event: open\n')) id = event.slice(event.indexOf('data: ') + 6);
  }
  signal.removeEventListener('abort', abort);
  if (signal.aborted) {
    abort();
    throw new Error('opening a stream: too late');
  }
  void (async () => {
    try {
      for (let event = await next(); event !== undefined; event = await next()) {
        const f = open && event.startsWith('data: ') && parse(event.slice(6));
        if (f) wire.onframe(f);
      }
    } catch {
      // The connection is over, whatever ended it.
    }
    abort();
    end();
  })();
  return wire;
}

const carriers: Record<string, (e: Endpoint, signal: AbortSignal) => Promise<Wire>> = {
  webtransport: webTransport, websocket: webSocket, http: httpStream,
};

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

/**
 * race opens the best carrier of those offered, until signal ends it. Each has a head start before the next one. Those
 * to be avoided, which opened and then carried nothing, come last.
 */
export async function race(endpoints: Endpoint[], avoid: ReadonlySet<string>, signal: AbortSignal):
Promise<{ wire: Wire; why: Why }> {
  const order = ['webtransport', 'websocket', 'http'].sort((a, b) => Number(avoid.has(a)) - Number(avoid.has(b)));
  const offered = order.flatMap((carrier) => endpoints.find((e) => e.carrier === carrier) ?? [])
    .filter((e) => e.carrier !== 'webtransport' || 'WebTransport' in window);
  let why: Why = 'slow';
  if (!endpoints.some((e) => e.carrier === 'webtransport')) why = 'unoffered';
  else if (!('WebTransport' in window)) why = 'absent';
  else if (offered[0]?.carrier !== 'webtransport') why = 'avoided';

  const stop = new AbortController();
  const giveUp = () => stop.abort();
  signal.addEventListener('abort', giveUp, { once: true });
  if (signal.aborted) giveUp();
  let winner: Wire | undefined;
  const tries: Promise<Wire>[] = [];
  let start = Promise.resolve();
  for (const e of offered) {
    const one = start.then(() => {
      if (winner) throw new Error('another carrier was faster');
      return carriers[e.carrier]!(e, stop.signal);
    });
    tries.push(one);
    start = start.then(() => new Promise<void>((go) => {
      one.catch(() => {
        if (e.carrier === 'webtransport') why = 'failed';
        go();
      });
      after(headStart, go);
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
