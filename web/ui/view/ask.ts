// SPDX-License-Identifier: GPL-3.0-or-later

// Dialogs: a question before what cannot be undone, and a picture in full.

import { h, icon, type Child } from '../base/dom';
import { t } from '../base/i18n';

function show(dialog: HTMLDialogElement): void {
  const before = document.activeElement as HTMLElement | null;
  dialog.addEventListener('close', () => {
    dialog.remove();
    if (before?.isConnected) before.focus();
  });
  // A press beside it closes it.
  dialog.addEventListener('click', (ev) => ev.target === dialog && dialog.close());
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

/** picture shows one in full, without leaving the page. */
export function picture(url: string, name: string, width: number, height: number): void {
  const dialog = h('dialog', { class: 'picture-full', 'aria-label': name },
    h('img', { src: url, alt: name, width, height }),
    h('div', { class: 'picture-bar' }, h('span', { dir: 'auto' }, name),
      h('a', { class: 'button', href: url, download: name }, icon('save'), h('span', null, t('file.save'))),
      h('button', { type: 'button', onclick: () => dialog.close() }, icon('close'), h('span', null, t('ask.close')))));
  show(dialog);
}
