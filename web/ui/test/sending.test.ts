// SPDX-License-Identifier: GPL-3.0-or-later

import './browser';
import assert from 'node:assert/strict';
import { mock, test } from 'node:test';

import { Outbox } from '../model/outbox';
import { Sending } from '../model/sending';

let rooms = 0;

/** open is a sending of its own, on a line that can be cut. */
function open() {
  mock.timers.enable({ apis: ['setTimeout'] });
  const line = { up: true, sent: [] as string[] };
  const s = new Sending((f) => {
    if (line.up && f.t === 'say') line.sent.push(f.text);
    return line.up;
  }, () => {});
  s.open('room' + ++rooms);
  return { s, line };
}

const ids = (s: Sending) => s.pending.map((p) => p.id);

test('a message stays in the outbox until it is acknowledged', () => {
  const { s, line } = open();
  assert(s.add('one'));
  assert.deepEqual(line.sent, ['one']);
  const [id] = ids(s);
  assert.equal(s.settle(id!)?.text, 'one');
  assert.equal(s.pending.length, 0);
  mock.timers.reset();
});

test('what was written without a connection goes out in order, eight at a time', () => {
  const { s, line } = open();
  line.up = false;
  for (let i = 0; i < 10; i++) s.add(String(i));
  assert.deepEqual(line.sent, []);
  line.up = true;
  s.flush();
  assert.equal(line.sent.join(''), '01234567');
  s.settle(ids(s)[0]!);
  s.flush();
  assert.equal(line.sent.join(''), '012345678');
  mock.timers.reset();
});

test('a lost connection sends again what was not acknowledged', () => {
  const { s, line } = open();
  s.add('one');
  s.lost();
  s.flush();
  assert.deepEqual(line.sent, ['one', 'one']);
  mock.timers.reset();
});

test('no answer within fifteen seconds is a failure, which can be sent again', () => {
  const { s, line } = open();
  s.add('one');
  mock.timers.tick(15_001);
  const [id] = ids(s);
  assert.equal(s.failed.has(id!), true);
  s.again(id!);
  assert.equal(s.failed.size, 0);
  assert.deepEqual(line.sent, ['one', 'one']);
  mock.timers.reset();
});

test('too fast is sent again by itself; refused is said', () => {
  const { s, line } = open();
  s.add('fast');
  s.add('bad');
  const [fast, bad] = ids(s);
  s.refused({ t: 'error', code: 'too-fast', id: fast!, wait: 2 });
  s.refused({ t: 'error', code: 'empty', id: bad! });
  assert.equal(s.failed.get(bad!), 'empty');
  mock.timers.tick(2001);
  assert.deepEqual(line.sent, ['fast', 'bad', 'fast']);
  mock.timers.reset();
});

test('a message that another tab took out of the common outbox is still one’s own', () => {
  const { s } = open();
  s.add('one');
  const [id] = ids(s);
  new Outbox('room' + rooms).remove(id!); // the other tab heard it first
  assert.equal(s.settle(id!)?.text, 'one');
  assert.equal(s.settle(id!), undefined);
  mock.timers.reset();
});

test('an outbox has its room only, and an end', () => {
  const [a, b] = [new Outbox('a'), new Outbox('b')];
  for (let i = 0; i < 200; i++) assert(a.add(String(i)));
  assert.equal(a.add('more'), null);
  assert(b.add('other'));
  assert.equal(new Outbox('a').all().length, 200, 'another tab has it too');
  assert.equal(b.remove('nothing'), undefined);
});

test('what was said past the server is kept, not sent again, until the relay has it or refuses it', () => {
  const { s, line } = open();
  s.add('one');
  const [id] = ids(s);
  s.hold(id!);
  s.lost();
  s.flush();
  assert.deepEqual(line.sent, ['one']);
  assert.deepEqual(ids(s), []); // it is shown where it was said
  s.release(id!);
  assert.deepEqual(line.sent, ['one', 'one']);
  assert.equal(s.settle(id!)?.text, 'one');
  mock.timers.reset();
});
