// SPDX-License-Identifier: GPL-3.0-or-later

import './browser';
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { browserID, PushKeeper, removeHere, subscribe } from '../wire/push';

/** A browser's subscription; undefined while there is none. */
let sub: { endpoint: string } | undefined;
let made = 0;
const asked: string[] = [];

const pushManager = {
  getSubscription: async () => sub && {
    ...sub, options: {}, toJSON: () => sub, unsubscribe: async () => { sub = undefined; },
  },
  subscribe: async () => {
    sub = { endpoint: 'https://push.example/' + ++made };
    return pushManager.getSubscription();
  },
};
const worker = { pushManager };
Object.assign(navigator, { serviceWorker: { register: async () => worker, ready: Promise.resolve(worker) } });
Object.assign(globalThis, {
  fetch: async (url: string, init: RequestInit) => {
    asked.push(`${init.method} ${url}`);
    return new Response(url.endsWith('/key') ? '{"key":"BKey"}' : '', { status: 200 });
  },
});
const posts = () => asked.filter((a) => a === 'POST /desk/push').length;

test('a browser is subscribed when that is wanted, and anew when the subscription is gone', async () => {
  const keeper = new PushKeeper();
  assert.equal(await keeper.keep(false), 'off');
  assert.equal(posts(), 0);
  assert.equal(await keeper.keep(true), 'on');
  assert.equal(await keeper.keep(true), 'on');
  assert.equal(posts(), 1, 'the server is told once');
  sub = undefined; // the browser has ended it
  assert.equal(await keeper.keep(true), 'on');
  assert.equal(sub!.endpoint, 'https://push.example/2');
  assert.equal(posts(), 2);
  await new PushKeeper().keep(true); // the page is loaded again
  assert.equal(posts(), 3);
});

test('a browser that was removed comes back only by a press', async () => {
  await removeHere();
  assert.equal(sub, undefined);
  assert(asked.includes('DELETE /desk/push'));
  assert.equal(await new PushKeeper().keep(true), 'off');
  assert.equal(sub, undefined);
  await subscribe();
  assert.equal(await new PushKeeper().keep(true), 'on');
});

test('a browser is called as the server calls it', async () => {
  sub = { endpoint: 'https://push.example/x' };
  assert.equal(await browserID(), '6f531242b783a6b72ce859dfa971f07a');
  sub = undefined;
  assert.equal(await browserID(), '');
});
