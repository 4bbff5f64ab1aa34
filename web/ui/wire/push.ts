// SPDX-License-Identifier: GPL-3.0-or-later

// Push: this browser is woken for a ring when no page of the desk is open. The
// service worker (sw.ts) shows what comes; here it is registered and subscribed.

import { ApiError } from '../base/errors';
import { script } from '../base/trusted';
import { del, get, post } from './api';

export type PushState = 'on' | 'off' | 'absent';

let worker: Promise<ServiceWorkerRegistration | undefined> | undefined;

/** registration starts the service worker; undefined where there is none, as on plain http. */
export function registration(): Promise<ServiceWorkerRegistration | undefined> {
  return worker ??= (async () => {
    if (!('serviceWorker' in navigator)) return undefined;
    return navigator.serviceWorker.register(script('/sw.js'), { scope: '/desk', updateViaCache: 'none' })
      .catch(() => undefined);
  })();
}

async function active(): Promise<ServiceWorkerRegistration | undefined> {
  if (!(await registration())) return undefined;
  return navigator.serviceWorker.ready;
}

export async function pushState(): Promise<PushState> {
  const reg = await registration();
  if (!reg || !('pushManager' in reg)) return 'absent';
  return (await reg.pushManager.getSubscription()) ? 'on' : 'off';
}

const decode = (text: string) =>
  Uint8Array.from(atob(text.replace(/-/g, '+').replace(/_/g, '/')), (c) => c.charCodeAt(0));

// Somebody took this browser off the list here: it comes back when they ask for it.
const removedKey = 'chmail-push-removed';

/** removedHere: this browser is not to be notified, whatever the login's settings. */
export const removedHere = () => localStorage.getItem(removedKey) !== null;

/** subscribe reports whether this browser is woken from now on. */
export async function subscribe(): Promise<PushState> {
  const reg = await active();
  if (!reg || !('pushManager' in reg)) return 'absent';
  try {
    const { key } = await get<{ key: string }>('/desk/push/key');
    let sub = await reg.pushManager.getSubscription();
    const had = sub?.options.applicationServerKey;
    const wanted = decode(key);
    // The server's key is another one since: the old subscription is of no use.
    if (sub && had && String(new Uint8Array(had)) !== String(wanted)) {
      await sub.unsubscribe();
      sub = null;
    }
    sub ??= await reg.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: wanted });
    await post('/desk/push', sub.toJSON());
    localStorage.removeItem(removedKey);
    return 'on';
  } catch (err) {
    // No push service, or none that can be reached; or this server has no push.
    return err instanceof ApiError && err.code !== 'no-push' ? 'off' : 'absent';
  }
}

/**
 * PushKeeper subscribes this browser: anew when the browser has ended the subscription by itself, and once in the life
 * of a page so that the server knows it.
 */
export class PushKeeper {
  private state: PushState = 'off';
  private keeping: Promise<PushState> | undefined;
  private told = false; // the server knows it

  /** keep subscribes unless that is not wanted, and returns how things stand. */
  keep(wanted: boolean): Promise<PushState> {
    return this.keeping ??= (async () => {
      if (this.state !== 'absent') this.state = await pushState();
      if (this.state !== 'absent' && wanted && !removedHere() && !(this.told && this.state === 'on')) {
        this.state = await subscribe();
        this.told = this.state === 'on';
      }
      this.keeping = undefined;
      return this.state;
    })();
  }
}

/** unsubscribe: at signing out, or when nothing shall come any more. */
export async function unsubscribe(): Promise<void> {
  const reg = await registration();
  const sub = await reg?.pushManager?.getSubscription();
  if (!sub) return;
  await del('/desk/push', { endpoint: sub.endpoint }).catch(() => {});
  await sub.unsubscribe().catch(() => {});
}

/** removeHere unsubscribes until somebody subscribes this browser by a press. */
export async function removeHere(): Promise<void> {
  localStorage.setItem(removedKey, '');
  await unsubscribe();
}

/** browserID is what the server calls this browser in the list of those that are notified; '' for none. */
export async function browserID(): Promise<string> {
  const sub = await (await registration())?.pushManager?.getSubscription();
  if (!sub) return '';
  const sum = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(sub.endpoint));
  return [...new Uint8Array(sum, 0, 16)].map((b) => b.toString(16).padStart(2, '0')).join('');
}

/** noticeTag: notifications of one tag replace each other. Those that are pushed have the same. */
export const noticeTag = (room: string, attempt?: string): string => (attempt ? `ring-${attempt}` : room);

/** Pressed in a notification. */
export interface Pressed { chmail: 'pressed'; action: string; room: string; attempt: string }

export function onPressed(fn: (p: Pressed) => void, signal: AbortSignal): void {
  if (!('serviceWorker' in navigator)) return;
  navigator.serviceWorker.addEventListener('message', (ev: MessageEvent<Pressed>) => {
    if (ev.data?.chmail === 'pressed') fn(ev.data);
  }, { signal });
  navigator.serviceWorker.startMessages?.();
}
