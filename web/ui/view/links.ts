// SPDX-License-Identifier: GPL-3.0-or-later

// Addresses in what people wrote, as links.

import { h } from '../base/dom';
import { findLinks } from '../base/links';

/** linkify turns web and mail addresses into links, and nothing else. */
export function linkify(text: string): (Node | string)[] {
  const out: (Node | string)[] = [];
  let at = 0;
  for (const f of findLinks(text)) {
    out.push(text.slice(at, f.at), h('a', {
      href: f.href, target: '_blank', rel: 'noopener noreferrer nofollow', dir: 'ltr',
    }, f.shown));
    at = f.at + f.length;
  }
  out.push(text.slice(at));
  return out;
}
