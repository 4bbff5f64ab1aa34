// SPDX-License-Identifier: GPL-3.0-or-later

// Finds web and mail addresses in what people write. An address ends where its
// letters end: what a sentence puts behind it, such as a Korean particle, a
// bracket or the stars of bold text, is not part of it.

import { marks } from './text';

export interface Found { at: number; length: number; href: string; shown: string }

// A host has letters of any script; but East Asian ones right behind ASCII are
// the next word. All else of an address is ASCII, as most browsers copy it, or
// an East Asian name behind a sign within the path, as /wiki/대한민국. Right
// behind the host, or as a particle alone, it is the next word again.
const eastAsian = '[\\p{sc=Hang}\\p{sc=Hani}\\p{sc=Hira}\\p{sc=Kana}ー]';
const letters = `(?:(?!${eastAsian})[\\p{L}\\p{N}\\p{M}-]|(?<![A-Za-z0-9-])${eastAsian})+`;
const host = `(?:\\[[0-9a-f:.]+\\]|${letters}(?:\\.${letters})*)`;
const ascii = "[\\w\\-.~:/?#[\\]@!$&'()*+,;=%]";
const particle = '(?:에서?|으?로|[를을은는이가와과도의]|입니다)';
const name = `(?<=[/=#_(:-])(?!${particle}(?!${eastAsian}))${eastAsian}+`;
const rest = `(?::\\d{1,5})?(?:[/?#](?:${ascii}+(?:${name}${ascii}*)*)?)?`;
const web = `(?<![A-Za-z0-9_@.])(?:https?://(?:[^\\s/?#@]*@)?|www\\.(?=[^\\s.]))${host}${rest}`;
const mail = '(?<![\\w%+@/-])\\w[\\w.%+-]*@(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\\.)+[a-z]{2,24}(?![\\w@-]|\\.\\w)';
const address = new RegExp(`${web}|${mail}`, 'giu');

const count = (s: string, c: string) => s.split(c).length - 1;

/** trim takes off the end what belongs to the sentence: punctuation, and brackets that were opened before. */
function trim(raw: string): string {
  for (;;) {
    const next = raw.replace(/[.,;:!?'*]+$/, '').replace(/~~$/, '');
    const unopened = next.endsWith(')') && count(next, '(') < count(next, ')')
      || next.endsWith(']') && count(next, '[') < count(next, ']');
    if (!unopened && next === raw) return raw;
    raw = unopened ? next.slice(0, -1) : next;
  }
}

/**
 * shown is how a link reads. A host with letters beyond ASCII is shown as it
 * travels (punycode), since a foreign letter can look like one of ours.
 */
function shown(raw: string, url: URL): string {
  return url.hostname.split('.').some((label) => label.startsWith('xn--')) ? url.href : raw.replace(marks, '');
}

/** findLinks returns the addresses of a text in their order. */
export function findLinks(text: string): Found[] {
  const found: Found[] = [];
  for (const m of text.matchAll(address)) {
    const byMail = !/^(?:https?:|www\.)/i.test(m[0]);
    const raw = byMail ? m[0] : trim(m[0]);
    let url: URL;
    try {
      url = new URL(byMail ? 'mailto:' + raw : /^www\./i.test(raw) ? 'https://' + raw : raw);
    } catch {
      continue;
    }
    // With a name before the host an address pretends to lead elsewhere.
    if (url.username || url.password) continue;
    found.push({ at: m.index, length: raw.length, href: url.href, shown: shown(raw, url) });
  }
  return found;
}
