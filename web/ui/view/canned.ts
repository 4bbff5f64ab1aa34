// SPDX-License-Identifier: GPL-3.0-or-later

// Saved replies, one's own or a group's, as rows that are saved as they change.

import { fill, h, icon } from '../base/dom';
import { t } from '../base/i18n';
import type { Canned } from '../wire/wire';

const most = 50;

export class CannedList {
  readonly el: HTMLElement;
  private readonly rows = h('ol', { class: 'canned-rows' });
  private readonly add: HTMLButtonElement;
  private all: Canned[] = [];

  constructor(private readonly save: (all: Canned[]) => void) {
    this.add = h('button', { class: 'secondary', type: 'button', onclick: () => {
      this.all.push({ title: '', text: '' });
      this.draw();
      this.rows.querySelector<HTMLElement>('li:last-child input')?.focus();
    } }, t('settings.cannedAdd'));
    this.el = h('div', { class: 'canned-list' }, this.rows, this.add);
  }

  /** update takes the replies as the server has them. */
  update(list: Canned[]): void {
    // As it stands here, also with a row that is empty yet.
    if (this.rows.childElementCount && JSON.stringify(list) === JSON.stringify(this.kept())) return;
    this.all = list.map((c) => ({ ...c }));
    this.draw();
  }

  private kept(): Canned[] {
    return this.all.filter((c) => c.text.trim())
      .map((c) => ({ title: c.title.trim() || c.text.trim().slice(0, 40), text: c.text.trim() }));
  }

  private draw(): void {
    const save = () => this.save(this.kept());
    fill(this.rows, this.all.map((c, i) => {
      const title = h('input', {
        value: c.title, maxlength: 100, 'aria-label': t('settings.cannedTitle', { n: i + 1 }),
        placeholder: t('settings.cannedTitleExample'), oninput: () => { c.title = title.value; }, onchange: save,
      });
      const text = h('textarea', {
        value: c.text, rows: 2, maxlength: 600, 'aria-label': t('settings.cannedText', { n: i + 1 }),
        placeholder: t('settings.cannedTextExample'), oninput: () => { c.text = text.value; }, onchange: save,
      });
      return h('li', null, title, text, h('button', {
        class: 'round', type: 'button', 'aria-label': t('settings.cannedRemove', { n: i + 1 }), onclick: () => {
          this.all.splice(i, 1);
          this.draw();
          this.add.focus();
          save();
        },
      }, icon('close')));
    }));
    this.add.hidden = this.all.length >= most;
  }
}
