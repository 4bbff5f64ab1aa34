// SPDX-License-Identifier: GPL-3.0-or-later

// The gate: a link that another browser claimed lets one in with a code from
// the mailbox it was sent to, or as a guest where the sender allows it.

import { fill, h } from '../base/dom';
import { ApiError, explain } from '../base/errors';
import { t, tr } from '../base/i18n';

export interface How { code?: string; guest?: string; password?: string }

export interface GateOptions {
  to: string;       // the masked address
  guest: boolean;
  account: boolean; // whose password shows that the link is theirs, too
  prove: string;    // who talks only with people who have shown who they are; or empty
  mail(): Promise<{ to?: string }>;
  enter(how: How): Promise<void>;
  back(): void;
}

export function gate(o: GateOptions): HTMLElement {
  const problem = h('p', { class: 'problem', role: 'alert' });
  const told = h('p', { class: 'muted', 'aria-live': 'polite' });
  const code = h('input', {
    id: 'code', inputmode: 'numeric', autocomplete: 'one-time-code', maxlength: 6, pattern: '[0-9]{6}', required: true,
  });
  const password = h('input', { id: 'password', type: 'password', autocomplete: 'current-password', required: true });
  const guest = h('input', { id: 'guest', autocomplete: 'name', maxlength: 60, required: true });

  const attempt = async (how: How) => {
    problem.textContent = '';
    try {
      await o.enter(how);
    } catch (err) {
      problem.textContent = err instanceof ApiError && (err.code === 'code' || err.status === 401)
        ? t('gate.wrong') : err instanceof ApiError && err.code === 'credentials' ? t('gate.wrongPassword') : explain(err);
    }
  };
  const mail = async (ev: Event) => {
    const button = ev.currentTarget as HTMLButtonElement;
    problem.textContent = '';
    button.disabled = true;
    try {
      const answer = await o.mail();
      fill(told, tr('gate.sent', { to: answer.to || o.to }));
      entry.hidden = false;
      code.focus();
    } catch (err) {
      problem.textContent = explain(err);
    }
    button.disabled = false;
  };
  const entry = h('form', {
    class: 'field-row', hidden: true,
    onsubmit: (ev: Event) => { ev.preventDefault(); void attempt({ code: code.value.trim() }); },
  }, h('div', { class: 'field' }, h('label', { for: 'code' }, t('gate.code')), code),
    h('button', { class: 'primary', type: 'submit' }, t('gate.continue')));

  return h('div', { class: 'gate' },
    h('h1', { tabindex: '-1' }, t('gate.title')),
    h('p', null, o.prove ? tr('gate.whyProve', { name: o.prove }) : t('gate.why')),
    h('button', { class: 'secondary', type: 'button', onclick: mail }, h('span', null, tr('gate.send', { to: o.to }))),
    told, entry,
    o.account && h('form', {
      class: 'field-row',
      onsubmit: (ev: Event) => { ev.preventDefault(); void attempt({ password: password.value }); },
    }, h('div', { class: 'field' }, h('label', { for: 'password' }, t('gate.password')), password),
      h('button', { class: 'secondary', type: 'submit' }, t('gate.continue'))),
    o.guest && h('form', {
      class: 'field-row',
      onsubmit: (ev: Event) => { ev.preventDefault(); void attempt({ guest: guest.value.trim() }); },
    }, h('div', { class: 'field' }, h('label', { for: 'guest' }, t('gate.name')), guest),
      h('button', { class: 'secondary', type: 'submit' }, t('gate.asGuest'))),
    problem,
    h('button', { class: 'link', type: 'button', onclick: () => o.back() }, t('gate.back')));
}

