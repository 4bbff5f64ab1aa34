// SPDX-License-Identifier: GPL-3.0-or-later

// Whom one sees: initials in a circle, and addresses that break where they may.

import { h } from '../base/dom';
import { nameOf } from '../base/text';
import type { Person } from '../wire/wire';

function initials(name: string): string {
  const found = name.split('@')[0]!.match(/[\p{L}\p{N}]+/gu) ?? [];
  const first = found[0] ?? '?';
  // A Hangul or Han name is known by its last two syllables, others by two initials.
  if (/^[\p{Script=Hangul}\p{Script=Han}]+$/u.test(first)) return [...first].slice(-2).join('');
  const last = found.length > 1 ? found[found.length - 1]! : '';
  return ([...first][0]! + ([...last][0] ?? '')).toUpperCase();
}

/**
 * avatar shows initials on one of eight colours. Those of a room have IDs that follow one another, and so different
 * colours; of others the address says which.
 */
export function avatar(p: Person & { id?: number } | undefined, size = ''): HTMLElement {
  let hash = p?.id ?? 0;
  if (!hash) for (const c of p?.addr || p?.name || '') hash = (hash * 31 + c.codePointAt(0)!) >>> 0;
  return h('span', { class: `avatar hue${hash % 8} ${size}`, 'aria-hidden': 'true' }, initials(nameOf(p)));
}

/** breakable lets a line break after the @ of an address. */
export function breakable(s: string): (Node | string)[] {
  return s.split(/(?<=@)/).flatMap((part, i) => (i ? [h('wbr'), part] : [part]));
}

