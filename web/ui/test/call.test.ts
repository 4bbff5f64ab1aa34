// SPDX-License-Identifier: GPL-3.0-or-later

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { answeredFor, arriving, type Call, type CallEvent, calling, callWait, noCall, step } from '../model/call';
import type { Attempt } from '../wire/wire';

const me = 1;
const at = 1_000_000;

const attempt = (state: Attempt['state'], more: Partial<Attempt> = {}): Attempt =>
  ({ id: 'one', state, caller: me, callee: 2, ring: 1, of: 3, on: true, started: '', ...more });
const state = (s: Attempt['state'], more: Partial<Attempt> = {}): CallEvent =>
  ({ type: 'state', attempt: attempt(s, more), me, at });
const run = (...events: CallEvent[]): Call => events.reduce(step, noCall);

test('a ring that is asked for counts until the relay says what came of it, or ten seconds', () => {
  const c = run({ type: 'ring', at });
  assert.equal(calling(c, at), true);
  assert.equal(calling(c, at + callWait), false);
  assert.equal(calling(step(c, state('ringing')), at), false);
});

test('a ring that was too often may be repeated later, and not before', () => {
  const c = run({ type: 'ring', at }, { type: 'refused', wait: 5000, at: at + 10 });
  assert.equal(c.waitUntil, at + 5010);
  assert.equal(calling(c, at + 20), false);
  assert.equal(step(c, { type: 'ring', at: at + 6000 }).waitUntil, 0);
  assert.equal(run({ type: 'refused', wait: 5000, at }).waitUntil, 0, 'about something else than a ring');
});

test('who has answered is on the way, until here or too late', () => {
  const c = run({ type: 'ring', at }, state('ringing'), state('answered'));
  assert.equal(arriving(c, at + 1), true);
  assert.equal(arriving(c, at + answeredFor), false);
  assert.equal(arriving(step(c, { type: 'people', calleeHere: true }), at + 1), false);
});

test('an attempt that was answered before one came in says nothing of now', () => {
  const welcome: CallEvent = { type: 'welcome', attempt: attempt('answered'), me, at };
  assert.equal(arriving(run(welcome), at + 1), false);
  assert.equal(arriving(run({ type: 'entry', attempt: 'one' }, welcome), at + 1), true, 'it began with the way in');
});

test('who left and is rung again has not been met since', () => {
  const c = run(state('answered'), { type: 'people', calleeHere: true }, { type: 'people', calleeHere: false });
  assert.equal(c.met, true);
  assert.equal(step(c, { type: 'ring', at }).met, false);
});

test('an attempt while the callee is here leaves nothing behind', () => {
  const c = run({ type: 'people', calleeHere: true }, { type: 'ring', at }, { type: 'people', calleeHere: false });
  assert.equal(calling(c, at), false);
});

test('the wish to be told goes on to the next attempt, and ends with the mail or the person', () => {
  const wished = run(state('unanswered'), { type: 'tell', on: true });
  assert.equal(wished.attempt!.tell, true);
  const again = [{ type: 'ring', at } as CallEvent, state('ringing', { id: 'two' }), state('alarmed', { id: 'two' })]
    .reduce(step, wished);
  assert.equal(again.asked, 'two');
  assert.equal(again.attempt!.tell, true);
  const told = [state('alarmed', { id: 'two', tell: true }), state('alarmed', { id: 'two' })].reduce(step, again);
  assert.equal(told.wish, false, 'the mail has gone out');
  assert.equal(step(again, { type: 'people', calleeHere: true }).wish, false);
});

test('whose attempt is another one’s does not ask to be told', () => {
  assert.equal(run({ type: 'tell', on: true }, state('unanswered', { caller: 3 })).asked, '');
});
