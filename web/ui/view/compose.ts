// SPDX-License-Identifier: GPL-3.0-or-later

// The box to write in: messages, files and pictures, and one's own words again.

import { type Child, fill, h, icon } from '../base/dom';
import { asJPEG, isHEIC } from '../base/heic';
import { type Key, size, t } from '../base/i18n';
import { cleanLine, fileName } from '../base/text';
import { now, soon } from '../base/time';
import { draftPrefix } from '../model/outbox';
import type { Room } from '../model/room';
import { menu } from './menu';
import { quoteWords } from './messageview';
import { type Canned, maxText, type Message } from '../wire/wire';

export interface ComposeOptions {
  /** Something was sent: the end of the log is of interest. */
  sent(): void;
  /** Replies to choose from, of a desk. */
  canned?: () => Canned[];
}

export class Compose {
  readonly el: HTMLElement;
  private readonly box: HTMLTextAreaElement;
  private readonly hint = h('p', { class: 'hint', id: 'hint' });
  private readonly problem = h('p', { class: 'problem', role: 'alert' });
  private readonly editing = h('div', { class: 'editing', hidden: true });
  private readonly attach: HTMLElement;
  private readonly picker: HTMLInputElement;
  private readonly canned: HTMLElement | undefined;
  private readonly held = h('ul', { class: 'held', hidden: true });
  private waiting: File[] = []; // pasted or dropped: for Send
  private drafted = '';
  private edited: Message | undefined;
  private answered: Message | undefined;

  constructor(private readonly room: Room, private readonly options: ComposeOptions) {
    this.box = h('textarea', {
      id: 'message', rows: 1, dir: 'auto', 'aria-label': t('compose.name'), 'aria-describedby': 'hint',
      placeholder: t('compose.placeholder'), maxlength: maxText, autocomplete: 'off',
      enterkeyhint: touch.matches ? 'enter' : 'send',
      onkeydown: (ev: KeyboardEvent) => this.key(ev), oninput: () => this.wrote(),
      onpaste: (ev: ClipboardEvent) => this.pasted(ev),
    });
    this.picker = h('input', {
      type: 'file', multiple: true, hidden: true, tabindex: '-1', 'aria-hidden': 'true',
      onchange: () => {
        this.files([...(this.picker.files ?? [])]);
        this.picker.value = '';
      },
    });
    this.attach = h('button', {
      class: 'round', type: 'button', hidden: true, 'aria-label': t('compose.attach'), title: t('compose.attach'),
      onclick: () => this.picker.click(),
    }, icon('attach'));
    this.canned = options.canned && menu(h('button', {
      class: 'round', type: 'button', hidden: true, 'aria-label': t('compose.canned'), title: t('compose.canned'),
    }, icon('canned')), t('compose.canned'), () => options.canned!().map((c) => ({
      words: cleanLine(c.title) || cleanLine(c.text), press: () => this.insert(c.text),
    })));
    this.el = h('form', { class: 'compose', onsubmit: (ev: Event) => { ev.preventDefault(); this.send(); } },
      this.problem, this.hint, this.editing, this.held,
      h('div', { class: 'compose-row' },
        this.attach, this.picker, this.canned, this.box,
        h('button', { class: 'primary send', type: 'submit' }, icon('send'), h('span', null, t('compose.send')))));
  }

  focus(): void {
    if (parent !== window && !document.hasFocus()) return; // a frame takes no focus from its page
    this.box.focus({ preventScroll: true });
  }

  /** ask changes what the box is for: a message, or one that waits for somebody. */
  ask(hint: (Node | string)[], placeholder: string): void {
    if (this.hint.textContent !== h('p', null, hint).textContent) fill(this.hint, hint);
    this.box.placeholder = placeholder;
  }

  update(): void {
    const { room } = this;
    if (room.id && this.drafted !== room.id) this.draft();
    this.attach.hidden = room.maxFile === 0;
    if (this.canned) this.canned.hidden = !this.options.canned!().length;
    if (room.refused) {
      this.say(room.refused === 'too-late' ? 'compose.tooLate' : 'compose.refused');
      room.refused = '';
    }
    const m = this.edited && room.messages.find((x) => x.offset === this.edited!.offset);
    if (this.edited && (!m || m.deleted)) this.stopEditing();
  }

  /** edit takes one's own message into the box again. */
  edit(m: Message): void {
    this.answered = undefined;
    this.keep(); // what was being written comes back afterwards
    this.edited = m;
    this.editing.hidden = false;
    fill(this.editing, icon('edit'), h('span', null, t('compose.editing')),
      h('button', { class: 'link', type: 'button', onclick: () => this.stopEditing() }, t('ask.no')));
    this.box.value = m.text;
    this.grow();
    this.focus();
    this.box.setSelectionRange(m.text.length, m.text.length);
  }

  /** written: there is something that Send would send. */
  get written(): boolean {
    return this.box.value.trim() !== '' || this.waiting.length > 0;
  }

  /** hold keeps files until Send. */
  hold(files: File[]): void {
    this.waiting = [...this.waiting, ...files];
    this.held.hidden = !this.waiting.length;
    fill(this.held, this.waiting.map((f) => h('li', null, icon('file'), h('bdi', null, fileName(f.name)),
      h('button', {
        class: 'round', type: 'button', 'aria-label': t('compose.takeOut', { name: fileName(f.name) }),
        onclick: () => {
          this.waiting = this.waiting.filter((x) => x !== f);
          this.hold([]);
          this.focus();
        },
      }, icon('close')))));
    if (files.length) this.focus();
  }

