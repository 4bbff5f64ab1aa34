// SPDX-License-Identifier: GPL-3.0-or-later

// A passing word, at the foot of the page, above all else.

import { type Child, fill, h, icon } from '../base/dom';
import { t } from '../base/i18n';
import { after } from '../base/time';

const shownFor = 6000; // ms

export class Toast {
  private readonly words = h('p', { role: 'status' });
  readonly el = h('div', { class: 'toast', popover: 'manual' }, this.words,
    h('button', { class: 'round', type: 'button', 'aria-label': t('ask.close'), onclick: () => this.hide() },
      icon('close')));
  private expiry = () => {};

  tell(words: Child): void {
    this.hide(); // shown again it lies above a dialog that was opened since
    this.el.showPopover?.();
    fill(this.words, words);
    this.expiry = after(shownFor, () => this.hide());
  }

  private hide(): void {
    this.expiry();
    fill(this.words);
    if (this.el.matches(':popover-open')) this.el.hidePopover();
  }
}
