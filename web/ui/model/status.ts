// SPDX-License-Identifier: GPL-3.0-or-later

// The one line that says how things stand, and the sentence behind it.

import { type Key, list, moment, people, span, t, tr } from '../base/i18n';
import { nameOf } from '../base/text';
import type { Room } from './room';
import type { Attempt, Person, Status } from '../wire/wire';

export type Words = (Node | string)[];

export interface Line {
  /** Chooses the colour of the dot; the words say the same. */
  mood: 'good' | 'busy' | 'quiet' | 'bad';
  nodes: Words;
}

/** cardLine: before anything happened, whether the person is there. */
export function cardLine(s: Status, waiting: Person[] = []): Line {
  if (waiting.length) return { mood: 'good', nodes: tr('status.waiting', { names: people(waiting.map(nameOf)) }) };
  if (s.state === 'available') return { mood: 'good', nodes: tr(s.busy ? 'status.availableBusy' : 'status.available') };
  const mood = s.state === 'off' || s.state === 'closed' ? 'quiet' : 'busy';
  const bound = s.state === 'off' ? s.since : s.until;
  const key: Key = s.state === 'off' ? (bound ? 'status.offSince' : 'status.off')
    : bound ? `status.${s.state}Until` : `status.${s.state}`;
  const nodes = tr(key, bound ? { time: moment(new Date(bound)) } : {});
  if (s.back) nodes.push(...tr('status.back', { time: span(s.back) }));
  return { mood, nodes };
}

/** roomLine: in the room. Its first word is one of a fixed set (in English). */
export function roomLine(room: Room): Line {
  const name = nameOf(room.callee);
  if (room.phase === 'connecting') return { mood: 'busy', nodes: tr('status.connecting') };
  if (room.phase === 'lost' && room.why === 'blocked') return { mood: 'bad', nodes: tr('status.blocked') };
  if (room.phase === 'lost') return { mood: 'busy', nodes: tr('status.reconnecting') };
  if (room.phase === 'closed') return { mood: 'quiet', nodes: tr('status.left') };

  const others = room.others.map((p) =>
    (p.proven || p.guest ? room.name(p) : t('people.byLink', { name: room.name(p) })));
  if (room.amCallee || room.calleeHere) {
    if (others.length) return connected(room, others);
    return { mood: 'quiet', nodes: tr(room.met ? 'status.allLeft' : 'status.nobody') };
  }
  const a = room.call.attempt;
  switch (a?.state) {
    case 'ringing':
      if (a.busy) return { mood: 'busy', nodes: tr('status.ringingBusy', { name }) };
      if (a.ring > 0) return { mood: 'busy', nodes: tr('status.ringing', { name }) };
      return { mood: 'busy', nodes: tr('status.ringingFirst', { name }) };
    case 'busy': return { mood: 'busy', nodes: tr('status.busy', { name }) };
    case 'declined': return { mood: 'bad', nodes: tr('status.declined', { name }) };
    case 'unanswered': return { mood: 'quiet', nodes: tr('status.unanswered', { name }) };
    case 'alarmed': return { mood: 'quiet', nodes: tr('status.alerted', { name }) };
    case 'answered':
      if (room.arriving) {
        return {
          mood: 'busy', nodes: tr('status.answered', { name: room.name(room.people.get(a.by ?? 0) ?? room.callee) }),
        };
      }
  }
  if (others.length) return connected(room, others);
  if (a?.state === 'cancelled') {
    return { mood: 'quiet', nodes: tr(a.why === 'gone' ? 'status.wasGone' : 'status.cancelled') };
  }
  if (room.call.met || a?.state === 'answered') return { mood: 'quiet', nodes: tr('status.calleeLeft', { name }) };
  if (room.calling) return { mood: 'busy', nodes: tr('status.ringingFirst', { name }) };
  return room.status ? cardLine(room.status) : { mood: 'quiet', nodes: tr('status.nobody') };
}

function connected(room: Room, others: string[]): Line {
  const nodes = tr('status.connected', { names: people(others) });
  if (room.isKept) {
    nodes.push('. ', ...(room.amCallee ? tr('past.keptHere') : tr('past.kept', { name: room.name(room.callee) })));
  }
  return { mood: 'good', nodes };
}

/** outcome says what the status does not: why nobody answered, and what was done about it. */
export function outcome(a: Attempt, name: string, status?: Status): Words | undefined {
  switch (a.state) {
    case 'declined':
    case 'cancelled': return undefined;
    case 'busy': return tr('outcome.busyNow', { name });
    case 'unanswered':
    case 'alarmed': {
      const why = (a.why as Exclude<Attempt['why'], 'gone'>) || (a.on ? 'rang' : 'off');
      const words = [...tr(`outcome.${why}`, { name }), ' ', ...raised(a, name)];
      if (status?.back && status.state !== 'available') {
        words.push(' ', ...tr('outcome.usually', { time: span(status.back) }));
      }
      return words;
    }
    default: return tr('outcome.left', { name });
  }
}

/** raised: which alarm went out, and when. */
function raised(a: Attempt, name: string): Words {
  const mail = a.mailed && moment(new Date(a.mailed));
  const push = a.pushed && moment(new Date(a.pushed));
  if (mail && push) return mail === push ? tr('raised.both', { time: mail }) : tr('raised.each', { mail, push });
  if (mail) return tr('raised.mail', { time: mail });
  if (push) return tr('raised.push', { time: push });
  return tr('raised.desk', { name });
}

/** devices names what is being rung: "desk and computer". */
export function devices(a: Attempt): string {
  const known: Record<string, Key> = {
    desk: 'device.desk', agent: 'device.agent', phone: 'device.phone', terminal: 'device.terminal', push: 'device.push',
  };
  const words = (a.devices ?? []).map((d) => (known[d] ? t(known[d]) : d));
  return list([...new Set(words)]);
}
