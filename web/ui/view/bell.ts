// SPDX-License-Identifier: GPL-3.0-or-later

// Whether this tab can ring: sound, notifications, and push for when the page
// is closed. One press at the start of the day makes it so.

import { type Child, fill, h, icon } from '../base/dom';
import { type Key, t } from '../base/i18n';
import { after } from '../base/time';
import { askToNotify, canSound, mayNotify, messageSound, sample, unlock } from './ringer';
import type { Phase } from '../wire/connection';
import { PushKeeper, pushState, type PushState, subscribe } from '../wire/push';

export class Bell {
  readonly el = h('div', { class: 'bell' });
  private push: PushState = 'absent';
  private phase: Phase = 'connecting';
  private open = false;
  private readonly keeper = new PushKeeper();

  /** pushing: whether the login wants push at all. */
  constructor(private readonly pushing: () => boolean) {
    void pushState().then((state) => {
      this.push = state;
      this.draw();
    });
    this.draw();
  }

  phaseIs(p: Phase): void {
    this.phase = p;
    this.draw();
  }

  /** pressed: any press lets the tab sound. */
  pressed(): void {
    // Drawn a little later: what is being pressed must still be there when the press ends.
    if (!canSound()) void unlock().then(() => after(300, () => this.draw()));
  }

  /** keep subscribes this browser where that is wanted and allowed. */
  async keep(): Promise<void> {
    this.push = await this.keeper.keep(this.pushing() && mayNotify() === 'granted');
    this.draw();
  }

  private async allow(): Promise<void> {
    await unlock();
    if (canSound()) messageSound();
    this.draw();
    await askToNotify();
    this.draw();
    if (mayNotify() === 'granted' && this.pushing() && this.push === 'off') this.push = await subscribe();
    this.draw();
  }

  draw(): void {
    const may = mayNotify();
    const sound = canSound();
    const asks = may === 'default';
    const state = [sound, may, this.phase, this.push, this.pushing(), this.open].join(' ');
    if (this.el.dataset.state === state) return;
    const held = this.el.contains(document.activeElement);
    this.el.dataset.state = state;
    this.el.classList.toggle('off', !sound);
    const words: Key = !sound ? 'bell.silent' : this.phase !== 'open' ? 'bell.notYet'
      : asks ? 'bell.soundOnly' : 'bell.ready';
    const line = (key: Key, on: boolean, why: Child) => h('li', { class: on ? 'on' : '' }, icon(on ? 'check' : 'close'),
      h('span', null, h('span', { class: 'strong' }, t(key)), ' ', why));
    const details: HTMLDetailsElement = h('details', { open: this.open, ontoggle: () => { this.open = details.open; } },
      h('summary', null, t('bell.how')),
      h('ul', null,
        line('bell.sound', sound, t(sound ? 'bell.isOn' : 'bell.locked')),
        line('bell.notifications', may === 'granted',
          t(may === 'granted' ? 'bell.isOn' : asks ? 'bell.notAsked' : 'bell.refused')),
        line('bell.push', this.push === 'on' && this.pushing(),
          t(!this.pushing() ? 'bell.pushUnwanted' : this.push === 'on' ? 'bell.isOn'
            : this.push === 'off' ? 'bell.pushOff' : 'bell.pushAbsent')),
        h('li', { class: 'bell-do' },
          sound && h('button', { class: 'link', type: 'button', onclick: () => sample() }, t('bell.test')),
          sound && (asks || may === 'granted' && this.push === 'off' && this.pushing())
          && h('button', { class: 'link', type: 'button', onclick: () => void this.allow() }, t('bell.allowAll')))));
    fill(this.el,
      h('div', { class: 'bell-line' }, icon('bell'), h('p', null, t(words)),
        (!sound || asks) && h('button', { class: 'secondary', type: 'button', onclick: () => void this.allow() },
          t(sound ? 'bell.notify' : 'bell.turnOn'))),
      details);
    if (held) this.el.querySelector<HTMLElement>('button, summary')?.focus();
  }
}
