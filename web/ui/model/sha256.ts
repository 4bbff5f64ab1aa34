// SPDX-License-Identifier: GPL-3.0-or-later

// SHA-256 (FIPS 180-4). The browser's own answers each time through a promise, which costs
// more than the hash itself.

const k = new Uint32Array(64);
const first = new Uint32Array(8);

// The constants are the fractions of roots of the first primes.
for (let n = 2, i = 0; i < 64; n++) {
  let prime = true;
  for (let d = 2; d * d <= n; d++) prime &&= n % d !== 0;
  if (!prime) continue;
  if (i < 8) first[i] = fraction(Math.sqrt(n));
  k[i++] = fraction(Math.cbrt(n));
}

function fraction(x: number): number {
  return (x - Math.floor(x)) * 0x100000000;
}

const w = new Uint32Array(64);

export function digest(text: Uint8Array): Uint8Array {
  const size = Math.ceil((text.length + 9) / 64) * 64;
  const block = new Uint8Array(size);
  block.set(text);
  block[text.length] = 0x80;
  const view = new DataView(block.buffer);
  view.setUint32(size - 4, text.length * 8);
  const sum = first.slice();
  for (let at = 0; at < size; at += 64) {
    for (let i = 0; i < 16; i++) w[i] = view.getUint32(at + 4 * i);
    for (let i = 16; i < 64; i++) {
      const a = w[i - 15]!, b = w[i - 2]!;
      w[i] = (((b >>> 17 | b << 15) ^ (b >>> 19 | b << 13) ^ b >>> 10) + w[i - 7]!
        + ((a >>> 7 | a << 25) ^ (a >>> 18 | a << 14) ^ a >>> 3) + w[i - 16]!) | 0;
    }
    let [a, b, c, d, e, f, g, h] = sum as unknown as number[] as [number, number, number, number, number, number,
      number, number];
    for (let i = 0; i < 64; i++) {
      const x = (h + ((e >>> 6 | e << 26) ^ (e >>> 11 | e << 21) ^ (e >>> 25 | e << 7)) + ((e & f) ^ (~e & g)) + k[i]!
        + w[i]!) | 0;
      const y = (((a >>> 2 | a << 30) ^ (a >>> 13 | a << 19) ^ (a >>> 22 | a << 10)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      [h, g, f, e, d, c, b, a] = [g, f, e, d + x | 0, c, b, a, x + y | 0];
    }
    [a, b, c, d, e, f, g, h].forEach((part, i) => sum[i]! += part);
  }
  const out = new DataView(new ArrayBuffer(32));
  sum.forEach((part, i) => out.setUint32(4 * i, part));
  return new Uint8Array(out.buffer);
}
