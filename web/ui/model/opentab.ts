// SPDX-License-Identifier: GPL-3.0-or-later

// Which conversations are open in this browser: a tab holds a lock of each that it shows.

const lock = (token: string) => `chmail-chat-${token}`;

/** holdOpen says so to other tabs, until the function that it returns is called. */
export function holdOpen(token: string): () => void {
  let release = () => {};
  const closed = new Promise<void>((done) => { release = done; });
  navigator.locks?.request(lock(token), { mode: 'shared' }, () => closed).catch(() => undefined);
  return release;
}

/** isOpen: a tab of this browser shows the conversation. Without locks, as on plain http, that is not known. */
export async function isOpen(token: string): Promise<boolean> {
  const locks = await navigator.locks?.query().catch(() => undefined);
  return !!locks?.held?.some((l) => l.name === lock(token));
}
