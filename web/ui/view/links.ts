// SPDX-License-Identifier: GPL-3.0-or-later

// Web addresses in what people wrote, as links.

import { h } from '../base/dom';
import { marks } from '../base/text';

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
