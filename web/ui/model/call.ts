// SPDX-License-Identifier: GPL-3.0-or-later

// The call of a conversation, as a machine: what happens goes in, how things
// stand comes out. It knows no relay, no page and no clock; the times of events
// are in ms since 1970.

import type { Attempt } from '../wire/wire';

export const answeredFor = 15_000; // ms from "answered" until the person should be here
export const callWait = 10_000;    // ms until an attempt nobody heard of counts as not made

export interface Call {
  readonly attempt?: Attempt;
  readonly here: boolean;      // the callee is in the room
  readonly met: boolean;       // the callee was here while we were, since the last attempt
  readonly waitUntil: number;  // ringing again is too often before
  readonly calledAt: number;   // when the person rang last
  readonly answeredAt: number;
  readonly begun: string;      // the attempt that began while we were on the way in
  readonly stale: string;      // the attempt that was answered already when we were welcomed
  readonly wish: boolean;      // to be told when the callee is back, for the attempts to come too
  readonly asked: string;      // the attempt for which the wish was last sent
  readonly granted: string;    // the attempt for which the relay has taken it up
}

export const noCall: Call = {
  here: false, met: false, waitUntil: 0, calledAt: 0, answeredAt: 0, begun: '', stale: '', wish: false, asked: '',
  granted: '',
};

export type CallEvent =
  | { type: 'entry'; attempt: string | undefined }                 // a way in, and the attempt that began with it
  | { type: 'welcome'; attempt: Attempt | undefined; me: number; at: number }
  | { type: 'state'; attempt: Attempt | undefined; me: number; at: number }
  | { type: 'people'; calleeHere: boolean }
  | { type: 'ring'; at: number }                                   // the person rings
  | { type: 'refused'; wait: number; at: number }                  // that was too often; wait in ms
  | { type: 'tell'; on: boolean };                                 // the person wants to be told, or no longer

export function step(c: Call, e: CallEvent): Call {
  switch (e.type) {
    case 'entry':
      return { ...c, begun: e.attempt ?? c.begun };
    case 'welcome':
      if (e.attempt?.state !== 'answered' || e.attempt.id === c.begun) return progress(c, e.attempt, e.me, e.at);
      return progress({ ...c, stale: e.attempt.id }, e.attempt, e.me, e.at);
    case 'state':
      return progress(c, e.attempt, e.me, e.at);
    case 'people':
      // Who has come need not be told of; and an attempt while the callee was here came to nothing.
      if (e.calleeHere) return { ...c, here: true, met: true, wish: false };
      return c.here ? { ...c, here: false, calledAt: 0 } : c;
    case 'ring':
      if (c.here) return { ...c, waitUntil: 0, calledAt: e.at };
      return { ...c, waitUntil: 0, calledAt: e.at, met: false, answeredAt: 0, attempt: undefined };
    case 'refused':
      return e.at - c.calledAt > callWait ? c : { ...c, waitUntil: e.at + e.wait };
    case 'tell':
      return { ...c, wish: e.on, ...c.attempt && { attempt: { ...c.attempt, tell: e.on }, asked: c.attempt.id } };
  }
}

function progress(before: Call, a: Attempt | undefined, me: number, at: number): Call {
  const c: Call = { ...before, attempt: a };
  const answered = a?.state === 'answered' && a.id !== c.stale && before.attempt?.state !== 'answered';
  return remind(answered ? { ...c, answeredAt: at, met: c.here } : c, me);
}

/** remind asks again, for a new attempt without response, for what was asked for the one before. */
function remind(c: Call, me: number): Call {
  const a = c.attempt;
  if (!a || a.caller !== me) return c;
  if (a.tell) return { ...c, wish: true, granted: a.id };
  if (c.granted === a.id) return { ...c, wish: false }; // the mail has gone out
  const failed = a.state === 'unanswered' || a.state === 'alarmed';
  return c.wish && failed && c.asked !== a.id ? step(c, { type: 'tell', on: true }) : c;
}

/** calling: a ring was asked for, and the relay has not said yet what came of it. */
export const calling = (c: Call, at: number): boolean =>
  !c.attempt && at - c.calledAt < callWait && c.waitUntil < at;

/** arriving: answered, and on the way into the room. */
export const arriving = (c: Call, at: number): boolean =>
  c.attempt?.state === 'answered' && at - c.answeredAt < answeredFor && !c.met;
