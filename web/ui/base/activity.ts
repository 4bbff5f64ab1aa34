// SPDX-License-Identifier: GPL-3.0-or-later

// Whether somebody sits before this page: when they last pressed, typed or
// scrolled. A page that is merely visible says nothing of that.

import { after } from './time';

const idleAfter = 120_000; // ms without a press until nobody is there
const tellEvery = 3000;    // ms between two words of it

type Watcher = (here: boolean) => void;

const watchers = new Set<Watcher>();
let here = true;
let told = 0;
let pressed = 0;
let waits = false;

function press(): void {
  pressed = Date.now();
  if (here && pressed - told < tellEvery) return;
  here = true;
  told = pressed;
  for (const fn of watchers) fn(true);
  if (!waits) wait(idleAfter);
}

function wait(ms: number): void {
  waits = true;
  after(ms, () => {
    const left = pressed + idleAfter - Date.now();
    if (left > 0) return wait(left);
    waits = here = false;
    for (const fn of watchers) fn(false);
  });
}

/** atIt says whether somebody pressed something within two minutes. */
export const atIt = (): boolean => here;

/** watchActivity tells of presses, every few seconds at most, and when there was none for two minutes. */
export function watchActivity(fn: Watcher): () => void {
  if (!pressed) {
    for (const type of ['pointerdown', 'keydown', 'wheel', 'touchmove']) {
      addEventListener(type, press, { capture: true, passive: true });
    }
    press();
  }
  watchers.add(fn);
  return () => watchers.delete(fn);
}
