// SPDX-License-Identifier: GPL-3.0-or-later

// Signing in to the desk.

import { ApiError, explain } from '../base/errors';
import { type Key, t } from '../base/i18n';
import { tabTitle } from '../base/tabtitle';
import { cleanLine } from '../base/text';
import { soundHere } from '../model/tabs';
import { unlock } from '../view/ringer';
import { actAs, post } from '../wire/api';

// The server has put the form into the page or, for later, into a template.
const stage = (document.querySelector<HTMLTemplateElement>('template#sign-in')?.content ?? document)
  .querySelector<HTMLElement>('.stage')!;

/** signIn asks for login and password; why says what happened to the desk that was here. */
export function signIn(root: HTMLElement, why: Key | '', done: () => void): void {
  if (!stage.isConnected) root.replaceChildren(stage);
  const part = <E extends HTMLElement>(selector: string) => root.querySelector<E>(selector)!;
  const [login, password] = [part<HTMLInputElement>('#login'), part<HTMLInputElement>('#password')];
  const submit = part<HTMLButtonElement>('.sign-in [type=submit]');
  const problem = part('#sign-in-problem');
  // Without cookies every session is over at once, which alone would say nothing.
  problem.textContent = navigator.cookieEnabled ? why && t(why) : t('signin.noCookies');

  /** disabled says that the account is, to whom knows its password. */
  function disabled(err: unknown): string | undefined {
    if (!(err instanceof ApiError) || err.code !== 'disabled') return undefined;
    const reason = cleanLine(String(err.body.reason ?? ''));
    return reason ? t('addresses.disabledWhy', { reason }) : t('addresses.disabled');
  }

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
      problem.textContent = refused ? t('signin.wrong') : disabled(err) ?? explain(err);
      password.select();
    }
    submit.disabled = false;
    submit.textContent = t('signin.button');
  }

  tabTitle(t('desk.title'));
  part<HTMLFormElement>('.sign-in').onsubmit = (ev) => void go(ev);
  password.value = '';
  if (!login.value) login.focus();
}
