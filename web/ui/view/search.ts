// SPDX-License-Identifier: GPL-3.0-or-later

// Search over all conversations of the desk. What is found stands where the
// list of conversations stands otherwise.

import { bdi, type Child, fill, h, icon } from '../base/dom';
import { explain } from '../base/errors';
import { shortMoment, t } from '../base/i18n';
import { cleanLine } from '../base/text';
import { after } from '../base/time';
import { get } from '../wire/api';
import type { Hit } from '../wire/wire';

const pause = 250;     // ms after the last letter
const wordsMost = 200; // characters

interface Answer { hits: Hit[] | null; more?: string }

export class Search {
  readonly el: HTMLElement;
  readonly found = h('div', { class: 'found-list', hidden: true });
  private readonly box: HTMLInputElement;
  private readonly told = h('p', { class: 'search-told', role: 'status' });
  private readonly hits = h('ul', { class: 'rooms' });
  private readonly more = h('button', { class: 'link', type: 'button', hidden: true,
    onclick: () => void this.ask(this.next) }, t('search.more'));
  private waiting: (() => void) | undefined;
  private asked = '';
  private next = '';
  private count = 0;

  /** toggled: whether results are shown instead of the list. */
  constructor(private readonly toggled: (on: boolean) => void) {
    this.box = h('input', {
      type: 'search', id: 'search', maxlength: wordsMost, autocomplete: 'off', placeholder: t('search.placeholder'),
      'aria-label': t('search.name'),
      oninput: () => this.typed(),
      onkeydown: (ev: KeyboardEvent) => ev.key === 'Escape' && !ev.isComposing && this.clear(),
    });
    this.el = h('form', {
      class: 'search', role: 'search', onsubmit: (ev: Event) => {
        ev.preventDefault();
        this.waiting?.();
        void this.ask('');
      },
    }, icon('search'), this.box);
    fill(this.found, this.told, this.hits, this.more);
  }

  clear(): void {
    this.box.value = '';
    this.typed();
  }

  private typed(): void {
    this.waiting?.();
    if (!this.box.value.trim()) {
      this.asked = '';
      this.found.hidden = true;
      this.toggled(false);
      return;
    }
    this.waiting = after(pause, () => void this.ask(''));
  }

  private async ask(before: string): Promise<void> {
    const words = this.box.value.trim();
    if (!words) return;
    this.asked = words;
    this.found.hidden = false;
    this.toggled(true);
    this.more.disabled = true;
    try {
      const query = new URLSearchParams({ q: words, limit: '20' });
      if (before) query.set('before', before);
      const answer = await get<Answer>('/desk/search?' + query);
      if (this.asked !== words) return; // something else was asked meanwhile
      const hits = answer.hits ?? [];
      if (!before) this.count = 0;
      this.count += hits.length;
      const items = hits.map((x) => this.item(x, words));
      if (before) this.hits.append(...items);
      else fill(this.hits, items);
      this.next = answer.more ?? '';
      this.more.hidden = !this.next;
      this.told.textContent = this.count ? t('search.count', { n: this.count })
        : t(this.next ? 'search.noneYet' : 'search.none');
    } catch (err) {
      this.told.textContent = explain(err);
    }
    this.more.disabled = false;
  }

  private item(x: Hit, words: string): HTMLElement {
    const at = new Date(x.at);
    return h('li', null, h('a', { class: 'room hit', href: `#${x.room}/${x.offset}` },
      h('span', { class: 'room-text' },
        h('span', { class: 'room-top' }, h('span', { class: 'room-name' }, bdi(cleanLine(x.name))),
          h('time', { datetime: x.at }, shortMoment(at))),
        h('span', { class: 'room-subject', dir: 'auto' }, cleanLine(x.subject) || t('mail.noSubject')),
        h('span', { class: 'hit-words', dir: 'auto' }, marked(cleanLine(x.snippet || x.file?.name || ''), words)))));
  }
}

/** marked sets the words that were looked for apart. */
export function marked(text: string, words: string): Child[] {
  const wanted = words.split(/\s+/).filter(Boolean).map((w) => w.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  if (!wanted.length) return [text];
  return text.split(new RegExp(`(${wanted.join('|')})`, 'giu'))
    .map((part, i) => (i % 2 ? h('mark', null, part) : part));
}
