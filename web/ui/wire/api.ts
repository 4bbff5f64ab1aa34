// SPDX-License-Identifier: GPL-3.0-or-later

// Requests to the front door.

import { ApiError } from '../base/errors';
import { heardAt } from '../base/time';

let desk: Record<string, string> = {};

/** actAs names the login whose desk this page shows: with another one's session the server does nothing. */
export function actAs(login: string): void {
  desk = login ? { 'CHmail-Login': encodeURIComponent(login) } : {};
}

/** deskHeaders go with each request of the desk. */
export const deskHeaders = () => desk;

async function call<T>(url: string, init: RequestInit): Promise<T> {
  let res: Response;
  try {
    res = await fetch(url, { credentials: 'same-origin', cache: 'no-store', ...init,
      headers: { ...init.headers, ...desk } });
  } catch {
    throw new ApiError(0, 'network', {}, 0);
  }
  heardAt(res.headers.get('Date'));
  const text = await res.text().catch(() => '');
  let body: any = {};
  try {
    body = text ? JSON.parse(text) : {};
  } catch {
    // A proxy's error page is not JSON; the status says enough.
  }
  if (!res.ok) {
    throw new ApiError(res.status, String(body?.error ?? ''), body ?? {}, Number(res.headers.get('Retry-After')) || 0);
  }
  return body as T;
}

export const get = <T>(url: string) => call<T>(url, { method: 'GET' });

const send = (method: string) => <T>(url: string, body: unknown = {}) =>
  call<T>(url, { method, headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) });

export const post = send('POST');
export const put = send('PUT');
export const del = send('DELETE');

/** readPage reads what the server says in a page for its script. */
export function readPage<P>(): P {
  return JSON.parse(document.getElementById('page')?.textContent ?? '') as P;
}
