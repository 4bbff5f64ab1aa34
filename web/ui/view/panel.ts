// SPDX-License-Identifier: GPL-3.0-or-later

// The panel between the head and the log: the ringing, and what came of it.

import { type Child, fill, h, icon } from '../base/dom';
import { t, tr } from '../base/i18n';
import { cleanLine, nameOf } from '../base/text';
import { every } from '../base/time';
import type { Room } from '../model/room';
import { devices, outcome } from '../model/status';
import { avatar } from './avatar';

export type PanelState = 'none' | 'ringing' | 'busy' | 'ended';

export class Panel {
  readonly el = h('section', { class: 'panel', hidden: true, 'aria-label': t('panel.name') });
  private drawn = '';
  private ticking: (() => void) | undefined;

  /** focus: where the focus goes when what had it is gone. */
  constructor(private readonly room: Room, private readonly focus: () => void) {}

  get state(): PanelState {
    const { room } = this;
    if (room.amCallee || !room.callee || room.calleeHere || room.phase !== 'open') return 'none';
    const a = room.call.attempt;
    if (a?.state === 'ringing') return 'ringing';
    if (a?.state === 'busy') return 'busy';
    return room.arriving || room.calling ? 'none' : 'ended';
  }

  draw(): void {
    const { room, state } = this;
    const a = room.call.attempt;
    const wait = Math.max(0, Math.ceil((room.call.waitUntil - Date.now()) / 1000));
    this.tick(state === 'ended' && wait > 0);
    const print = JSON.stringify([state, a, room.status, wait, room.call.met]);
    if (print === this.drawn) return;
    this.drawn = print;
    const held = this.el.contains(document.activeElement);
    this.el.hidden = state === 'none';
    this.el.className = `panel ${state}`;
    const name = nameOf(room.callee);
    if (state === 'ringing' || state === 'busy') {
      const on = devices(a!);
      fill(this.el,
        h('span', { class: state === 'ringing' ? 'pulse' : '', 'aria-hidden': 'true' }, avatar(room.callee, 'medium')),
        h('div', { class: 'panel-words' },
          h('p', null, state === 'busy' ? t('panel.busyWhat')
            : a!.busy ? tr('ringing.busy', { name }) : on ? tr('ringing.on', { devices: on }) : t('ringing.wait'))),
        h('button', { class: 'secondary', type: 'button', onclick: () => room.cancel() },
          t(state === 'busy' ? 'panel.stopWaiting' : 'ringing.cancel')));
    } else if (state === 'ended') this.ended(name, wait);
    if (held) (this.el.querySelector<HTMLElement>('button:not(:disabled)') ?? { focus: this.focus }).focus();
  }

  private ended(name: string, wait: number): void {
    const { room } = this;
    const a = room.call.attempt;
    const tellable = a?.state === 'unanswered' || a?.state === 'alarmed';
    const tick = h('input', { type: 'checkbox', checked: a?.tell === true, onchange: () => room.tell(tick.checked) });
    const left = room.call.met && (!a || a.state === 'answered');
    const words: Child = left ? tr('outcome.left', { name })
      : a ? outcome(a, name, room.status) : tr('panel.away', { name });
    fill(this.el,
      h('div', { class: 'panel-words' },
        words && h('p', null, words),
        a?.state === 'declined' && a.words && h('blockquote', { dir: 'auto' }, cleanLine(a.words)),
        tellable && h('label', { class: 'tick' }, tick, h('span', null, tr('outcome.tell', { name }))),
        room.status?.state === 'available' && a && a.state !== 'declined'
          && h('p', { class: 'strong' }, tr('outcome.back', { name })),
        wait > 0 && h('p', { class: 'problem', role: 'alert' }, t('panel.tooOften', { n: wait }))),
      h('button', { class: 'secondary', type: 'button', disabled: wait > 0, onclick: () => room.ring() }, icon('phone'),
        h('span', null, t(a ? 'outcome.again' : 'panel.call'))));
  }

  /** tick draws once a second while the words count down. */
  private tick(on: boolean): void {
    if (on) this.ticking ??= every(1000, () => this.draw());
    else {
      this.ticking?.();
      this.ticking = undefined;
    }
  }

  close(): void {
    this.tick(false);
  }
}
