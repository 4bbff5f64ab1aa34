// SPDX-License-Identifier: GPL-3.0-or-later

// The view of a room: the log, who is typing, and the box to write in.

import { after } from './clock';
import { avatar, cleanLine, cleanText, linkify, nameOf } from './text';
import { bdi, fill, h, icon, soon } from './dom';
import { clockTime, dayName, fullTime, list, t, tr, type Key } from './i18n';
import { noteWords } from './note';
import type { Pending } from './outbox';
import type { Room } from './room';
import { maxText, type Message } from './wire';

const groupGap = 5 * 60_000; // ms of silence that begin a new group
const nearEnd = 80;          // px from the end that still count as the end

interface Row { key: string; print: string; make(): HTMLElement }

export class Conversation {
  readonly el: HTMLElement;
  private readonly rows = new Map<string, { print: string; el: HTMLElement }>();
  private readonly list = h('ol', { class: 'lines' });
  private readonly log: HTMLElement;
  private readonly bar = h('p', { class: 'bar', 'aria-live': 'polite', hidden: true });
  private readonly typing = h('p', { class: 'typing', 'aria-live': 'off' });
  private readonly newer: HTMLElement;
  private readonly box: HTMLTextAreaElement;
  private readonly hint = h('p', { class: 'hint', id: 'hint' });
  private readonly problem = h('p', { class: 'problem', role: 'alert' });
  private following = true;
  private drafted = '';

  constructor(private readonly room: Room) {
    this.log = h('div', {
      class: 'log', role: 'log', 'aria-label': t('log.name'), 'aria-busy': 'true', tabindex: '0',
      onscroll: () => this.scrolled(),
    }, this.list);
    this.newer = h('button', { class: 'newer', type: 'button', hidden: true, onclick: () => this.toEnd() },
      icon('down'), t('log.newer'));
    this.box = h('textarea', {
      id: 'message', rows: 1, dir: 'auto', 'aria-label': t('compose.name'), 'aria-describedby': 'hint',
      placeholder: t('compose.placeholder'), maxlength: maxText, autocomplete: 'off', enterkeyhint: 'send',
      onkeydown: (ev: KeyboardEvent) => this.key(ev), oninput: () => this.wrote(), onpaste: (ev: ClipboardEvent) => this.pasted(ev),
    });
    this.el = h('div', { class: 'conversation' },
      this.bar,
      h('div', { class: 'log-frame' }, this.log, this.newer),
      this.typing,
      h('form', { class: 'compose', onsubmit: (ev: Event) => { ev.preventDefault(); this.send(); } },
        this.problem, this.hint,
        h('div', { class: 'compose-row' },
          this.box,
          h('button', { class: 'primary send', type: 'submit' }, icon('send'), h('span', null, t('compose.send'))))));
    new ResizeObserver(() => this.following && this.toEnd()).observe(this.log);
    // A replay is not news: a screen reader hears what comes after it.
    after(1000, () => this.log.removeAttribute('aria-busy'));
  }

  focus(): void {
    this.box.focus({ preventScroll: true });
  }

  /** ask changes what the box is for: a message, or one that waits for somebody. */
  ask(hint: (Node | string)[], placeholder: string): void {
    if (this.hint.textContent !== h('p', null, hint).textContent) fill(this.hint, hint);
    this.box.placeholder = placeholder;
  }

  /** update draws what changed; the rest of the log stays untouched. */
  update(): void {
    const room = this.room;
    if (room.id && this.drafted !== room.id) this.draft();
    this.drawBar();
    const who = room.typing.map(nameOf);
    fill(this.typing, who.length ? [
      h('span', { class: 'dots', 'aria-hidden': 'true' }, h('i'), h('i'), h('i')),
      h('span', null, tr(who.length > 1 ? 'typing.many' : 'typing.one', { names: list(who) })),
    ] : []);

    const before = this.list.childElementCount;
    const wanted = this.wanted();
    const keys = new Set(wanted.map((r) => r.key));
    for (const [key, row] of this.rows) {
      if (keys.has(key)) continue;
      row.el.remove();
      this.rows.delete(key);
    }
    let cursor: Element | null = this.list.firstElementChild;
    for (const w of wanted) {
      let row = this.rows.get(w.key);
      if (row?.print !== w.print) {
        const el = w.make();
        if (row) {
          if (cursor === row.el) cursor = el;
          row.el.replaceWith(el);
        }
        this.rows.set(w.key, (row = { print: w.print, el }));
      }
      if (cursor === row.el) cursor = cursor.nextElementSibling;
      else this.list.insertBefore(row.el, cursor);
    }
    if (this.following) this.toEnd();
    else if (this.list.childElementCount > before && room.messages.at(-1)?.from !== room.me) this.newer.hidden = false;
    this.look();
  }

