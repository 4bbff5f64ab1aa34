// SPDX-License-Identifier: GPL-3.0-or-later

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { handedTo, Rooms } from '../model/rooms';
import type { Summary } from '../wire/wire';

const room = (id: string, touched: string, more: Partial<Summary> = {}) =>
  ({ id, touched, talked: true, unread: 0, participants: [], ...more }) as unknown as Summary;
const missed = (count: number) => ({ count, attempt: 'A', from: 2, at: '' });
const ids = (rooms: Rooms, keep = '') => rooms.shown(keep).map((r) => r.id).join('');

function desk(looking = '') {
  const rooms = new Rooms('host@mall.example', (id) => id === looking);
  rooms.page('chats', [room('b', '2'), room('a', '1')], true, true, rooms.now);
  return rooms;
}

test('a list is newest first, and goes on where it ended', () => {
  const rooms = desk();
  assert.equal(ids(rooms), 'ba');
  assert.equal(rooms.next, '1');
  rooms.page('chats', [room('0', '0')], false, false, rooms.now);
  assert.equal(ids(rooms), 'ba0');
  assert.equal(rooms.next, undefined);
});

test('what the relay tells goes to its place', () => {
  const rooms = desk();
  rooms.tell('a', room('a', '3'));
  rooms.tell('m', room('m', '4', { talked: false }));
  assert.equal(ids(rooms), 'ab');
  rooms.list = 'mails';
  assert.equal(ids(rooms), 'm');
  rooms.tell('m', undefined);
  assert.equal(ids(rooms), '');
});

test('an answer is older than what the relay told while it was on its way', () => {
  const rooms = desk();
  const asked = rooms.now;
  rooms.tell('b', room('b', '3', { unread: 1 }));
  rooms.tell('c', room('c', '4'));
  rooms.page('chats', [room('b', '2'), room('a', '1')], true, true, asked);
  assert.equal(ids(rooms), 'cba');
  assert.equal(rooms.unread(), 1);
});

test('what is no more among the newest of a list is not in it', () => {
  const rooms = desk();
  rooms.page('chats', [room('a', '1')], true, true, rooms.now);
  assert.equal(ids(rooms), 'a');
});

test('only new unread messages call for attention, once, and not before one’s eyes or muted', () => {
  const rooms = desk('a');
  assert.equal(rooms.tell('b', room('b', '3', { unread: 1 })), true);
  assert.equal(rooms.tell('b', room('b', '3', { unread: 1 })), false);
  assert.equal(rooms.tell('b', room('b', '3', { unread: 2, muted: true })), false);
  assert.equal(rooms.tell('a', room('a', '4', { unread: 1 })), false);
  assert.equal(rooms.unread(), 0);
  assert.deepEqual(rooms.page('mails', [room('m', '1', { unread: 1 })], false, true, rooms.now), []);
});

test('missed calls are counted, and are dismissed one room at a time or all', () => {
  const rooms = desk();
  rooms.tell('b', room('b', '3', { missed: missed(2) }));
  rooms.page('missed', [room('old', '0', { missed: missed(10) }), room('b', '3', { missed: missed(2) })], false, true,
    rooms.now);
  assert.equal(rooms.missed(), 12);
  rooms.list = 'missed';
  assert.equal(ids(rooms), 'bold');
  rooms.dismiss('old');
  assert.equal(ids(rooms), 'b');
  rooms.dismiss('');
  assert.equal(rooms.missed(), 0);
  assert.equal(ids(rooms, 'b'), 'b'); // while it is open
});

test('rooms of a group are in the lists of who looks after them', () => {
  const rooms = desk();
  const team = (assignee?: string) => ({ teams: [{ group: 'sales@mall.example', assignee }] });
  rooms.tell('m', room('m', '6', team('host@mall.example')));
  rooms.tell('u', room('u', '5', team()));
  rooms.tell('c', room('c', '4', team('friend@mall.example')));
  for (const [list, want] of [['chats', 'muba'], ['mine', 'mba'], ['unassigned', 'u'], ['all', 'mucba']] as const) {
    rooms.list = list;
    assert.equal(ids(rooms), want, list);
  }
});

test('a room is handed over when it becomes one\'s own to look after', () => {
  const room = (assignee?: string) => ({ id: 'r', teams: [{ group: 'sales@mall.example', assignee }] }) as unknown as Summary;
  assert(handedTo('mina', room('joon'), room('mina')));
  assert(handedTo('mina', room(), room('mina')));
  assert(handedTo('mina', undefined, room('mina')));
  assert(!handedTo('mina', room('mina'), room('mina')));
  assert(!handedTo('mina', room('mina'), room('joon')));
  assert(!handedTo('mina', room('joon'), room()));
});
