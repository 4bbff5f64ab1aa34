// SPDX-License-Identifier: GPL-3.0-or-later

// The browsers that are notified, among the settings: this one, which can be
// tried, and the list of all.

import { type Child, fill, h } from '../base/dom';
import { explain } from '../base/errors';
import { fullTime, type Key, moment, t } from '../base/i18n';
import { cleanLine } from '../base/text';
import { askToNotify, mayNotify } from './ringer';
import { del, post } from '../wire/api';
import { browserID, pushState, removeHere, subscribe } from '../wire/push';
import type { Browser } from '../wire/wire';

export class BrowsersPart {
  private readonly here = h('div', { class: 'browser-here' });
  private readonly list = h('div');
  private readonly told = h('p', { class: 'fine', role: 'status' });
  private readonly problem = h('p', { class: 'problem', role: 'alert' });
  readonly el = h('div', { class: 'browsers' }, this.here, this.told, this.list, this.problem);
  private all: Browser[] = [];
  private drawn = '';

  /** changed: the list is another one now. */
  constructor(private readonly changed: () => void) {}

  /** show shows the browsers as the server has them, and how this one stands. */
  async show(all: Browser[]): Promise<void> {
    this.all = all;
    const [state, mine] = await Promise.all([pushState(), browserID().catch(() => '')]);
    const print = JSON.stringify([this.all, state, mine, mayNotify()]);
    if (print === this.drawn) return;
    this.drawn = print;
    const known = this.all.find((b) => b.id === mine);
    fill(this.here, h('p', null, h('span', { class: 'strong' }, t('settings.here')), ' ',
      known ? this.shownAt(known, 'settings.hereShown', 'settings.hereNever')
        : t(state === 'absent' || mayNotify() === 'denied' ? 'settings.hereAbsent' : 'settings.hereOff')),
    known ? this.button('settings.ringMe', () => post('/desk/push/test', { id: mine }), 'settings.ringMeSent')
      : state !== 'absent' && mayNotify() !== 'denied' && this.button('settings.hereOn', () => this.turnOn()));
    fill(this.list, this.all.length > 0 && [
      h('h3', null, t('settings.browsers')),
      h('ul', { class: 'everyone' }, this.all.map((b) => this.row(b, b.id === mine))),
      h('p', { class: 'fine' }, t('settings.browsersWhat'))]);
  }

  private row(b: Browser, mine: boolean): HTMLElement {
    const name = cleanLine(b.name) || t('settings.browser');
    const added = new Date(b.added);
    return h('li', null,
      h('span', { class: 'everyone-who' }, h('bdi', null, name),
        mine && h('span', { class: 'tag' }, t('settings.browserHere')),
        h('span', { class: 'muted' },
          h('span', { title: fullTime(added) }, t('settings.browserAdded', { time: moment(added) })), ' · ',
          this.shownAt(b, 'settings.browserShown', 'settings.browserNever'))),
      h('button', { class: 'link', type: 'button', 'aria-label': t('settings.browserRemoveWhich', { name }),
        onclick: () => void this.act(() => (mine ? removeHere() : del('/desk/push', { id: b.id }))) },
      t('settings.browserRemove')));
  }

  private shownAt(b: Browser, shown: Key, never: Key): Child {
    const at = b.shown ? new Date(b.shown) : undefined;
    return at ? h('span', { title: fullTime(at) }, t(shown, { time: moment(at) })) : t(never);
  }

  private button(words: Key, act: () => Promise<unknown>, done?: Key): HTMLElement {
    const button = h('button', { class: 'secondary', type: 'button', onclick: () => {
      button.disabled = true;
      void this.act(act, done).then(() => { button.disabled = false; });
    } }, t(words));
    return button;
  }

  private async turnOn(): Promise<void> {
    await askToNotify();
    if (mayNotify() === 'granted') await subscribe();
  }

  private async act(act: () => Promise<unknown>, done?: Key): Promise<void> {
    this.problem.textContent = this.told.textContent = '';
    try {
      await act();
      if (done) this.told.textContent = t(done);
    } catch (err) {
      this.problem.textContent = explain(err);
    }
    this.changed();
  }
}
