// SPDX-License-Identifier: GPL-3.0-or-later

// An incoming chat takes the foreground: who, about what, Answer and Decline.
// While one is talking to somebody else, or writes something, it comes quietly
// to the side and leaves the focus where it is.

import { fill, h, icon } from '../base/dom';
import { people, t, tr } from '../base/i18n';
import { cleanLine, nameOf } from '../base/text';
import { avatar, breakable } from './avatar';
import { notify, ring as startRinging } from './ringer';
import type { Canned, Ring } from '../wire/wire';

const quickMost = 6;      // words offered with a decline
const wordsMost = 300;    // characters
const typingFor = 5000;   // ms after a key in which one is writing still

/** inField: what is typed goes into a field. */
const inField = () => document.activeElement?.matches('textarea, input:not([type=checkbox], [type=radio])') ?? false;

export interface Callbacks {
  answer(r: Ring): void;
  decline(r: Ring, words: string): void;
  /** One is in a conversation with somebody just now. */
  talking(): boolean;
  canned(): Canned[];
}

/** Incoming shows one ring at a time; others wait behind it in their order. */
export class Incoming {
  private readonly rings: Ring[] = [];
  private dialog: HTMLDialogElement | undefined;
  private shown = '';
  private readonly behind = h('p', { class: 'ring-behind', 'aria-live': 'polite' });
  private quiet = () => {};
  private typed = -Infinity; // when a key last went into a field

  constructor(private readonly callbacks: Callbacks, signal: AbortSignal) {
    addEventListener('keydown', () => {
      if (inField()) this.typed = performance.now();
    }, { capture: true, signal });
  }

  /** rings reports whether this room rings now. */
  has(room: string): boolean {
    return this.rings.some((r) => r.room === room);
  }

  get(attempt: string): Ring | undefined {
    return this.rings.find((r) => r.attempt === attempt);
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
    if (!r) return;
    const more = this.rings.slice(1).map((x) => nameOf(x.from));
    fill(this.behind, more.length ? tr(more.length === 1 ? 'ring.oneMore' : 'ring.more',
      { n: more.length, names: people(more.slice(0, 3)) }) : '');
  }

  /** declining offers the words that can go with it. */
  private declining(r: Ring): HTMLElement {
    const own = this.callbacks.canned().map((c) => ({ title: cleanLine(c.title) || cleanLine(c.text), text: c.text }));
    const offered = [...own, ...(['ring.quick1', 'ring.quick2', 'ring.quick3'] as const)
      .map((key) => ({ title: t(key), text: t(key) }))];
    const words = h('input', { id: 'decline-words', maxlength: wordsMost, autocomplete: 'off',
      placeholder: t('ring.wordsExample') });
    const fold = h('details', { class: 'decline', ontoggle: () => fold.open && words.focus() },
      h('summary', { class: 'link' }, t('ring.quick'), icon('down')),
      h('form', {
        onsubmit: (ev: Event) => {
          ev.preventDefault();
          this.callbacks.decline(r, words.value.trim());
        },
      },
        h('div', { class: 'field' }, h('label', { for: 'decline-words' }, t('ring.words')), words),
        h('div', { class: 'quick', role: 'group', 'aria-label': t('ring.quick') },
          offered.slice(0, quickMost).map((w) => h('button', {
            type: 'button', class: 'chip', title: w.text, 'aria-label': t('ring.declineWith', { words: w.title }),
            onclick: () => this.callbacks.decline(r, w.text.slice(0, wordsMost)),
          }, w.title))),
        h('button', { class: 'secondary danger', type: 'submit' }, t('ring.declineSend'))));
    return fold;
  }

  private open(r: Ring): void {
    const name = nameOf(r.from);
    // Whoever is writing goes on writing: what was meant for a message answers no ring.
    const writing = !document.hidden && inField() || performance.now() - this.typed < typingFor;
    const talking = r.busy || this.callbacks.talking();
    const gentle = talking || writing;
    const answer = h('button', { class: 'primary large', type: 'button', onclick: () => this.callbacks.answer(r) },
      icon('phone'), h('span', null, t('ring.answer')));
    const decline = h('button', { class: 'secondary danger large', type: 'button',
      onclick: () => this.callbacks.decline(r, '') }, icon('missed'), h('span', null, t('ring.decline')));
    const heading = h('h2', { id: 'ring-title' }, t('ring.heading'));
    const dialog = h('dialog', {
      class: gentle ? 'incoming gentle' : 'incoming', role: 'alertdialog', 'aria-labelledby': 'ring-title',
      'aria-describedby': 'ring-what',
      // Escape must not hide a ring: it is answered, declined, or ends.
      oncancel: (ev: Event) => ev.preventDefault(),
      onkeydown: (ev: KeyboardEvent) => ev.key === 'Escape' && ev.preventDefault(),
    },
      h('div', { class: 'ring-about' },
        heading,
        h('span', { class: 'pulse', 'aria-hidden': 'true' }, avatar(r.from, gentle ? '' : 'huge')),
        h('div', { id: 'ring-what' },
          h('p', { class: 'ring-name' }, h('bdi', null, breakable(name)), ' ',
            !r.proven && h('span', { class: 'tag' }, t('line.byLink'))),
          name !== cleanLine(r.from.addr) && h('p', { class: 'muted ring-addr' },
            h('bdi', null, breakable(cleanLine(r.from.addr)))),
          h('p', { class: 'ring-subject', dir: 'auto' },
            tr('ring.about', { subject: cleanLine(r.subject) || t('mail.noSubject') })),
          r.group && h('p', { class: 'muted' }, tr('ring.group', { group: cleanLine(r.group) }))),
        this.behind),
      h('div', { class: 'ring-answers' }, decline, answer),
      this.declining(r));
    document.body.append(dialog);
    this.dialog = dialog;
    if (gentle) {
      // Not modal, and the focus stays: one is in the middle of something.
      const before = document.activeElement as HTMLElement | null;
      dialog.show();
      before?.focus();
    } else {
      dialog.showModal();
      answer.focus();
    }
    const stopRinging = startRinging(name, talking ? 'gentle' : 'loud');
    const stopNotice = notify({
      title: t('ring.title', { name }), body: cleanLine(r.subject), room: r.room,
      attempt: r.attempt, onclick: () => answer.focus(),
    });
    this.quiet = () => {
      stopRinging();
      stopNotice();
    };
  }
}
