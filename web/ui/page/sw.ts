// SPDX-License-Identifier: GPL-3.0-or-later

// The service worker of the desk, at /sw.js: shows what push brings, takes the
// presses in notifications, and has a page for when the server is away. It is
// a script of its own (web/assets/sw.js) and keeps nothing of anybody's talk.

// TypeScript knows either documents or workers; these are the few things used.
interface Waits extends Event { waitUntil(p: Promise<unknown>): void }
interface Fetched extends Waits { request: Request; respondWith(p: Promise<Response>): void }
interface Pushed extends Waits { data: { json(): unknown } | null; notification?: Shown }
interface Pressed extends Waits { action: string; notification: Notification & { data: Told } }
interface Window {
  url: string; visibilityState: string; focused: boolean;
  focus(): Promise<Window>; postMessage(m: unknown): void;
}
interface Worker {
  registration: ServiceWorkerRegistration;
  clients: {
    matchAll(o: object): Promise<Window[]>; openWindow(url: string): Promise<unknown>; claim(): Promise<void>;
  };
  skipWaiting(): Promise<void>;
  addEventListener(type: string, fn: (ev: any) => void): void;
}

interface Told { kind: 'ring' | 'end' | 'alarm' | 'message' | 'test'; room: string; attempt?: string }

/** A notification as the server has made it: chatrelay/notify/declarative.go. */
interface Shown extends NotificationOptions { title: string; tag: string; data: Told }

const worker = self as unknown as Worker;
const cacheName = 'chmail-shell';
const shell = '/offline';
const socketWait = 8000; // ms to say no over a connection of one's own

// The page for when the server is away.

async function keepShell(): Promise<void> {
  const cache = await caches.open(cacheName);
  const page = await fetch(shell, { cache: 'no-store', credentials: 'omit' });
  if (!page.ok) return;
  const parts = [...(await page.clone().text()).matchAll(/(?:href|src)="(\/assets\/[^"]+)"/g)].map((m) => m[1]!);
  await Promise.all(parts.map(async (part) => (await cache.match(part)) ?? cache.add(part)));
  await cache.put(shell, page);
  for (const old of await cache.keys()) {
    const { pathname } = new URL(old.url);
    if (pathname !== shell && !parts.includes(pathname)) await cache.delete(old);
  }
}

let kept: Promise<void> | undefined; // once for each time the worker starts

worker.addEventListener('install', (ev: Waits) => ev.waitUntil(keepShell().then(() => worker.skipWaiting())));
worker.addEventListener('activate', (ev: Waits) => ev.waitUntil(worker.clients.claim()));
worker.addEventListener('fetch', (ev: Fetched) => {
  const { request } = ev;
  const url = new URL(request.url);
  if (request.method !== 'GET' || url.origin !== location.origin) return;
  if (request.mode === 'navigate') {
    ev.respondWith(fetch(request).catch(async () => (await caches.match(shell)) ?? Response.error()));
    ev.waitUntil(kept ??= keepShell().catch(() => { kept = undefined; }));
  } else if (url.pathname.startsWith('/assets/')) {
    // Their names change with their content: what is kept is right.
    ev.respondWith((async () => (await caches.match(request)) ?? fetch(request))());
  }
});

// What push brings.

const desks = async () => (await worker.clients.matchAll({ type: 'window', includeUncontrolled: true }))
  .filter((c) => new URL(c.url).pathname === '/desk');

/** report lets the list of browsers say when this one last showed something. */
async function report(): Promise<void> {
  const endpoint = (await worker.registration.pushManager.getSubscription().catch(() => null))?.endpoint;
  if (!endpoint) return;
  await fetch('/desk/push/shown', { method: 'POST', headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ endpoint }) }).catch(() => {});
}

async function told(n: Shown): Promise<void> {
  const { kind } = n.data;
  // A desk before somebody's eyes shows it itself.
  const seen = kind !== 'test' && (await desks()).some((c) => c.visibilityState === 'visible');
  if (kind === 'end') {
    // Asked for only here: while one notification is being shown, asking can make Chromium forget it.
    const rings = await worker.registration.getNotifications({ tag: n.tag });
    if (!rings.length) return;
    if (seen) return rings.forEach((ring) => ring.close());
  } else if (seen) return;
  await worker.registration.showNotification(n.title, n);
  if (kind !== 'end') await report();
}

worker.addEventListener('push', (ev: Pushed) => {
  let n: Shown | undefined;
  try {
    // Safari has read a declarative push already.
    n = ev.notification ?? (ev.data!.json() as { notification?: Shown }).notification;
  } catch {
    return;
  }
  if (typeof n?.data?.room === 'string') ev.waitUntil(told(n));
});

/** decline says no without a page: as a device of one's own, for a moment. */
function decline(attempt: string): Promise<void> {
  return new Promise((done) => {
    const ws = new WebSocket(location.origin.replace(/^http/, 'ws') + '/desk/ws');
    const end = () => {
      clearTimeout(late);
      ws.close();
      done();
    };
    const late = setTimeout(end, socketWait);
    ws.onopen = () => ws.send(JSON.stringify({ t: 'hello' }));
    ws.onmessage = (ev) => {
      const f = JSON.parse(String(ev.data)) as { t: string; attempt_id?: string };
      if (f.t === 'welcome') ws.send(JSON.stringify({ t: 'decline', attempt_id: attempt }));
      else if (f.t === 'ring-end' && f.attempt_id === attempt || f.t === 'error') end();
    };
    ws.onerror = end;
  });
}

async function pressed(ev: Pressed): Promise<void> {
  const { room, attempt = '' } = ev.notification.data;
  ev.notification.close();
  const pages = await desks();
  const page = pages.find((c) => c.focused) ?? pages[0];
  const message = { chmail: 'pressed', action: ev.action, room, attempt };
  if (ev.action === 'decline') {
    if (page) page.postMessage(message);
    else await decline(attempt);
    return;
  }
  if (!page) {
    // Entering a room in which one is being rung answers the ring.
    await worker.clients.openWindow('/desk#' + encodeURIComponent(room));
    return;
  }
  page.postMessage(message);
  await page.focus().catch(() => {});
}

worker.addEventListener('notificationclick', (ev: Pressed) => ev.waitUntil(pressed(ev)));

// The browser has made a new subscription by itself: the server must know it.
worker.addEventListener('pushsubscriptionchange',
  (ev: Waits & { oldSubscription?: PushSubscription }) => ev.waitUntil((async () => {
  const options = ev.oldSubscription?.options;
  if (!options) return;
  const sub = await worker.registration.pushManager.subscribe({ userVisibleOnly: true,
    applicationServerKey: options.applicationServerKey });
  await fetch('/desk/push', { method: 'POST', headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(sub.toJSON()) });
})()));

export {};
