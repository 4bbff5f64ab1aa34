// SPDX-License-Identifier: GPL-3.0-or-later

// Time: timers that keep it in a hidden tab, what it is, and what waits for
// the next paint.

import { script } from './trusted';

// Browsers slow a hidden page's timers to one a minute, which would end every
// heartbeat; a worker's they leave alone. The worker is assets/static/clock.js,
// which answers each number after its time.

const jobs = new Map<number, () => void>();
let last = 0;
let worker: Worker | null | undefined;

function start(): Worker | null {
  try {
    const w = new Worker(script('/clock.js'));
    w.onmessage = (ev: MessageEvent<number>) => run(ev.data);
    w.onerror = () => { worker = null; };
    return w;
  } catch {
    return null;
  }
}

function run(id: number): void {
  const fn = jobs.get(id);
  jobs.delete(id);
  fn?.();
}

/** after runs fn in ms milliseconds and returns what calls it off. */
export function after(ms: number, fn: () => void): () => void {
  if (worker === undefined) worker = start();
  const id = ++last;
  jobs.set(id, fn);
  if (worker) worker.postMessage({ id, ms });
  // Also the page's own timer: whichever comes first, so that a worker that
  // could not be started costs nothing but precision.
  const own = setTimeout(() => run(id), ms + (worker ? 200 : 0));
  return () => {
    clearTimeout(own);
    jobs.delete(id);
  };
}

/** every runs fn again and again until the returned function is called. */
export function every(ms: number, fn: () => void): () => void {
  let stop = after(ms, function tick() {
    stop = after(ms, tick);
    fn();
  });
  return () => stop();
}

// The time as the relay has it, so that a clock which is wrong by hours does
// not put today's messages into yesterday. Zones are the reader's own.

let ahead = 0; // ms the relay's clock is ahead of this computer's

/** heardAt takes the time of an answer that has just come. */
export function heardAt(time: string | null | undefined): void {
  const at = Date.parse(time ?? '');
  if (!Number.isNaN(at)) ahead = at - Date.now();
}

export const now = (): Date => new Date(Date.now() + ahead);

let pending = new Set<() => void>();
let scheduled = false;

function flush(): void {
  if (!scheduled) return;
  scheduled = false;
  const due = pending;
  pending = new Set();
  for (const fn of due) fn();
}

/** soon runs fn once before the next paint, or shortly after in a hidden tab. */
export function soon(fn: () => void): void {
  pending.add(fn);
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(flush);
  setTimeout(flush, 80); // a hidden tab gets no animation frames
}
