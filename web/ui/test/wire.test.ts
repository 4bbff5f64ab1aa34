// SPDX-License-Identifier: GPL-3.0-or-later

import { FakeSocket } from './browser';
import assert from 'node:assert/strict';
import { mock, test } from 'node:test';

import { ApiError } from '../base/errors';
import { Connection } from '../wire/connection';
import { parse, split, varint } from '../wire/parse';
import type { RelayFrame } from '../wire/wire';

test('lengths are written as they are read', () => {
  for (const n of [0, 1, 63, 64, 16383, 16384, 65536]) {
    const body = new Uint8Array(n).fill(7);
    const got: number[] = [];
    const rest = split(Uint8Array.of(...varint(n), ...body, 1), (b) => got.push(b.length));
    assert.deepEqual(got, [n]);
    assert.equal(rest.length, 1);
  }
});

test('frames that come in pieces are taken when they are whole', () => {
  const whole = Uint8Array.of(...varint(3), 1, 2, 3, ...varint(100), ...new Uint8Array(100).fill(9));
  for (const cut of [0, 1, 2, 4, 5, 6, 50, whole.length - 1]) {
    const got: number[] = [];
    let rest: Uint8Array = new Uint8Array(0);
    for (const piece of [whole.subarray(0, cut), whole.subarray(cut)]) {
      rest = split(Uint8Array.of(...rest, ...piece), (b) => got.push(b.length)).slice();
    }
    assert.deepEqual(got, [3, 100], String(cut));
    assert.equal(rest.length, 0);
  }
});

test('a frame of more than a megabyte ends the connection', () => {
  assert.throws(() => split(varint((1 << 20) + 1), () => {}), /too many/);
  assert.throws(() => split(Uint8Array.of(0xff, 255, 255, 255, 255, 255, 255, 255), () => {}), /too many/);
});

test('what is no frame is not taken for one', () => {
  for (const text of ['', 'null', '1', '[]', '{', '{"t":1}', '{"t":"nonsense"}', '{"t":"toString"}', '{"t":"msg"}',
    '{"t":"msg","msg":null}', '{"t":"seen","from":"1","offset":2}', '{"t":"moved","endpoints":"here"}']) {
    assert.equal(parse(text), undefined, text);
  }
  assert.equal(parse('{"t":"pong"}')?.t, 'pong');
  assert.equal(parse('{"t":"error","code":"store","newer":[1]}')?.t, 'error');
});

test('a lost connection comes back by the ways that it knows, with its ticket', async () => {
  let doors = 0;
  const frames: RelayFrame[] = [];
  const c = new Connection({
    enter: async () => ({ endpoints: [{ carrier: 'websocket', url: 'ws://door' }], ticket: 't' + ++doors }),
    hello: (ticket) => ({ t: 'hello', ticket }),
    frame: (f) => frames.push(f), phase: () => {}, over: () => {},
  });
  try {
    await comesBack(c, frames, () => doors);
  } finally {
    c.stop();
  }
});

async function comesBack(c: Connection, frames: RelayFrame[], doors: () => number): Promise<void> {
  const turns = async () => { for (let i = 0; i < 20; i++) await null; };
  await turns();
  const [first] = FakeSocket.all;
  assert.equal(first!.url, 'ws://door');
  first!.open();
  await turns();
  assert.deepEqual(first!.sent, [{ t: 'hello', ticket: 't1' }]);
  first!.hears({ t: 'welcome', at: '2026-01-01T00:00:00Z', ticket: 'back', peers: ['ws://peer'] });
  await turns();
  assert.equal(frames[0]!.t, 'welcome');
  assert.equal(c.send({ t: 'typing' }), true);

  first!.close();
  await turns();
  const more = FakeSocket.all.slice(1);
  assert.deepEqual(more.map((s) => s.url).sort(), ['ws://door', 'ws://peer']);
  assert.equal(doors(), 1, 'the front door is not asked at once');
  const peer = more.find((s) => s.url === 'ws://peer')!;
  peer.open();
  await turns();
  assert.deepEqual(peer.sent, [{ t: 'hello', ticket: 'back' }]);
  peer.hears({ t: 'welcome', at: '2026-01-01T00:00:00Z' });
  await turns();
  assert.equal(more.find((s) => s !== peer)!.readyState, 3, 'the other try is over');

  peer.hears({ t: 'moved', endpoints: [{ carrier: 'websocket', url: 'ws://third' }], ticket: 'there' });
  await turns();
  assert(FakeSocket.all.some((s) => s.url === 'ws://third'));
}

test('a browser that keeps no cookies comes back with its ticket, while that is fresh', async () => {
  mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'] });
  const turns = async () => { for (let i = 0; i < 20; i++) await null; };
  const before = FakeSocket.all.length;
  const ends: unknown[] = [];
  let doors = 0;
  const c = new Connection({
    enter: async () => {
      if (doors++) throw new ApiError(403, 'claim', {}, 0);
      return { endpoints: [{ carrier: 'websocket', url: 'ws://door' }], ticket: 't' };
    },
    hello: (ticket) => ({ t: 'hello', ticket }), frame: () => {}, phase: () => {}, over: (why) => ends.push(why),
  });
  try {
    await turns();
    const first = FakeSocket.all[before]!;
    first.open();
    await turns();
    first.hears({ t: 'welcome', at: '2026-01-01T00:00:00Z', ticket: 'back' });
    await turns();
    first.close();
    await turns();
    mock.timers.tick(1000);
    await turns();
    assert.equal(doors, 2, 'the front door is asked, and refuses');
    assert.deepEqual(ends, []);
    mock.timers.tick(600_000);
    for (let i = 0; i < 3; i++) {
      await turns();
      mock.timers.tick(20_000);
    }
    await turns();
    assert.equal(ends.length, 1, 'the ticket is too old');
  } finally {
    c.stop();
    mock.timers.reset();
  }
});