  /** reply answers a message with what is written next. */
  reply(m: Message): void {
    if (this.edited) this.stopEditing();
    this.answered = m;
    this.editing.hidden = false;
    fill(this.editing, icon('back'), h('span', { class: 'quote-what', dir: 'auto' }, quoteWords(this.room, m)),
      h('button', { class: 'link', type: 'button', onclick: () => this.stopReplying() }, t('ask.no')));
    this.focus();
  }

  private stopReplying(): void {
    this.answered = undefined;
    this.editing.hidden = true;
    this.focus();
  }

  /** files sends them, as far as they may be sent. */
  files(files: File[]): void {
    if (!files.length) return;
    this.problem.textContent = '';
    for (const f of files) {
      if (this.room.maxFile === 0) this.say('file.none');
      else if (f.size === 0) this.say('file.failed.empty');
      else if (isHEIC(f)) void this.photo(f);
      else this.upload(f);
    }
  }

  private upload(f: File): void {
    if (f.size > this.room.maxFile) this.say('file.tooLarge', { size: size(this.room.maxFile) });
    else if (!this.room.uploads.add(f, now().toISOString())) this.say('file.tooMany');
    else this.options.sent();
  }

  /** photo sends one of an iPhone as others can see it, or says why they get a file. */
  private async photo(f: File): Promise<void> {
    const jpeg = await asJPEG(f);
    if (!jpeg) this.say('file.heic');
    this.upload(jpeg ?? f);
  }

  private say(key: Key, values: Record<string, string> = {}, ...more: Child[]): void {
    fill(this.problem, t(key, values), more);
  }

  private key(ev: KeyboardEvent): void {
    // The Enter that ends the composition of a syllable is the input method's
    // (keyCode 229 where isComposing is already over, as in Safari).
    if (ev.isComposing || ev.keyCode === 229) return;
    if (ev.key === 'Escape' && this.edited) this.stopEditing();
    else if (ev.key === 'Escape' && this.answered) this.stopReplying();
    else if (ev.key === 'ArrowUp' && !this.box.value && !this.edited) {
      const m = this.room.messages.findLast((x) => this.room.mayEdit(x));
      if (!m) return;
      this.edit(m);
    } else if (ev.key === 'Enter' && !ev.shiftKey && !touch.matches) this.send();
    else return;
    ev.preventDefault();
    ev.stopPropagation();
  }

  private wrote(): void {
    this.problem.textContent = tooLong(this.box.value) ? t('compose.tooLong') : '';
    this.grow();
    this.keep();
    if (this.box.value.trim()) this.room.type();
  }

  /** pasted sends files, and offers to send as a file what is too long for a message. */
  private pasted(ev: ClipboardEvent): void {
    const files = [...(ev.clipboardData?.files ?? [])];
    // Cells of a spreadsheet come as text and as a picture of them: the text is what is meant.
    if (files.length && !ev.clipboardData?.types.includes('text/plain')) {
      ev.preventDefault();
      this.hold(files);
      return;
    }
    const text = (ev.clipboardData?.getData('text/plain') ?? '').replace(/\r\n?/g, '\n');
    const kept = this.box.value.length - (this.box.selectionEnd - this.box.selectionStart);
    if (kept + text.length <= maxText) return;
    if (this.room.maxFile === 0) {
      soon(() => this.say('compose.cut')); // after the input event, which clears it
      return;
    }
    ev.preventDefault();
    this.say('compose.pasted', {}, h('button', {
      class: 'link', type: 'button', onclick: () => {
        this.problem.textContent = '';
        this.files([new File([text], t('compose.pastedName'), { type: 'text/plain' })]);
        this.focus();
      },
    }, t('compose.asFile')));
  }

  private insert(text: string): void {
    this.focus();
    this.box.setRangeText(text, this.box.selectionStart, this.box.selectionEnd, 'end');
    this.wrote();
  }

  private grow(): void {
    this.box.rows = Math.min(6, this.box.value.split('\n').length);
  }

  private keep(): void {
    if (this.edited) return;
    try {
      if (this.box.value) localStorage.setItem(draftPrefix + this.room.id, this.box.value);
      else localStorage.removeItem(draftPrefix + this.room.id);
    } catch {
      // Without storage a draft lives as long as the page.
    }
  }

  private draft(): void {
    this.drafted = this.room.id;
    try {
      this.box.value ||= localStorage.getItem(draftPrefix + this.room.id) ?? '';
    } catch {
      return;
    }
    this.grow();
  }

  private stopEditing(): void {
    this.edited = undefined;
    this.editing.hidden = true;
    this.box.value = '';
    this.problem.textContent = '';
    this.draft();
    this.grow();
    this.focus();
  }

  private send(): void {
    // Leading spaces are the writer's; empty lines around it are not.
    const text = this.box.value.replace(/^\s*\n/, '').trimEnd();
    this.focus();
    if (this.waiting.length && !this.edited) {
      this.files(this.waiting);
      this.waiting = [];
      this.hold([]);
    }
    if (!text) return;
    if (tooLong(text)) return this.say('compose.tooLong');
    if (this.edited) {
      if (text !== this.edited.text) this.room.change('edit', this.edited, text);
      return this.stopEditing();
    }
    if (!this.room.say(text, this.answered?.offset)) return this.say('compose.full');
    this.box.value = '';
    this.problem.textContent = '';
    if (this.answered) this.stopReplying();
    this.grow();
    this.keep();
    this.options.sent();
  }
}

// Without Shift, Enter must be able to break a line.
const touch = matchMedia('(pointer: coarse)');

/** tooLong: the limit counts octets, of which a letter has up to three for each unit of its length. */
function tooLong(text: string): boolean {
  return text.length * 3 > maxText && new TextEncoder().encode(text).length > maxText;
}
