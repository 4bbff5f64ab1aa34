// SPDX-License-Identifier: GPL-3.0-or-later

// Who rings just now in a conversation that is muted: words at the side.

import { fill, h, icon } from '../base/dom';
import { t, tr } from '../base/i18n';
import { cleanLine, nameOf } from '../base/text';
import type { Ring } from '../wire/wire';

const most = 3; // shown

export class SilentRings {
  readonly el = h('div', { class: 'notices' });
  private rings: Ring[] = [];

  constructor(private readonly answer: (r: Ring) => void) {}

  add(r: Ring): void {
    if (!this.rings.some((x) => x.attempt === r.attempt)) this.show([r, ...this.rings]);
  }

  end(attempt: string): void {
    if (this.rings.some((x) => x.attempt === attempt)) this.show(this.rings.filter((x) => x.attempt !== attempt));
  }

  private show(rings: Ring[]): void {
    this.rings = rings;
    fill(this.el, rings.slice(0, most).map((r) => h('div', { class: 'notice' },
      icon('mute'),
      h('a', { href: '#' + r.room }, tr('missed.rings', { name: nameOf(r.from) }),
        h('span', { class: 'notice-subject', dir: 'auto' }, cleanLine(r.subject))),
      h('button', {
        class: 'link', type: 'button', onclick: () => {
          this.end(r.attempt);
          this.answer(r);
        },
      }, t('ring.answer')))));
  }
}
