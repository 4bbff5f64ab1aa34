// SPDX-License-Identifier: GPL-3.0-or-later

// Several tabs of one browser show the desk: they have one session, and one of
// them sounds.

const channel = 'BroadcastChannel' in globalThis ? new BroadcastChannel('chmail-session') : undefined;

/** tellTabs says who is signed in in this browser now, '' for nobody. */
export function tellTabs(login: string): void {
  channel?.postMessage(login);
}

/** onTabs hears what other tabs say. */
export function onTabs(fn: (login: string) => void, signal: AbortSignal): void {
  channel?.addEventListener('message', (ev: MessageEvent<string>) => fn(String(ev.data)), { signal });
}

// The tab that holds the lock sounds. Without locks, as on plain http, each tab does.
const lock = 'chmail-sound';
const held = () => new Promise<never>(() => {}); // until the tab closes, or another takes the lock
let mine = !navigator.locks;

async function hold(options: LockOptions): Promise<void> {
  try {
    await navigator.locks.request(lock, options, () => {
      mine = true;
      return held();
    });
  } catch {
    mine = false; // taken
    void hold({});
  }
}

/** soundsHere: this tab is the one that sounds. */
export const soundsHere = () => mine;

/** soundHere makes it so: the tab that was pressed last sounds, and another one when that is closed. */
export function soundHere(): void {
  if (!mine) void hold({ steal: true });
}

/** shareSound waits for its turn, from the beginning of a desk on. */
export function shareSound(): void {
  if (!mine) void hold({});
}
