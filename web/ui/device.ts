// SPDX-License-Identifier: GPL-3.0-or-later

// The desk as a device: while this connection lives, its login can be rung here.

import { Connection, type Phase } from './connection';
import type { Ring } from './wire';

export interface DeviceOwner {
  ring(r: Ring): void;
  ended(attempt: string, code: string): void;
  changed(): void;
  phase(p: Phase): void;
}

export class Device {
  private away = false;
  private readonly connection: Connection;

  constructor(owner: DeviceOwner) {
    const url = location.origin.replace(/^http/, 'ws') + '/desk/ws';
    this.connection = new Connection({
      enter: async () => ({ endpoints: [{ carrier: 'websocket', url }], hello: { t: 'hello' } }),
      frame: (f) => {
        if (f.t === 'welcome') {
          if (this.away) this.connection.send({ t: 'away', on: true });
          owner.changed();
        } else if (f.t === 'ring' && f.ring) owner.ring(f.ring);
        else if (f.t === 'ring-end' && f.attempt_id) owner.ended(f.attempt_id, f.code ?? '');
        else if (f.t === 'room') owner.changed();
      },
      phase: (p) => owner.phase(p),
      over: () => owner.phase('lost'),
    });
  }

  setAway(on: boolean): void {
    this.away = on;
    this.connection.send({ t: 'away', on });
  }

  answer(attempt: string): void {
    this.connection.send({ t: 'answer', attempt_id: attempt });
  }

  decline(attempt: string, words: string): void {
    this.connection.send(words ? { t: 'decline', attempt_id: attempt, text: words } : { t: 'decline', attempt_id: attempt });
  }

  close(): void {
    this.connection.stop();
  }
}
