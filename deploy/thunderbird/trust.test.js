// SPDX-License-Identifier: GPL-3.0-or-later

import assert from 'node:assert/strict';
import test from 'node:test';
import { judge, verifier } from './trust.js';

const link = 'https://chat.mall.example/c/AAAAAAAAAAAAAAAAAAAAAA';
const good = {
  'chmail-login': ['mina@mall.example'],
  'chmail-chat': [`<${link}>`],
  'dkim-signature': ['v=1; d=mall.example; h=From:CHmail-Login:\r\n CHmail-Chat; b=x'],
  'authentication-results':
    ['mx.far.example (c; dkim=fail); spf=pass; dkim=pass (ok) header.d=mall.example header.b=x'],
};
const trusted = ['MX.far.example'];
const mine = { server: 'https://chat.mall.example', login: 'jae@mall.example', here: true };

test('a mail is believed when one’s own server says that the domain has signed it', () => {
  assert.deepEqual(judge(good, null, trusted), { login: 'mina@mall.example', link, own: false });
  assert.deepEqual(judge(good, null, []), { ask: 'mx.far.example' });
  assert.deepEqual(judge({ ...good, 'authentication-results': [] }, mine, []),
    { login: 'mina@mall.example', link, own: true });
});

for (const [what, change] of Object.entries({
  'no login': { 'chmail-login': [] },
  'two logins': { 'chmail-login': ['mina@mall.example', 'kim@mall.example'] },
  'two links': { 'chmail-chat': [`<${link}>`, `<${link}>`] },
  'a link of another domain': { 'chmail-chat': ['<https://evil.example/c/AAAAAAAAAAAAAAAAAAAAAA>'] },
  'a link of a domain that ends alike': { 'chmail-chat': ['<https://evilmall.example/c/AAAAAAAAAAAAAAAAAAAAAA>'] },
  'a link with a name in it': { 'chmail-chat': ['<https://mall.example@evil.example/c/AAAAAAAAAAAAAAAAAAAAAA>'] },
  'a link to something else': { 'chmail-chat': ['<https://chat.mall.example/desk>'] },
  'a link without TLS': { 'chmail-chat': ['<http://chat.mall.example/c/AAAAAAAAAAAAAAAAAAAAAA>'] },
  'a script': { 'chmail-chat': ['<javascript:alert(1)>'] },
  'no signature': { 'dkim-signature': [] },
  'a signature that leaves the link out': { 'dkim-signature': ['d=mall.example; h=From:CHmail-Login'] },
  'the signature of another': { 'dkim-signature': ['d=evil.example; h=CHmail-Login:CHmail-Chat'] },
  'a signature that failed': { 'authentication-results': ['mx.far.example; dkim=fail header.d=mall.example'] },
  'another that passed': { 'authentication-results': ['mx.far.example; dkim=pass header.d=evil.example'] },
  'a pass in a comment': { 'authentication-results': ['mx.far.example; spf=pass (; dkim=pass header.d=mall.example)'] },
  'a pass in a quotation': { 'authentication-results': ['mx.far.example; x="; dkim=pass header.d=mall.example'] },
  'an older field of the same name': { 'authentication-results':
    ['mx.far.example; dkim=fail header.d=mall.example', ...good['authentication-results']] },
  'no results': { 'authentication-results': [] },
})) {
  test(`not believed: ${what}`, () => assert.equal(judge({ ...good, ...change }, null, trusted), null));
}

test('results of a stranger count for nothing', () => {
  const forged = ['evil.example; dkim=pass header.d=mall.example', 'mx.far.example; dkim=fail header.d=mall.example'];
  assert.equal(judge({ ...good, 'authentication-results': forged }, null, trusted), null);
  const away = { ...mine, here: false };
  assert.equal(judge({ ...good, 'authentication-results': [] }, away, trusted), null);
  const elsewhere = { ...mine, server: 'https://chat.far.example' };
  assert.equal(judge({ ...good, 'authentication-results': [] }, elsewhere, trusted), null);
});

test('names of verifiers', () => {
  for (const v of ['mx.a.example; none', ' (c) MX.a.example. 1; x', '"mx.a.example" ; x']) {
    assert.equal(verifier(v), 'mx.a.example');
  }
});
