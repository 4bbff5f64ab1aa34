// SPDX-License-Identifier: GPL-3.0-or-later

// Who tried to reach one in vain, and who rings in a conversation that is
// muted: words at the side that can be put away.

import { fill, h, icon } from '../base/dom';
import { moment, t, tr } from '../base/i18n';
import { cleanLine, nameOf } from '../base/text';
import type { Ring } from '../wire/wire';

const most = 20; // shown; older ones are in their rooms

export class Missed {
  readonly el = h('div', { class: 'notices' });
  private rings: Ring[] = [];

  constructor(private readonly answer: (r: Ring) => void) {}

  add(r: Ring): void {
    this.rings = [r, ...this.rings.filter((m) => m.attempt !== r.attempt && m.room !== r.room)].slice(0, most);
    this.draw();
  }

  /** forget those of a room: it is open now. */
  forget(room: string): void {
    this.keep((m) => m.room !== room);
  }

  /** unmuted: a muted ring is over. */
  unmuted(attempt: string): void {
    const r = this.rings.find((m) => m.attempt === attempt && m.muted);
    if (r) this.add({ ...r, muted: false });
  }

  private keep(which: (r: Ring) => boolean): void {
    const before = this.rings.length;
    this.rings = this.rings.filter(which);
    if (this.rings.length !== before) this.draw();
  }

  private draw(): void {
    fill(this.el, this.rings.map((r) => h('div', { class: 'notice' },
      icon(r.muted ? 'mute' : 'bell'),
      h('a', { href: '#' + r.room }, r.muted ? tr('missed.rings', { name: nameOf(r.from) })
        : tr('missed.what', { name: nameOf(r.from), time: moment(new Date(r.at)) }),
        h('span', { class: 'notice-subject', dir: 'auto' }, cleanLine(r.subject))),
      r.muted && h('button', {
        class: 'link', type: 'button', onclick: () => {
          this.keep((m) => m !== r);
          this.answer(r);
        },
      }, t('ring.answer')),
      h('button', { class: 'round', type: 'button', 'aria-label': t('missed.dismiss'),
        onclick: () => this.keep((m) => m !== r) }, icon('close')))));
  }
}
