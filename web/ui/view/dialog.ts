// SPDX-License-Identifier: GPL-3.0-or-later

// Dialogs: a question before what cannot be undone.

import { type Child, h } from '../base/dom';
import { t } from '../base/i18n';

/** show opens a dialog; when it closes, the focus is back where it was. */
export function show(dialog: HTMLDialogElement): void {
  const before = document.activeElement as HTMLElement | null;
  dialog.addEventListener('close', () => {
    dialog.remove();
    if (before?.isConnected) before.focus();
  });
  // A press beside it closes it; one on its edge does not.
  dialog.addEventListener('click', (ev) => {
    const { left, right, top, bottom } = dialog.getBoundingClientRect();
    const within = ev.clientX >= left && ev.clientX <= right && ev.clientY >= top && ev.clientY <= bottom;
    if (ev.target === dialog && !within) dialog.close();
  });
  document.body.append(dialog);
  dialog.showModal();
}

/** ask resolves to whether the person said yes. */
export function ask(question: Child, yes: string): Promise<boolean> {
  return new Promise((done) => {
    let answer = false;
    const no = h('button', { class: 'secondary', type: 'button', onclick: () => dialog.close() }, t('ask.no'));
    const dialog = h('dialog', { class: 'ask', 'aria-labelledby': 'ask-what' },
      h('p', { id: 'ask-what' }, question),
      h('div', { class: 'ask-answers' }, no,
        h('button', {
          class: 'primary danger-fill', type: 'button', onclick: () => {
            answer = true;
            dialog.close();
          },
        }, yes)));
    dialog.addEventListener('close', () => done(answer));
    show(dialog);
    no.focus();
  });
}