  /** shown draws it at its end, when it has been out of the page. */
  shown(): void {
    this.following = true;
    this.update();
  }

  /** look tells the others that all was seen, when it can have been. */
  look(): void {
    if (document.visibilityState === 'visible' && this.following && this.el.isConnected) this.room.see();
  }

  private drawBar(): void {
    const key: Key | null = this.room.phase === 'lost' ? 'bar.lost'
      : this.room.trouble === 'store' ? 'bar.store'
        : this.room.trouble === 'too-fast' ? 'bar.tooFast' : null;
    const words = key ? t(key) : '';
    if (this.bar.textContent !== words) this.bar.textContent = words;
    this.bar.hidden = !key;
  }

  private wanted(): Row[] {
    const { room } = this;
    const out: Row[] = [];
    let day = '';
    const between = (at: string) => {
      const d = new Date(at);
      const key = d.toDateString();
      if (key === day) return;
      day = key;
      const words = dayName(d);
      out.push({ key: 'day ' + key, print: words, make: () => h('li', { class: 'day' }, h('span', null, words)) });
    };
    const all = room.messages;
    // Seen marks stand under the last of one's own messages that somebody saw.
    const mine = all.filter((m) => m.from === room.me && m.kind === 'text');
    const seen = mine.findLast((m) => room.seers(m.offset).length > 0);
    const waits = room.pending;
    all.forEach((m, i) => {
      between(m.at);
      if (m.kind !== 'text') {
        const who = nameOf(room.people.get(m.from)) + nameOf(room.callee);
        out.push({ key: 'm' + m.offset, print: who + (room.amCallee ? 1 : 0), make: () => (m.kind === 'mail' ? this.mail(m) : this.note(m)) });
        return;
      }
      const head = !joins(all[i - 1], m);
      const next = all[i + 1];
      const tail = next ? !joins(m, next) : !(m.from === room.me && waits.length);
      const by = m === seen ? room.seers(m.offset).map(nameOf) : [];
      const print = [head, tail, room.me === m.from, nameOf(room.people.get(m.from)), ...by].join('|');
      out.push({ key: 'm' + m.offset, print, make: () => this.line(m, head, tail, by) });
    });
    waits.forEach((p, i) => {
      between(p.at);
      const last = all.at(-1);
      const head = i === 0 && !(last && last.kind === 'text' && last.from === room.me);
      const state = room.failed.has(p.id) ? 'failed' : room.phase === 'open' ? 'sending' : 'waiting';
      out.push({ key: 'p' + p.id, print: state + head, make: () => this.pending(p, state, head) });
    });
    if (out.length === 0 && room.phase === 'open') {
      out.push({ key: 'empty', print: '', make: () => h('li', { class: 'note' }, h('p', null, t('log.empty'))) });
    }
    return out;
  }

  private bubble(text: string): HTMLElement {
    const clean = cleanText(text);
    const emoji = /^(\p{Extended_Pictographic}[\u200d\ufe0f\p{Emoji_Modifier}]*){1,3}$/u.test(clean.trim());
    return h('p', { class: emoji ? 'bubble emoji' : 'bubble', dir: 'auto' }, linkify(clean));
  }

  private line(m: Message, head: boolean, tail: boolean, seenBy: string[]): HTMLElement {
    const own = m.from === this.room.me;
    const p = this.room.people.get(m.from);
    const at = new Date(m.at);
    return h('li', { class: `line ${own ? 'own' : ''} ${head ? 'head' : ''} ${tail ? 'tail' : ''}` },
      !own && (tail ? avatar(p, 'small') : h('span', { class: 'avatar-gap' })),
      h('div', { class: 'said' },
        head && (own
          ? h('span', { class: 'sr' }, t('line.you'))
          : h('p', { class: 'who' }, bdi(nameOf(p)), p?.guest && h('span', { class: 'tag' }, t('people.guest')))),
        this.bubble(m.text),
        (tail || seenBy.length > 0) && h('p', { class: 'meta' },
          h('time', { datetime: m.at, title: fullTime(at) }, clockTime(at)),
          seenBy.length > 0 && h('span', { class: 'seen' }, icon('check'),
            h('span', null, this.room.people.size > 2 ? tr('line.seenBy', { names: list(seenBy) }) : t('line.seen'))))));
  }

