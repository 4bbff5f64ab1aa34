// SPDX-License-Identifier: GPL-3.0-or-later

// Signing in to the desk.

import { fill, h, icon } from '../base/dom';
import { ApiError, explain } from '../base/errors';
import { t } from '../base/i18n';
import { unlock } from '../view/ringer';
import { post } from '../wire/api';

export function signIn(root: HTMLElement, expired: boolean, done: () => void): void {
  const problem = h('p', { class: 'problem', role: 'alert', id: 'sign-in-problem' },
    expired ? t('signin.expired') : '');
  const login = h('input', {
    id: 'login', name: 'login', autocomplete: 'username', autocapitalize: 'none', spellcheck: 'false',
    inputmode: 'email', required: true, 'aria-describedby': 'sign-in-problem',
  });
  const password = h('input', { id: 'password', name: 'password', type: 'password',
    autocomplete: 'current-password', required: true });
  const submit = h('button', { class: 'primary large', type: 'submit' }, t('signin.button'));

  async function go(ev: Event): Promise<void> {
    ev.preventDefault();
    problem.textContent = '';
    submit.disabled = true;
    void unlock(); // this press also lets the tab ring
    try {
      await post('/desk/sign-in', { login: login.value.trim(), password: password.value });
      done();
    } catch (err) {
      submit.disabled = false;
      problem.textContent = err instanceof ApiError && err.status === 401 ? t('signin.wrong') : explain(err);
      password.select();
    }
  }

  document.title = t('desk.title');
  fill(root, h('div', { class: 'stage' }, h('form', { class: 'card sign-in', onsubmit: (ev: Event) => void go(ev) },
    h('span', { class: 'emblem' }, icon('chat')),
    h('h1', null, t('signin.title')),
    h('p', { class: 'muted' }, t('signin.what')),
    h('div', { class: 'field' }, h('label', { for: 'login' }, t('signin.login')), login),
    h('div', { class: 'field' }, h('label', { for: 'password' }, t('signin.password')), password),
    problem, submit)));
  login.focus();
}
