// SPDX-License-Identifier: GPL-3.0-or-later

// A device of the desk (docs/protocol.md), over the HTTP carrier: a WebSocket of a page cannot carry a token.

const every = 3000; // milliseconds between pings
const silent = 10000; // after which the connection is lost

export class Device {
  state = 'connecting';
  #abort = new AbortController();

  /** on: { ring(ring), end(attempt, code), out() } */
  constructor(server, token, on) {
    this.url = server + '/desk/ws/stream';
    this.headers = { Authorization: 'Bearer ' + token };
    this.on = on;
    this.#run();
  }

  stop() {
    this.#abort.abort();
  }

  async #run() {
    for (let wait = 1000; !this.#abort.signal.aborted; wait = Math.min(wait * 2, 60000)) {
      try {
        if (await this.#connect()) wait = 500;
      } catch { /* it comes back */ }
      if (this.state === 'out' || this.#abort.signal.aborted) return;
      this.state = 'connecting';
      await new Promise((done) => setTimeout(done, wait));
    }
  }

  /** connect serves one connection until it ends; true: it was in. */
  async #connect() {
    const lost = new AbortController();
    const signal = AbortSignal.any([lost.signal, this.#abort.signal]);
    const headers = this.headers;
    const answer = await fetch(this.url, { headers, credentials: 'omit', cache: 'no-store', signal });
    if (answer.status === 401) {
      this.#signedOut();
      return false;
    }
    if (!answer.ok) return false;
    let name, n = 0, heard = Date.now();
    const send = (frame) => fetch(`${this.url}?c=${encodeURIComponent(name)}&n=${++n}`, { method: 'POST', signal,
      headers: { ...headers, 'Content-Type': 'text/plain' }, credentials: 'omit', body: JSON.stringify(frame) });
    let sending = Promise.resolve();
    const later = (frame) => { sending = sending.then(() => send(frame)).catch(() => lost.abort()); };
    const timer = setInterval(() => {
      // A call of Thunderbird keeps it from putting this page to sleep.
      messenger.runtime.getPlatformInfo();
      if (Date.now() - heard > silent) lost.abort(); else if (name) later({ t: 'ping', n });
    }, every);
    try {
      let text = '', event = '';
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return this.state === 'on';
        heard = Date.now();
        text += value;
        if (text.length > 1 << 20) throw new Error('a line without an end');
        const lines = text.split('\n');
        text = lines.pop();
        for (const line of lines) {
          if (line.startsWith('event: ')) event = line.slice(7).trim();
          if (!line.startsWith('data: ')) continue;
          const data = line.slice(6).trim();
          if (event === 'open') {
            name = data;
            later({ t: 'hello' });
          } else this.#frame(JSON.parse(data));
          event = '';
        }
      }
    } finally {
      clearInterval(timer);
      lost.abort();
    }
  }

  #frame(f) {
    if (f.t === 'welcome') this.state = 'on';
    if (f.t === 'ring') this.on.ring(f.ring);
    if (f.t === 'ring-end') this.on.end(f.attempt_id, f.code);
    if (f.t === 'error' && f.code === 'ticket') this.#signedOut();
  }

  #signedOut() {
    this.state = 'out';
    this.on.out();
  }
}
