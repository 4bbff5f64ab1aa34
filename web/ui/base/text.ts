// SPDX-License-Identifier: GPL-3.0-or-later

// What other people wrote, made harmless and readable.

import { t } from './i18n';
import type { Person } from '../wire/wire';

// C0 and C1 controls but tab and line feed, the two overrides that turn the
// order of letters around, characters without width that hide in words, and
// halves of surrogate pairs.
const controls = new RegExp([
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b\u202d\u202e\u2060-\u2064\ufeff]/,
  /[\ud800-\udbff](?![\udc00-\udfff])/, // half a pair of UTF-16
  /(?<![\ud800-\udbff])[\udc00-\udfff]/,
].map((part) => part.source).join("|"), "g");
// In one-line text every bidirectional control goes, so that a name cannot
// reach beyond itself.
export const marks = /[\u200e\u200f\u202a-\u202e\u2066-\u2069\u061c]/g;

/** cleanText keeps line breaks. */
export const cleanText = (s: string) => s.replace(/\r\n?/g, '\n').replace(controls, '');

/** cleanLine is for names and subjects: one line, of bounded length. */
export function cleanLine(s: string, most = 200): string {
  const line = cleanText(s).replace(marks, '').replace(/\s+/g, ' ').trim();
  return line.length > most ? line.slice(0, most - 1) + '…' : line;
}

/** nameOf falls back to the address. */
export function nameOf(p: Person | undefined): string {
  if (!p) return '?';
  return cleanLine(p.name ?? '') || cleanLine(p.addr) || '?';
}

/** nameAmong adds the address where another of them goes by the same name. */
export function nameAmong(p: Person | undefined, all: Iterable<Person>): string {
  const name = nameOf(p);
  const same = (x: Person) => nameOf(x).normalize('NFKC').toLowerCase() === name.normalize('NFKC').toLowerCase();
  return p?.addr && [...all].some((x) => x.addr !== p.addr && same(x)) ? `${name} (${cleanLine(p.addr)})` : name;
}

/** fileName is one line, and keeps its end, which says what kind of file it is. No letter or emoji is cut in two. */
export function fileName(name: string): string {
  const line = cleanLine(name, 1000) || t('file.unnamed');
  const letters = [...new Intl.Segmenter().segment(line)].map((x) => x.segment);
  return letters.length > 60 ? [...letters.slice(0, 40), '…', ...letters.slice(-16)].join('') : line;
}
