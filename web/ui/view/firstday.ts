// SPDX-License-Identifier: GPL-3.0-or-later

// The desk of a login that has no conversation yet: what to do first, and how a
// mail program is set up.

import { type Child, fill, h, icon } from '../base/dom';
import { ApiError, explain } from '../base/errors';
import { type Key, t, tr } from '../base/i18n';
import type { Prefs } from '../model/prefs';
import { post } from '../wire/api';
import type { DeskPage, MailServer } from '../wire/wire';

const protocols: Record<MailServer['protocol'], Key> = { smtp: 'first.smtp', imap: 'first.imap', pop3: 'first.pop3' };

export function firstDay(page: DeskPage, prefs: Prefs): HTMLElement {
  return h('div', { class: 'first-day' },
    h('span', { class: 'emblem' }, icon('mail')),
    h('h2', null, t('empty.title')),
    h('ol', { class: 'teach' },
      h('li', null, t('empty.one')), h('li', null, t('empty.two')), h('li', null, t('empty.three'))),
    nameForm(prefs),
    page.mail && mailProgram(page.login!, page.mail),
    page.login!.includes('@') && testMail(page.login!));
}

/** nameForm asks for one's name, as long as that has not been set. */
function nameForm(prefs: Prefs): HTMLElement {
  const input = h('input', { id: 'first-name', autocomplete: 'name', maxlength: 64, dir: 'auto',
    value: prefs.now?.name ?? '' });
  const told = h('p', { class: 'fine', role: 'status' }, t('settings.nameWhat'));
  return h('form', { class: 'first-part', onsubmit: async (ev: Event) => {
    ev.preventDefault();
    try {
      await prefs.save({ name: input.value.trim() });
      fill(told, t('settings.saved'));
    } catch (err) {
      fill(told, explain(err));
    }
  } }, h('label', { for: input.id }, t('settings.name')),
  h('div', { class: 'first-line' }, input, h('button', { class: 'secondary', type: 'submit' }, t('first.save'))), told);
}

/** mailProgram says what to type into a mail program. */
function mailProgram(login: string, { host, servers }: NonNullable<DeskPage['mail']>): HTMLElement {
  const row = (what: Key, value: Child) => [h('dt', null, t(what)), h('dd', null, value)];
  const best = servers.filter((s, i) => servers.findIndex((x) => x.protocol === s.protocol) === i);
  return h('section', { class: 'first-part', 'aria-labelledby': 'first-mail' },
    h('h3', { id: 'first-mail' }, t('first.mail')),
    h('dl', { class: 'first-servers' },
      row('first.login', h('code', null, login)),
      row('first.password', t('first.passwordWhat')),
      row('first.host', h('code', null, host)),
      best.map((s) => row(protocols[s.protocol], t('first.port',
        { port: s.port, security: s.tls ? 'TLS' : 'STARTTLS' })))),
    h('a', { href: `/setup/mail?address=${encodeURIComponent(login)}`, target: '_blank', rel: 'noopener' },
      t('clients.more')));
}

/** testMail sends oneself a mail. */
function testMail(login: string): HTMLElement {
  const told = h('p', { class: 'fine', role: 'status' });
  const button = h('button', { class: 'secondary', type: 'button', onclick: async () => {
    button.disabled = true;
    try {
      await post('/desk/test-mail');
      fill(told, tr('first.testSent', { to: login }));
    } catch (err) {
      const answer = err instanceof ApiError && err.code === 'refused' ? String(err.body.text ?? '') : '';
      fill(told, answer ? tr('write.refused', { answer }) : explain(err));
    }
    button.disabled = false;
  } }, t('first.test'));
  return h('div', { class: 'first-part' }, h('div', null, button), told);
}
