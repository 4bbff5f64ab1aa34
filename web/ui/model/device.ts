// SPDX-License-Identifier: GPL-3.0-or-later

// The desk as a device: while this connection lives, its login can be rung here.

import { heardAt } from '../base/time';
import { atIt, watchActivity } from '../base/activity';
import { Connection, streamOf, type Phase } from '../wire/connection';
import type { Ring, Status, Summary } from '../wire/wire';

export interface DeviceOwner {
  ring(r: Ring): void;
  /** name: who took it, when it was a member of a group. */
  ended(attempt: string, code: string, name: string): void;
  /** The list may have changed meanwhile: read it. */
  welcomed(): void;
  /** A room changed; without a summary it is none of one's own any more. */
  changed(room: string, summary: Summary | undefined): void;
  /** Settings, blocks or mutes changed, here or elsewhere. */
  settings(): void;
  /** One's own availability as others see it. */
  status(s: Status): void;
  phase(p: Phase): void;
}

export class Device {
  private readonly connection: Connection;
  private readonly unwatch: () => void;

  /** path is where this site takes devices; the desk's also goes over HTTP alone. */
  constructor(login: string, owner: DeviceOwner, path = '/desk/ws') {
    let away = false; // as the relay knows it
    const tell = () => {
      if (away === atIt() && this.connection.send({ t: 'away', on: !atIt() })) away = !away;
    };
    this.unwatch = watchActivity(tell);
    const url = `${location.origin.replace(/^http/, 'ws')}${path}?login=${encodeURIComponent(login)}`;
    const ways = [{ carrier: 'websocket' as const, url }, { carrier: 'http' as const, url: streamOf(url) }];
    this.connection = new Connection({
      enter: async () => ({ endpoints: path === '/desk/ws' ? ways : ways.slice(0, 1) }),
      hello: () => ({ t: 'hello' }),
      frame: (f) => {
        switch (f.t) {
          case 'welcome':
            heardAt(f.at);
            away = false;
            tell();
            if (f.status) owner.status(f.status);
            owner.welcomed();
            owner.settings();
            break;
          case 'ring': return owner.ring(f.ring);
          case 'ring-end': return owner.ended(f.attempt_id, f.code, f.name ?? '');
          case 'room': return owner.changed(f.room ?? '', f.summary);
          case 'settings': return owner.settings();
          case 'status': return owner.status(f.status);
        }
      },
      phase: (p) => owner.phase(p),
      over: () => owner.phase('lost'),
    });
  }

  answer(attempt: string): void {
    this.connection.send({ t: 'answer', attempt_id: attempt });
  }

  decline(attempt: string, words: string): void {
    this.connection.send(words ? { t: 'decline', attempt_id: attempt, text: words }
      : { t: 'decline', attempt_id: attempt });
  }

  close(): void {
    this.unwatch();
    this.connection.stop();
  }
}
