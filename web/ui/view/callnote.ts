// SPDX-License-Identifier: GPL-3.0-or-later

// The words of a note: what happened to a call, and to whom.

import { bdi } from '../base/dom';
import { fullDate, t, tr, type Key } from '../base/i18n';
import { cleanLine, nameAmong } from '../base/text';
import type { Message, Participant } from '../wire/wire';

const known = new Set(['answered', 'declined', 'cancelled', 'unanswered', 'alarmed', 'gone', 'kept', 'refused']);

/**
 * noteWords says a note in the reader's language. It is about its sender: who
 * was called, or who cancelled. An old note has none; then it is about the
 * owner of the conversation, but for who cancelled, which nobody knows. What
 * was said with a decline follows on a line of its own.
 */
export function noteWords(m: Message, me: number, people: Iterable<Participant>,
  owner: number | undefined): (Node | string)[] {
  const all = [...people];
  const [what, ...rest] = m.text.split('\n');
  if (what === 'from') return origin(rest);
  if (what === 'about') return tr('note.about', { subject: bdi(cleanLine(rest.join(' ')) || t('mail.noSubject')) });
  if (what === 'rated') {
    return tr(`note.rated.${rest[0] === 'good' ? 'good' : 'bad'}${m.from === me ? '.you' : ''}`,
      { name: nameAmong(all.find((p) => p.id === m.from), all) });
  }
  if (!known.has(what!)) return [bdi(cleanLine(m.text))];
  if (!m.from && what === 'cancelled') return tr('note.cancelled.unknown');
  const about = m.from || owner;
  const key = `note.${what}${about && about === me ? '.you' : ''}` as Key;
  const said = tr(key, { name: nameAmong(all.find((p) => p.id === about), all) });
  const words = cleanLine(rest.join(' '));
  return words ? [...said, ': ', bdi(words)] : said;
}

/** origin says out of which older conversation a mail opened this one. */
function origin([at, subject]: string[]): (Node | string)[] {
  const date = fullDate(new Date(at ?? ''));
  return subject ? tr('note.fromSubject', { subject: bdi(cleanLine(subject)), date }) : tr('note.from', { date });
}
