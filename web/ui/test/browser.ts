// SPDX-License-Identifier: GPL-3.0-or-later

// As much of a browser as the wire and the model need.

import './dom';

class FakeStorage {
  private readonly all = new Map<string, string>();
  getItem(key: string): string | null { return this.all.get(key) ?? null; }
  setItem(key: string, value: string): void { this.all.set(key, value); }
  removeItem(key: string): void { this.all.delete(key); }
}

/** A WebSocket that opens when the test says so. */
export class FakeSocket {
  static readonly OPEN = 1;
  static all: FakeSocket[] = [];
  readyState = 0;
  readonly sent: { t: string; [key: string]: unknown }[] = [];
  onopen = () => {};
  onclose = () => {};
  onmessage = (_: { data: string }) => {};

  constructor(readonly url: string) {
    FakeSocket.all.push(this);
  }

  send(text: string): void { this.sent.push(JSON.parse(text)); }

  close(): void {
    if (this.readyState === 3) return;
    this.readyState = 3;
    this.onclose();
  }

  open(): void {
    this.readyState = 1;
    this.onopen();
  }

  hears(f: object): void { this.onmessage({ data: JSON.stringify(f) }); }
}

const nothing = () => {};
Object.defineProperty(globalThis, 'navigator', { value: {}, configurable: true });
Object.assign(document, { addEventListener: nothing, removeEventListener: nothing, visibilityState: 'visible' });
Object.assign(globalThis, {
  localStorage: new FakeStorage(), sessionStorage: new FakeStorage(), WebSocket: FakeSocket, window: globalThis,
  addEventListener: nothing, removeEventListener: nothing,
});
