// SPDX-License-Identifier: GPL-3.0-or-later

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { History } from '../model/history';
import type { Message } from '../wire/wire';

const said = (offset: number, more: Partial<Message> = {}): Message =>
  ({ offset, id: 'i' + offset, from: 1, at: '2026-01-01T00:00:00Z', kind: 'text', text: 't' + offset, ...more });
const texts = (h: History) => h.messages.map((m) => m.text).join(' ');

test('messages stand in their order, each once', () => {
  const h = new History();
  for (const offset of [1, 3, 2, 3, 1]) h.insert(said(offset));
  assert.equal(texts(h), 't1 t2 t3');
});

test('what may be claimed ends before the first gap', () => {
  const h = new History();
  h.insert(said(5));
  h.insert(said(7));
  assert.equal(h.last, 5);
  h.insert(said(6));
  assert.equal(h.last, 7);
});

test('an edit and a deletion change the message that they name, and are no lines', () => {
  const h = new History();
  h.insert(said(1));
  h.insert(said(2, { kind: 'edit', ref: 1, text: 'new', at: '2026-01-01T00:01:00Z' }));
  assert.equal(texts(h), 'new');
  assert.equal(h.messages[0]!.edited, '2026-01-01T00:01:00Z');
  const before = h.messages[0];
  h.insert(said(3, { kind: 'delete', ref: 1 }));
  assert.equal(h.messages[0]!.deleted, true);
  assert.equal(h.messages[0]!.text, '');
  assert(h.messages[0] !== before);
  assert.equal(h.last, 3);
});

test('a message that the relay does not keep gets a place behind the one whose offset it has', () => {
  const h = new History();
  h.insert(said(4));
  const offset = h.free(4);
  assert(offset > 4 && offset < 5);
  h.insert(said(offset, { text: 'lost' }));
  assert.equal(texts(h), 't4 lost');
  assert.equal(h.free(9), 9);
});

test('what was said past the server stands behind all else until the relay brings it', () => {
  const h = new History();
  h.insert(said(1));
  h.early(said(0, { id: 'a', text: 'a' }));
  h.early(said(0, { id: 'b', text: 'b', from: 2 }));
  h.early(said(0, { id: 'a', text: 'again' }));
  assert.equal(texts(h), 't1 a b');
  assert.equal(h.last, 1);
  h.insert(said(2, { id: 'a', text: 'a' }));
  h.insert(said(3, { id: 'b', text: 'b', from: 2 }));
  assert.equal(texts(h), 't1 a b');
  assert.deepEqual(h.messages.map((m) => m.offset), [1, 2, 3]);
});

test('a line that the relay refuses is taken back: with words about another person, without a trace of one\'s own', () => {
  const h = new History();
  h.insert(said(1));
  h.early(said(0, { id: 'a', from: 2, text: 'theirs' }));
  h.early(said(0, { id: 'b', text: 'mine' }));
  h.takeBack(2, 'a', true);
  h.takeBack(1, 'b', false);
  h.takeBack(1, 'i1', true); // the relay has it
  assert.deepEqual(h.messages.map((m) => [m.kind, m.text]), [['text', 't1'], ['note', 'refused']]);
});
