// SPDX-License-Identifier: GPL-3.0-or-later

// Signing in to the desk.

import { fill, h, icon } from '../base/dom';
import { ApiError, explain } from '../base/errors';
import { type Key, t } from '../base/i18n';
import { tabTitle } from '../base/tabtitle';
import { soundHere } from '../model/tabs';
import { unlock } from '../view/ringer';
import { actAs, post } from '../wire/api';

/** signIn asks for login and password; why says what happened to the desk that was here. */
export function signIn(root: HTMLElement, why: Key | '', done: () => void): void {
  const problem = h('p', { class: 'problem', role: 'alert', id: 'sign-in-problem' },
    why && t(why));
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
    const wrong = (is: boolean) => {
      for (const input of [login, password]) input.setAttribute('aria-invalid', String(is));
    };
    wrong(false);
    // A refusal takes its time, on purpose.
    submit.disabled = true;
    submit.textContent = t('signin.checking');
    soundHere();
    void unlock(); // this press also lets the tab ring
    try {
      actAs('');
      await post('/desk/sign-in', { login: login.value.trim(), password: password.value });
      done();
    } catch (err) {
      const refused = err instanceof ApiError && err.status === 401;
      wrong(refused);
      problem.textContent = refused ? t('signin.wrong') : explain(err);
      password.select();
    }
    submit.disabled = false;
    submit.textContent = t('signin.button');
  }

  tabTitle(t('desk.title'));
  fill(root, h('div', { class: 'stage' }, h('form', { class: 'card sign-in', onsubmit: (ev: Event) => void go(ev) },
    h('span', { class: 'emblem' }, icon('chat')),
    h('h1', null, t('signin.title')),
    h('p', { class: 'muted' }, t('signin.what')),
    h('div', { class: 'field' }, h('label', { for: 'login' }, t('signin.login')), login),
    h('div', { class: 'field' }, h('label', { for: 'password' }, t('signin.password')), password),
    problem, submit)));
  login.focus();
}
