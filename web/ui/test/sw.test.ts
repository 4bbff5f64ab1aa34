// SPDX-License-Identifier: GPL-3.0-or-later

import assert from 'node:assert/strict';
import { test } from 'node:test';

type Notice = { title: string; tag: string; data: object; closed?: boolean };

const listeners = new Map<string, (ev: any) => void>();
const pages: { url: string; visibilityState: string }[] = [];
let shown: Notice[] = [];
const posted: string[] = [];

const registration = {
  getNotifications: async ({ tag }: { tag: string }) => shown.filter((n) => n.tag === tag)
    .map((n) => ({ ...n, close: () => { shown = shown.filter((x) => x !== n); } })),
  showNotification: async (title: string, n: Notice) => {
    shown = [...shown.filter((x) => x.tag !== n.tag), { ...n, title }];
  },
  pushManager: { getSubscription: async () => ({ endpoint: 'https://push.example/1' }) },
};
Object.assign(globalThis, {
  self: {
    registration, clients: { matchAll: async () => pages }, skipWaiting: async () => {},
    addEventListener: (type: string, fn: (ev: any) => void) => listeners.set(type, fn),
  },
  fetch: async (url: string, init: RequestInit) => {
    posted.push(`${url} ${init.body}`);
    return new Response('', { status: 204 });
  },
});

const notice = (kind: string, tag = 'ring-a1', title = kind) => ({ title, tag, data: { kind, room: 'r1', attempt: 'a1' } });

async function push(ev: object): Promise<void> {
  let done: Promise<unknown> = Promise.resolve();
  listeners.get('push')!({ waitUntil: (p: Promise<unknown>) => { done = p; }, ...ev });
  await done;
}

const declared = (n: object) => ({ data: { json: () => ({ web_push: 8030, mutable: true, notification: n }) } });
const titles = () => shown.map((n) => n.title).join();

test('the worker shows what a push contains', async () => {
  await import('../page/sw');
  await push(declared(notice('ring')));
  assert.equal(titles(), 'ring');
  assert.deepEqual(posted, ['/desk/push/shown {"endpoint":"https://push.example/1"}']);
  await push(declared(notice('message', 'r1')));
  assert.equal(titles(), 'ring,message', 'the ring keeps its buttons');
  await push(declared(notice('end', 'ring-a1', 'answered on another device')));
  assert.equal(titles(), 'message,answered on another device');
  assert.equal(posted.length, 2, 'an end is no news');

  shown = [];
  await push(declared(notice('end')));
  assert.equal(titles(), '', 'a ring that was dismissed has no end');
  await push({ data: null, notification: notice('alarm') });
  assert.equal(titles(), 'alarm', 'Safari has read it already');
  for (const wrong of [{ data: null }, declared({ title: 'x' }), { data: { json: () => { throw new Error('no JSON'); } } }]) {
    await push(wrong);
  }
  assert.equal(titles(), 'alarm');
});

test('before a desk that is looked at nothing shows but a test', async () => {
  shown = [];
  pages.push({ url: 'https://chat.mall.example/desk', visibilityState: 'visible' });
  await push(declared(notice('ring')));
  assert.equal(titles(), '');
  await push(declared(notice('test', 'test')));
  assert.equal(titles(), 'test');
  await registration.showNotification('ring', notice('ring'));
  await push(declared(notice('end')));
  assert.equal(titles(), 'test', 'the ring goes');
});
