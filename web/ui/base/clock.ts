// SPDX-License-Identifier: GPL-3.0-or-later

// Timers that keep time in a hidden tab. Browsers slow a hidden page's timers
// to one a minute, which would end every heartbeat; a worker's they leave
// alone. The worker is this same bundle, started again (see app.ts).

type Job = { id: number; ms: number };

/** serveClock is what the worker does: it answers each number after its time. */
export function serveClock(): void {
  self.onmessage = (ev: MessageEvent<Job>) => {
    setTimeout(() => self.postMessage(ev.data.id), ev.data.ms);
  };
}

const jobs = new Map<number, () => void>();
let last = 0;
let worker: Worker | null | undefined;

function start(): Worker | null {
  try {
    const w = new Worker(import.meta.url, { type: 'module' });
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
