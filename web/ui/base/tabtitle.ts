// SPDX-License-Identifier: GPL-3.0-or-later

// The title and the icon of the tab: what page this is, how much waits on it,
// and who rings. Nothing else writes either.

import { badge } from './badge';
import { every } from './time';

const flash = 1000; // ms

let page = '';
let waiting = 0;
let ringing = '';
let alternate = false;
let stop = () => {};

function draw(): void {
  document.title = ringing && !alternate ? ringing : page;
  badge(ringing ? Math.max(1, waiting) : waiting);
}

/** tabTitle names the page; count is how much on it has not been seen. */
export function tabTitle(words: string, count = 0): void {
  [page, waiting] = [words, count];
  draw();
}

/** tabRings shows who rings, in turn with the page's own title; with '' nobody does any more. */
export function tabRings(words: string): void {
  stop();
  stop = () => {};
  [ringing, alternate] = [words, false];
  draw();
  if (!words || matchMedia('(prefers-reduced-motion: reduce)').matches) return;
  stop = every(flash, () => {
    alternate = !alternate;
    draw();
  });
}
