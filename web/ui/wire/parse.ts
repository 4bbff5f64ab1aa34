// SPDX-License-Identifier: GPL-3.0-or-later

// What comes from the network becomes frames here, or nothing.

import { required, type RelayFrame } from './frames';

/** maxFrame is what the client reads in one frame, in octets: generous, but a bound. */
export const maxFrame = 1 << 20;

/** parse returns nothing for what is no frame, and for types of a newer relay. */
export function parse(text: string): RelayFrame | undefined {
  let f: Record<string, unknown> | null;
  try {
    f = JSON.parse(text) as typeof f;
  } catch {
    return undefined;
  }
  const type = String(f?.t);
  if (!f || !Object.hasOwn(required, type)) return undefined;
  for (const [key, is] of Object.entries(required[type as RelayFrame['t']])) {
    if (typeof f[key] !== is || f[key] === null) return undefined;
  }
  return f as unknown as RelayFrame;
}

/** varint writes a length (RFC 9000 section 16). */
export function varint(n: number): Uint8Array {
  if (n < 64) return Uint8Array.of(n);
  if (n < 16384) return Uint8Array.of(0x40 | (n >> 8), n & 255);
  return Uint8Array.of(0x80 | (n >>> 24), (n >>> 16) & 255, (n >>> 8) & 255, n & 255);
}

/** split takes whole frames off the front of buf and returns what is left. */
export function split(buf: Uint8Array, onframe: (bytes: Uint8Array) => void): Uint8Array {
  for (;;) {
    if (buf.length === 0) return buf;
    const width = 1 << (buf[0]! >> 6);
    if (buf.length < width) return buf;
    let n = buf[0]! & 63;
    for (let i = 1; i < width; i++) n = n * 256 + buf[i]!;
    if (n > maxFrame) throw new Error(`reading a frame: ${n} octets are too many`);
    if (buf.length < width + n) return buf;
    onframe(buf.subarray(width, width + n));
    buf = buf.subarray(width + n);
  }
}
