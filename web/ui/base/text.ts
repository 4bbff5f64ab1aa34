// SPDX-License-Identifier: GPL-3.0-or-later

// What other people wrote, made harmless and readable.

import { h } from './dom';
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
const marks = /[\u200e\u200f\u202a-\u202e\u2066-\u2069\u061c]/g;

/** cleanText keeps line breaks. */
export const cleanText = (s: string) => s.replace(/\r\n?/g, '\n').replace(controls, '');

/** cleanLine is for names and subjects: one line, at most 200 characters. */
export function cleanLine(s: string): string {
  const line = cleanText(s).replace(marks, '').replace(/\s+/g, ' ').trim();
  return line.length > 200 ? line.slice(0, 199) + '…' : line;
}

/** breakable lets a line break after the @ of an address. */
export function breakable(s: string): (Node | string)[] {
  return s.split(/(?<=@)/).flatMap((part, i) => (i ? [h('wbr'), part] : [part]));
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

function initials(name: string): string {
  const found = name.split('@')[0]!.match(/[\p{L}\p{N}]+/gu) ?? [];
  const first = found[0] ?? '?';
  // A Hangul or Han name is known by its last two syllables, others by two initials.
  if (/^[\p{Script=Hangul}\p{Script=Han}]+$/u.test(first)) return [...first].slice(-2).join('');
  const last = found.length > 1 ? found[found.length - 1]! : '';
  return ([...first][0]! + ([...last][0] ?? '')).toUpperCase();
}

/** avatar shows initials on one of eight colours, the same for an address everywhere. */
export function avatar(p: Person | undefined, size = ''): HTMLElement {
  let hash = 0;
  for (const c of p?.addr || p?.name || '') hash = (hash * 31 + c.codePointAt(0)!) >>> 0;
  return h('span', { class: `avatar hue${hash % 8} ${size}`, 'aria-hidden': 'true' }, initials(nameOf(p)));
}

const address = /\b(?:https?:\/\/|www\.)[^\s<>"'`\u3000-\u303f\uff00-\uffef]+/gi;

/**
 * shown is how a link reads. A host with letters beyond ASCII is shown as it
 * travels (punycode), since a foreign letter can look like one of ours.
 */
function shown(raw: string, url: URL): string {
  const plain = raw.replace(marks, '');
  return url.hostname.split('.').some((label) => label.startsWith('xn--')) ? url.href : plain;
}

/** linkify turns web addresses into links, and nothing else. */
export function linkify(text: string): (Node | string)[] {
  const out: (Node | string)[] = [];
  let at = 0;
  for (const m of text.matchAll(address)) {
    // Punctuation at the end belongs to the sentence, as does a bracket that was opened before.
    let raw = m[0].replace(/[.,;:!?…]+$/, '');
    if (raw.endsWith(')') && !raw.includes('(')) raw = raw.slice(0, -1);
    let url: URL;
    try {
      url = new URL(/^www\./i.test(raw) ? 'https://' + raw : raw);
    } catch {
      continue;
    }
    // With a name before the host an address pretends to lead elsewhere.
    if (url.username || url.password) continue;
    out.push(text.slice(at, m.index));
    out.push(h('a', { href: url.href, target: '_blank', rel: 'noopener noreferrer nofollow', dir: 'ltr' },
      shown(raw, url)));
    at = m.index + raw.length;
  }
  out.push(text.slice(at));
  return out;
}
