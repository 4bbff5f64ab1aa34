// SPDX-License-Identifier: GPL-3.0-or-later

// Writing first to somebody: a mail with a link into the conversation that it opens.

import { fill, h } from '../base/dom';
import { ApiError, explain } from '../base/errors';
import { t, tr } from '../base/i18n';
import { newID } from '../model/outbox';
import { paneHead } from './roomheader';
import { post } from '../wire/api';

// What is being written stays while one looks elsewhere. A mail keeps its ID until it
// is out, so that it goes out once.
const draft = { id: newID(), to: '', subject: '', text: '', group: '' };

/** writing shows the form; opened is called with the room. */
export function writing(pane: HTMLElement, groups: string[], back: () => void, opened: (room: string) => void): void {
  const problem = h('p', { class: 'problem', role: 'alert' });
  const send = h('button', { class: 'primary', type: 'submit' }, t('write.send'));
  const field = (name: 'to' | 'subject' | 'text', input: HTMLInputElement | HTMLTextAreaElement, hint = '') => {
    input.id = 'write-' + name;
    input.required = true;
    input.value = draft[name];
    input.addEventListener('input', () => { draft[name] = input.value; });
    return h('div', { class: 'field' }, h('label', { for: input.id }, t(`write.${name}`)), input,
      hint && h('p', { class: 'fine' }, hint));
  };
  const from = h('select', { id: 'write-from', onchange: () => { draft.group = from.value; } },
    h('option', { value: '' }, t('write.me')),
    groups.map((g) => h('option', { value: g, selected: g === draft.group }, g)));
  const submit = async (ev: Event) => {
    ev.preventDefault();
    send.disabled = true;
    fill(problem);
    try {
      const { room } = await post<{ room: string }>('/desk/write', draft);
      Object.assign(draft, { id: newID(), to: '', subject: '', text: '' });
      opened(room);
    } catch (err) {
      const code = err instanceof ApiError ? err.code : '';
      if (code === 'refused') fill(problem, tr('write.refused', { answer: String((err as ApiError).body.text ?? '') }));
      else if (code === 'no-room') {
        draft.id = newID(); // the mail is out
        fill(problem, t('write.noRoom'));
      } else if (code === 'no-links') fill(problem, t('write.noLinks'));
      else if (code === 'bad-request') fill(problem, t('write.wrong'));
      else fill(problem, explain(err));
    }
    send.disabled = false;
  };
  fill(pane, h('form', { class: 'settings', onsubmit: submit },
    paneHead('write.title', back),
    h('div', { class: 'settings-body' }, h('section', null,
      h('p', { class: 'muted' }, t('write.what')),
      groups.length > 0 && h('div', { class: 'field' }, h('label', { for: from.id }, t('write.from')), from),
      field('to', h('input', { type: 'text', inputmode: 'email', autocomplete: 'off' })),
      field('subject', h('input', { type: 'text', maxlength: '250' })),
      field('text', h('textarea', { rows: '8' })))),
    h('footer', { class: 'write-foot' }, problem, send)));
  pane.querySelector<HTMLElement>(draft.to ? 'h1' : '#write-to')!.focus();
}
