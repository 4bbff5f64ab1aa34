// SPDX-License-Identifier: GPL-3.0-or-later

import './browser';
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { holdOpen, isOpen } from '../model/opentab';

test('a conversation is open while a tab holds it', async () => {
  const held: { name: string }[] = [];
  Object.defineProperty(globalThis, 'navigator', { configurable: true, value: { locks: {
    request: async (name: string, _: object, until: () => Promise<void>) => {
      const lock = { name };
      held.push(lock);
      await until();
      held.splice(held.indexOf(lock), 1);
    },
    query: async () => ({ held }),
  } } });
  assert.equal(await isOpen('a'), false);
  const release = holdOpen('a');
  assert.equal(await isOpen('a'), true);
  assert.equal(await isOpen('b'), false);
  release();
  await new Promise((done) => setTimeout(done));
  assert.equal(await isOpen('a'), false);
  Object.defineProperty(globalThis, 'navigator', { configurable: true, value: {} });
  assert.equal(await isOpen('a'), false);
  holdOpen('a')();
});
