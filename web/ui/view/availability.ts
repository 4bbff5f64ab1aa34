// SPDX-License-Identifier: GPL-3.0-or-later

// One's own availability, at the top of the desk: what others see, and the
// choice of it.

import { fill, h, icon } from '../base/dom';
import { type Key, moment, span, t } from '../base/i18n';
import { now } from '../base/time';
import type { Prefs } from '../model/prefs';
import { type Item, menu } from './menu';
import type { Phase } from '../wire/connection';
import type { Settings, Status } from '../wire/wire';

type Choice = Settings['availability'];

export class Availability {
  readonly el = h('button', { class: 'avail', type: 'button' });
  private status: Status | undefined;
  private phase: Phase = 'connecting';

  constructor(private readonly prefs: Prefs, private readonly failed: (err: unknown) => void) {
    menu(this.el, t('avail.name'), () => this.items());
    this.draw();
  }

  shows(s: Status): void {
    this.status = s;
    this.draw();
  }

  phaseIs(p: Phase): void {
    this.phase = p;
    this.draw();
  }

  draw(): void {
    const s = this.prefs.now;
    // While this desk is open the relay's word counts; quiet hours begin by themselves.
    const said = this.status?.state;
    const state = said && said !== 'off' && said !== 'closed' ? said : s?.availability ?? 'available';
    const until = this.status?.until ?? (s?.availability === state ? s?.until : undefined);
    const key: Key = this.phase === 'connecting' ? 'avail.connecting' : this.phase !== 'open' ? 'avail.lost'
      : until && state !== 'available' ? `avail.${state}Until` : `avail.${state}`;
    this.el.dataset.mood = this.phase === 'open' && state === 'available' ? 'good' : 'busy';
    fill(this.el, h('span', { class: 'sr' }, t('avail.name'), ': '),
      h('span', { class: 'avail-words' }, t(key, { time: until ? moment(new Date(until)) : '' })), icon('down'));
  }

  private items(): Item[] {
    const s = this.prefs.now;
    const choice = (what: Choice, minutes: number, words: string): Item => ({
      words, checked: s?.availability === what && !!s.until === minutes > 0 && minutes === 0,
      press: () => void this.choose(what, minutes),
    });
    const morning = () => {
      const d = now();
      if (d.getHours() >= 5) d.setDate(d.getDate() + 1);
      d.setHours(8, 0, 0, 0);
      return (d.getTime() - now().getTime()) / 60_000;
    };
    return [
      choice('available', 0, t('avail.available')),
      choice('away', 0, t('avail.away')),
      choice('dnd', 0, t('avail.dnd')),
      { words: t('avail.pause'), more: () => [
        ...[30, 60, 240].map((m) => choice('dnd', m, span(m))), choice('dnd', morning(), t('avail.morning'))] },
      { words: t('avail.more'), press: () => { location.hash = 'settings'; } },
    ];
  }

  private async choose(availability: Choice, minutes: number): Promise<void> {
    const until = minutes ? new Date(now().getTime() + minutes * 60_000).toISOString() : null;
    await this.prefs.save({ availability, until }).catch(this.failed);
  }
}