  private pending(p: Pending, state: 'failed' | 'sending' | 'waiting', head: boolean): HTMLElement {
    return h('li', { class: `line own tail ${state} ${head ? 'head' : ''}` },
      h('div', { class: 'said' },
        this.bubble(p.text),
        h('p', { class: 'meta' },
          t(`line.${state}`),
          state === 'failed' && h('button', { class: 'link', type: 'button', onclick: () => this.room.again(p.id) },
            t('line.again')))));
  }

  private note(m: Message): HTMLElement {
    const { room } = this;
    return h('li', { class: 'note' }, h('p', null,
      noteWords(m, room.me, room.people.values(), room.callee?.id), ' ',
      h('time', { datetime: m.at, title: fullTime(new Date(m.at)) }, clockTime(new Date(m.at)))));
  }

  /** The mail a conversation began with, folded. */
  private mail(m: Message): HTMLElement {
    const from = this.room.people.get(m.from);
    const to = [...this.room.people.values()].filter((p) => p.id !== m.from && !p.guest).map(nameOf);
    const row = (key: Key, value: (Node | string)[]) => [h('dt', null, t(key)), h('dd', null, value)];
    return h('li', { class: 'mail' }, h('details', null,
      h('summary', null, icon('mail'), h('span', { class: 'mail-subject', dir: 'auto' }, cleanLine(m.text) || t('mail.noSubject')),
        h('time', { datetime: m.at }, clockTime(new Date(m.at)))),
      h('dl', null,
        row('mail.from', [bdi(nameOf(from)), from && nameOf(from) !== from.addr ? h('span', { class: 'muted' }, ' ', bdi(cleanLine(from.addr))) : '']),
        to.length > 0 && row('mail.to', [bdi(list(to))]),
        row('mail.date', [fullTime(new Date(m.at))]),
        row('mail.subject', [bdi(cleanLine(m.text))]))));
  }

  private scrolled(): void {
    this.following = this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < nearEnd;
    if (!this.following) return;
    this.newer.hidden = true;
    this.look();
  }

  private toEnd(): void {
    this.following = true;
    this.newer.hidden = true;
    this.log.scrollTop = this.log.scrollHeight;
  }

  private key(ev: KeyboardEvent): void {
    // The Enter that ends the composition of a syllable is the input method's
    // (keyCode 229 where isComposing is already over, as in Safari).
    if (ev.key !== 'Enter' || ev.shiftKey || ev.isComposing || ev.keyCode === 229) return;
    ev.preventDefault();
    this.send();
  }

  private wrote(): void {
    this.problem.textContent = tooLong(this.box.value) ? t('compose.tooLong') : '';
    this.grow();
    this.keep();
    if (this.box.value.trim()) this.room.type();
  }

  /** pasted says so when the box takes only a part of what is pasted. */
  private pasted(ev: ClipboardEvent): void {
    const text = (ev.clipboardData?.getData('text/plain') ?? '').replace(/\r\n?/g, '\n');
    const kept = this.box.value.length - (this.box.selectionEnd - this.box.selectionStart);
    if (kept + text.length <= maxText) return;
    soon(() => { this.problem.textContent = t('compose.cut'); }); // after the input event, which clears it
  }

  private grow(): void {
    this.box.rows = Math.min(6, this.box.value.split('\n').length);
  }

  private keep(): void {
    try {
      if (this.box.value) sessionStorage.setItem('chmail.draft.' + this.room.id, this.box.value);
      else sessionStorage.removeItem('chmail.draft.' + this.room.id);
    } catch {
      // Without storage a draft lives as long as the page.
    }
  }

  private draft(): void {
    this.drafted = this.room.id;
    try {
      this.box.value ||= sessionStorage.getItem('chmail.draft.' + this.room.id) ?? '';
    } catch {
      return;
    }
    this.grow();
  }

  private send(): void {
    const text = this.box.value.trim();
    this.focus();
    if (!text) return;
    if (tooLong(text)) {
      this.problem.textContent = t('compose.tooLong');
      return;
    }
    if (!this.room.say(text)) {
      this.problem.textContent = t('compose.full');
      return;
    }
    this.box.value = '';
    this.grow();
    this.keep();
    this.following = true;
    soon(() => this.update());
  }
}

/** tooLong: the limit counts octets, of which a letter has up to three for each unit of its length. */
function tooLong(text: string): boolean {
  return text.length * 3 > maxText && new TextEncoder().encode(text).length > maxText;
}

/** joins: b belongs to the group of a. */
function joins(a: Message | undefined, b: Message): boolean {
  return !!a && a.kind === 'text' && b.kind === 'text' && a.from === b.from && Date.parse(b.at) - Date.parse(a.at) < groupGap
    && new Date(a.at).toDateString() === new Date(b.at).toDateString();
}
