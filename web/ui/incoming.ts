// SPDX-License-Identifier: GPL-3.0-or-later

// An incoming chat takes the foreground: who, about what, Answer and Decline.

import { fill, h, icon } from './dom';
import { t, tr } from './i18n';
import { notify, ring as startRinging } from './ringer';
import { avatar, breakable, cleanLine, nameOf } from './text';
import type { Ring } from './wire';

export interface Callbacks {
  answer(r: Ring): void;
  decline(r: Ring, words: string): void;
}

/** Incoming shows one ring at a time; others wait behind it in their order. */
export class Incoming {
  private readonly rings: Ring[] = [];
  private dialog: HTMLDialogElement | undefined;
  private shown = '';
  private count = h('p', { class: 'muted', 'aria-live': 'off' });
  private quiet = () => {};

  constructor(private readonly callbacks: Callbacks) {}

  /** rings reports whether this room rings now. */
  has(room: string): boolean {
    return this.rings.some((r) => r.room === room);
  }

  show(r: Ring): void {
    const i = this.rings.findIndex((x) => x.attempt === r.attempt);
    if (i >= 0) this.rings[i] = r;
    else this.rings.push(r);
    this.draw();
  }

  /** end takes a ring away and returns it, when it was there. */
  end(attempt: string): Ring | undefined {
    const i = this.rings.findIndex((x) => x.attempt === attempt);
    if (i < 0) return undefined;
    const [r] = this.rings.splice(i, 1);
    this.draw();
    return r;
  }

  clear(): void {
    this.rings.length = 0;
    this.draw();
  }

  private draw(): void {
    const r = this.rings[0];
    if (r?.attempt !== this.shown) {
      this.quiet();
      this.quiet = () => {};
      this.dialog?.close();
      this.dialog?.remove();
      this.dialog = undefined;
      this.shown = r?.attempt ?? '';
      if (r) this.open(r);
    }
    if (r) fill(this.count, r.ring > 0 ? t('ring.count', { n: r.ring, of: r.of }) : '');
  }

  private open(r: Ring): void {
    const name = nameOf(r.from);
    const words = h('input', { id: 'decline-words', maxlength: 300, autocomplete: 'off', placeholder: t('ring.wordsExample') });
    const answer = h('button', { class: 'primary large', type: 'button', onclick: () => this.callbacks.answer(r) },
      icon('phone'), h('span', null, t('ring.answer')));
    const heading = h('h2', { id: 'ring-title', tabindex: '-1' }, t('ring.heading'));
    const dialog = h('dialog', {
      class: 'incoming', role: 'alertdialog', 'aria-labelledby': 'ring-title', 'aria-describedby': 'ring-what',
      // Escape must not hide a ring: it is answered, declined, or ends.
      oncancel: (ev: Event) => ev.preventDefault(),
      onkeydown: (ev: KeyboardEvent) => ev.key === 'Escape' && ev.preventDefault(),
    },
      h('div', { class: 'ring-about' },
        heading,
        h('span', { class: 'pulse', 'aria-hidden': 'true' }, avatar(r.from, 'huge')),
        h('div', { id: 'ring-what' },
          h('p', { class: 'ring-name' }, h('bdi', null, breakable(name))),
          name !== cleanLine(r.from.addr) && h('p', { class: 'muted' }, h('bdi', null, breakable(cleanLine(r.from.addr)))),
          h('p', { class: 'ring-subject', dir: 'auto' }, tr('ring.about', { subject: cleanLine(r.subject) || t('mail.noSubject') })),
          this.count)),
      answer,
      h('form', {
        class: 'decline', onsubmit: (ev: Event) => {
          ev.preventDefault();
          this.callbacks.decline(r, words.value.trim());
        },
      }, h('div', { class: 'field' }, h('label', { for: 'decline-words' }, t('ring.words')), words),
        h('button', { class: 'secondary danger', type: 'submit' }, t('ring.decline'))));
    // Whoever is typing must not answer by the Enter that was meant for a message.
    const typing = document.activeElement?.matches('textarea, input') ?? false;
    document.body.append(dialog);
    this.dialog = dialog;
    dialog.showModal();
    (typing ? heading : answer).focus();
    const stopRinging = startRinging(name);
    const stopNotice = notify(t('ring.title', { name }), cleanLine(r.subject), 'ring-' + r.attempt, () => answer.focus());
    this.quiet = () => {
      stopRinging();
      stopNotice();
    };
  }
}
