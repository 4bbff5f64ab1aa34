// SPDX-License-Identifier: GPL-3.0-or-later

import './browser';
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { h } from '../base/dom';
import { noCall, step, type CallEvent } from '../model/call';
import type { Room } from '../model/room';
import { cardLine, outcome, roomLine, type Words } from '../model/status';
import type { Attempt } from '../wire/wire';

const say = (words: Words) => h('p', null, words).textContent;

const callee = { id: 2, addr: 'mina@mall.example', name: 'Mina' };
const attempt = (state: Attempt['state'], more: Partial<Attempt> = {}): Attempt =>
  ({ id: 'one', state, caller: 1, callee: 2, ring: 1, of: 3, on: true, started: '', ...more });

/** line is the status of a room in which this has happened. */
function line(events: CallEvent[], more: object = {}) {
  const room = {
    phase: 'open', callee, amCallee: false, calleeHere: false, others: [], met: false, call: events.reduce(step, noCall),
    people: new Map([[2, callee]]), name: (p?: { name: string }) => p?.name ?? '?', arriving: false, calling: false, ...more,
  };
  return say(roomLine(room as unknown as Room).nodes);
}

const state = (s: Attempt['state'], more: Partial<Attempt> = {}): CallEvent =>
  ({ type: 'state', attempt: attempt(s, more), me: 1, at: 0 });

test('each way a call can go has its leading word', () => {
  for (const [first, got] of [
    ['Connecting', line([], { phase: 'connecting' })],
    ['Ringing', line([state('ringing')])],
    ['Ringing', line([state('ringing', { busy: true })])],
    ['Ringing', line([], { calling: true })],
    ['Connecting', line([state('busy')])],
    ['Connecting', line([state('answered')], { arriving: true })],
    ['Connected', line([state('answered')], { calleeHere: true, others: [callee] })],
    ['Declined', line([state('declined')])],
    ['No answer', line([state('unanswered')])],
    ['Alerted', line([state('alarmed')])],
    ['Ended', line([state('cancelled')])],
    ['Ended – your connection', line([state('cancelled', { why: 'gone' })])],
    ['Ended', line([{ type: 'people', calleeHere: true }, { type: 'people', calleeHere: false }])],
    ['Ended', line([], { phase: 'closed' })],
  ] as const) assert(got!.startsWith(first), `${got} begins with ${first}`);
});

test('the card says whether somebody is there', () => {
  const card = (s: Parameters<typeof cardLine>[0]) => say(cardLine(s).nodes)!;
  assert(card({ state: 'available' }).startsWith('Available'));
  for (const off of ['off', 'closed'] as const) assert(card({ state: off }).startsWith('Off'));
  for (const away of ['away', 'dnd', 'quiet'] as const) assert(card({ state: away }).startsWith('Away'));
  assert(card({ state: 'away', back: 5 }).includes('5 minutes'));
});

test('what was done when nobody answered is said once', () => {
  const at = new Date().toISOString();
  for (const [sent, word] of [[{ mailed: at }, 'mailed'], [{ pushed: at }, 'notification']] as const) {
    assert(say(outcome(attempt('alarmed', { on: false, ...sent }), 'Mina')!)!.toLowerCase().includes(word));
  }
});
