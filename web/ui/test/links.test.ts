// SPDX-License-Identifier: GPL-3.0-or-later

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { findLinks } from '../base/links';

const linked = (text: string) => findLinks(text).map((f) => text.slice(f.at, f.at + f.length));

test('an address ends where its letters end', () => {
  for (const [text, ...want] of [
    ['see https://mall.example/a?b=c#d.', 'https://mall.example/a?b=c#d'],
    ['https://mall.example/shop에서 보세요', 'https://mall.example/shop'],
    ['https://mall.example/에서', 'https://mall.example/'],
    ['www.mall.example에서', 'www.mall.example'],
    ['주소는https://mall.example입니다.다음', 'https://mall.example'],
    ['请看https://mall.example/a，谢谢', 'https://mall.example/a'],
    ['https://mall.example/aです', 'https://mall.example/a'],
    ['(https://mall.example/a)', 'https://mall.example/a'],
    ['(https://mall.example/a_(b))', 'https://mall.example/a_(b)'],
    ['{https://mall.example/a}', 'https://mall.example/a'],
    ['**https://mall.example/a**', 'https://mall.example/a'],
    ['[https://mall.example/a].', 'https://mall.example/a'],
    ['“https://mall.example/a”', 'https://mall.example/a'],
    ['<https://mall.example/a>', 'https://mall.example/a'],
    ['https://mall.example:8443/a, https://[::1]/b', 'https://mall.example:8443/a', 'https://[::1]/b'],
    ['https://한국.kr/에서', 'https://한국.kr/'],
    ['https://mall.example/a/?x=[1]', 'https://mall.example/a/?x=[1]'],
    ['https://ko.wikipedia.org/wiki/대한민국', 'https://ko.wikipedia.org/wiki/대한민국'],
    ['(https://ko.wikipedia.org/wiki/서울_(동음이의)#역사)를', 'https://ko.wikipedia.org/wiki/서울_(동음이의)#역사'],
    ['https://mall.example/?q=신발&page=2, 보세요', 'https://mall.example/?q=신발&page=2'],
    ['https://mall.example/shop/에서 https://mall.example/a/입니다.', 'https://mall.example/shop/', 'https://mall.example/a/'],
    ['请看https://mall.example/谢谢', 'https://mall.example/'],
    ['https://ja.wikipedia.org/wiki/サーバー', 'https://ja.wikipedia.org/wiki/サーバー'],
  ] as const) assert.deepEqual(linked(text), want, text);
});

test('mail addresses are links too', () => {
  assert.deepEqual(linked('jun.park+shop@mall.example으로, or (mina@mall.example).'),
    ['jun.park+shop@mall.example', 'mina@mall.example']);
  assert.equal(findLinks('jun@mall.example')[0]!.href, 'mailto:jun@mall.example');
});

test('what pretends or is nothing is no link', () => {
  for (const text of ['https://mall.example@evil.example/', 'https://a:b@evil.example', 'javascript:alert(1)', 'www.',
    'https://', 'a@b', 'xhttps://mall.example', 'file:///etc/passwd', '@mall.example', 'a@@mall.example']) {
    assert.deepEqual(linked(text), [], text);
  }
});

test('a host with foreign letters reads as it travels', () => {
  assert.equal(findLinks('https://p\u0430ypal.example/')[0]!.shown, 'https://xn--pypal-4ve.example/');
});
