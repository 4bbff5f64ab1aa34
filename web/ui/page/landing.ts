// SPDX-License-Identifier: GPL-3.0-or-later

// The front page of the demo: what to try in three steps, with its real addresses.

import '../base/mishap';
import { type Child, fill, h, icon } from '../base/dom';
import { type Key, t, tr } from '../base/i18n';
import { readPage } from '../wire/api';
import type { Account, Demo, LandingPage } from '../wire/wire';

const copiedFor = 1600; // ms "Copied" is shown

async function copy(text: string): Promise<void> {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  // Plain http on another machine has no clipboard interface.
  const box = h('textarea', { class: 'sr', value: text });
  document.body.append(box);
  box.select();
  document.execCommand('copy');
  box.remove();
}

function copyButton(text: string, what: string): HTMLElement {
  const words = h('span', { 'aria-live': 'polite' }, t('copy.copy'));
  const button = h('button', {
    class: 'copy', type: 'button', 'aria-label': t('copy.what', { what }),
    onclick: async () => {
      await copy(text).catch(() => {});
      words.textContent = t('copy.copied');
      setTimeout(() => { words.textContent = t('copy.copy'); }, copiedFor);
    },
  }, icon('copy'), words);
  return button;
}

const value = (key: Key, text: string) => [h('dt', null, t(key)),
  h('dd', null, h('code', null, text), copyButton(text, t(key)))];

const command = (label: string, text: string) => h('div', { class: 'command' },
  h('div', { class: 'command-head' }, h('span', null, label), copyButton(text, label)),
  h('pre', { tabindex: '0' }, h('code', null, text)));

/** quote makes one word of the shell. */
const quote = (s: string) => (/^[\w@%+=:,./-]+$/.test(s) ? s : `'${s.replaceAll("'", "'\\''")}'`);

/** half opens a page on one half of the screen, so that both sides can be watched. */
function half(side: 'left' | 'right', href: string, label: Key, style: string): HTMLElement {
  return h('a', {
    class: 'button ' + style, href, target: 'chmail-' + side,
    onclick: (ev: MouseEvent) => {
      if (ev.ctrlKey || ev.metaKey || ev.shiftKey || screen.availWidth < 900) return;
      const width = Math.floor(screen.availWidth / 2);
      const left = side === 'left' ? 0 : width;
      const opened = window.open(href, 'chmail-' + side,
        `popup,width=${width},height=${screen.availHeight},left=${left},top=0`);
      if (opened) ev.preventDefault();
    },
  }, t(label));
}

function step(n: number, title: Key, ...children: Child[]): HTMLElement {
  return h('li', { class: 'step' }, h('span', { class: 'step-number', 'aria-hidden': 'true' }, n),
    h('div', { class: 'step-body' }, h('h2', null, t(title)), children));
}

function demo(d: Demo): Child {
  const by = (role: string): Account => d.accounts.find((a) => a.role === role) ?? d.accounts[0]!;
  const host = by('host');
  const customer = by('customer');
  const others = d.accounts.filter((a) => a !== host && a !== customer);
  const ca = d.ca ? ` --cacert ${quote(d.ca)}` : '';
  const subject = t('demo.subject');
  const words = t('demo.words');
  const swaks = [`swaks --server ${d.submission} -tls`,
    `--auth-user ${quote(host.login)} --auth-password ${quote(host.password)}`,
    `--from ${quote(host.login)} --to ${quote(customer.login)}`,
    `--header ${quote('Subject: ' + subject)}`,
    `--body ${quote(words)}`].join(' \\\n  ');
  const curl = ["printf 'From: %s\\nTo: %s\\nSubject: %s\\n\\n%s\\n' \\\n"
    + `  ${quote(host.login)} ${quote(customer.login)} ${quote(subject)} ${quote(words)} |`,
    `  curl --ssl-reqd${ca} \\`,
    `  --url smtp://${d.submission} --user ${quote(host.login + ':' + host.password)} \\`,
    `  --mail-from ${quote(host.login)} --mail-rcpt ${quote(customer.login)} --upload-file -`].join('\n');
  const fetchMail = `curl --ssl-reqd${ca} \\\n`
    + `  --user ${quote(customer.login + ':' + customer.password)} pop3://${d.pop3}/1`;
  const link = d.sample;

  return [
    h('header', { class: 'hero' },
      h('p', { class: 'brand' }, 'CHmail'),
      h('h1', null, t('demo.title')),
      h('p', { class: 'lead' }, t('demo.lead'))),
    h('ol', { class: 'steps' },
      step(1, 'demo.one', h('p', null, tr('demo.oneHow', { host: host.login, customer: customer.login })),
        link && h('p', { class: 'muted' }, t('demo.waiting')),
        h('dl', { class: 'values' }, value('demo.submission', d.submission), value('signin.login', host.login),
          value('signin.password', host.password)),
        command('swaks', swaks),
        h('details', null, h('summary', null, t('demo.withCurl')), command('curl', curl))),
      step(2, 'demo.two', h('p', null, t('demo.twoHow')),
        h('dl', { class: 'values' }, value('demo.pop3', d.pop3), value('demo.imap', d.imap),
          value('signin.login', customer.login), value('signin.password', customer.password)),
        command('curl', fetchMail)),
      step(3, 'demo.three', h('p', null, t('demo.threeHow')),
        h('div', { class: 'sides' },
          h('div', { class: 'side-card' }, h('h3', null, t('demo.hostSide')),
            h('p', { class: 'muted' }, t('demo.hostHow')),
            h('dl', { class: 'values' }, value('signin.login', host.login), value('signin.password', host.password)),
            half('right', '/desk', 'demo.openDesk', 'primary')),
          h('div', { class: 'side-card' }, h('h3', null, t('demo.customerSide')),
            h('p', { class: 'muted' }, t(link ? 'demo.customerHow' : 'demo.customerNoLink')),
            link && half('left', link, 'demo.openLink', 'secondary')))),
      d.mall && step(4, 'demo.four', h('p', null, t('demo.fourHow')),
        h('div', { class: 'sides' },
          h('div', { class: 'side-card' }, h('h3', null, t('demo.shopSide')),
            h('p', { class: 'muted' }, t('demo.shopHow')),
            h('dl', { class: 'values' }, value('signin.login', host.login), value('signin.password', host.password)),
            h('a', { href: d.mall + '/console/lamps/publicity' }, t('demo.publicity')),
            half('right', d.mall + '/console/lamps', 'demo.openShop', 'primary')),
          h('div', { class: 'side-card' }, h('h3', null, t('demo.mallSide')),
            h('p', { class: 'muted' }, t('demo.mallHow')),
            h('dl', { class: 'values' }, value('signin.login', customer.login),
              value('signin.password', customer.password)),
            half('left', d.mall + '/', 'demo.openMall', 'secondary'))))),
    h('details', { class: 'more' }, h('summary', null, t('demo.all')),
      h('dl', { class: 'values' }, value('demo.web', d.web), d.mall && value('demo.mall', d.mall),
        value('demo.smtp', d.smtp), value('demo.domain', d.domain),
        value('demo.ports', d.ports), d.metrics && value('demo.metrics', d.metrics), d.ca && value('demo.ca', d.ca),
        others.map((a) => [value('signin.login', a.login), value('signin.password', a.password)]))),
  ];
}

fill(document.getElementById('app')!, h('div', { class: 'landing' }, demo(readPage<LandingPage>().demo)));
