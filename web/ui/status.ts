// SPDX-License-Identifier: GPL-3.0-or-later

// The one line that says how things stand, and the sentence behind it.

import { list, moment, t, tr, type Key } from './i18n';
import type { Room } from './room';
import { nameOf } from './text';
import type { Attempt, Status } from './wire';

export interface Line {
  /** Chooses the colour of the dot; the words say the same. */
  mood: 'good' | 'busy' | 'quiet' | 'bad';
  nodes: (Node | string)[];
}

/** cardLine: before anything happened, whether the person is there. */
export function cardLine(s: Status): Line {
  if (s.state === 'available') return { mood: 'good', nodes: tr('status.available') };
  if (s.state === 'away') return { mood: 'busy', nodes: tr('status.away') };
  if (s.since) return { mood: 'quiet', nodes: tr('status.offSince', { time: moment(new Date(s.since)) }) };
  return { mood: 'quiet', nodes: tr('status.off') };
}

/** roomLine: in the room. Its first word is one of a fixed set (in English). */
export function roomLine(room: Room): Line {
  const name = nameOf(room.callee);
  if (room.phase === 'connecting') return { mood: 'busy', nodes: tr('status.connecting') };
  if (room.phase === 'lost') return { mood: 'busy', nodes: tr('status.reconnecting') };
  if (room.phase === 'closed') return { mood: 'quiet', nodes: tr('status.left') };

  const others = room.others.map(nameOf);
  if (room.amCallee || room.calleeHere) {
    if (others.length) return { mood: 'good', nodes: tr('status.connected', { names: list(others) }) };
    return { mood: 'quiet', nodes: tr(room.met ? 'status.allLeft' : 'status.nobody') };
  }
  const a = room.attempt;
  if (a?.state === 'ringing') {
    if (a.ring > 0) return { mood: 'busy', nodes: tr('status.ringing', { name, n: a.ring, of: a.of }) };
    return { mood: 'busy', nodes: tr('status.ringingFirst', { name }) };
  }
  if (a?.state === 'answered' && room.arriving) return { mood: 'busy', nodes: tr('status.answered', { name }) };
  if (a?.state === 'declined') return { mood: 'bad', nodes: tr('status.declined', { name }) };
  if (a?.state === 'unanswered') return { mood: 'quiet', nodes: tr('status.unanswered', { name }) };
  if (a?.state === 'alarmed') return { mood: 'quiet', nodes: tr('status.alerted', { name }) };
  if (others.length) return { mood: 'good', nodes: tr('status.connected', { names: list(others) }) };
  if (a?.state === 'cancelled') return { mood: 'quiet', nodes: tr('status.cancelled') };
  if (room.metCallee || a?.state === 'answered') return { mood: 'quiet', nodes: tr('status.calleeLeft', { name }) };
  if (room.called) return { mood: 'busy', nodes: tr('status.ringingFirst', { name }) };
  return room.status ? cardLine(room.status) : { mood: 'quiet', nodes: tr('status.nobody') };
}

/** outcome: one sentence on what was done, for the panel under the status. */
export function outcome(a: Attempt, name: string): (Node | string)[] {
  const time = moment(new Date(a.mailed ?? a.started));
  switch (a.state) {
    case 'unanswered': return tr('outcome.unanswered', { name });
    case 'alarmed':
      if (!a.mailed) return tr(a.on ? 'outcome.alarmedOnNoMail' : 'outcome.alarmedOffNoMail', { name });
      return tr(a.on ? 'outcome.alarmedOn' : 'outcome.alarmedOff', { name, time });
    case 'declined': return tr('outcome.declined', { name });
    case 'cancelled': return tr('outcome.cancelled', { name });
    default: return tr('outcome.left', { name });
  }
}

/** devices names what is being rung: "desk and computer". */
export function devices(a: Attempt): string {
  const known: Record<string, Key> = {
    desk: 'device.desk', agent: 'device.agent', phone: 'device.phone', terminal: 'device.terminal',
  };
  const words = (a.devices ?? []).map((d) => (known[d] ? t(known[d]) : d));
  return list([...new Set(words)]);
}
