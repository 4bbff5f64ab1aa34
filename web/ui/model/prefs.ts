// SPDX-License-Identifier: GPL-3.0-or-later

// The settings of the login that is signed in, as the server keeps them.

import { sessionOver } from '../base/errors';
import { type Key, zone } from '../base/i18n';
import { get, put } from '../wire/api';
import type { Canned, Settings } from '../wire/wire';

export class Prefs {
  /** undefined until they have been read. */
  now: Settings | undefined;
  private reading: Promise<void> | undefined;
  private saving = Promise.resolve();

  constructor(private readonly changed: () => void, private readonly over: (why: Key) => void) {}

  /** canned are one's own saved replies and those of one's groups. */
  get canned(): Canned[] {
    return [...this.now?.canned ?? [], ...Object.values(this.now?.group_canned ?? {}).flat()];
  }

  /** read gets them; when that fails the desk goes on with what it has. */
  read(): Promise<void> {
    return this.reading ??= (async () => {
      try {
        this.take(await get<Settings>('/desk/settings'));
      } catch (err) {
        const why = sessionOver(err);
        if (why) this.over(why);
      }
      this.reading = undefined;
    })();
  }

  /** save changes some of them; an ApiError says what was wrong. */
  save(some: Partial<Settings>): Promise<void> {
    const save = async () => {
      // Quiet hours and "until" mean nothing without a zone.
      const all = this.now?.zone ? some : { zone: zone(), ...some };
      this.take(await put<Settings>('/desk/settings', all));
    };
    // One after the other, so that the last answer is the newest.
    const saved = this.saving.then(save, save);
    this.saving = saved.catch(() => {});
    return saved;
  }

  private take(s: Settings): void {
    this.now = s;
    this.changed();
  }
}
