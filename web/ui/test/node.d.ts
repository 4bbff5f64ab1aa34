// SPDX-License-Identifier: GPL-3.0-or-later

// The little of Node that tests use.

declare module 'node:test' {
  export function test(name: string, fn: (ctx: { mock: typeof mock }) => void | Promise<void>): void;
  export const mock: { timers: { enable(o?: { apis?: string[]; now?: number }): void; reset(): void; tick(ms: number): void } };
}
declare module 'node:assert/strict' {
  interface Assert {
    (value: unknown, message?: string): void;
    equal(got: unknown, want: unknown, message?: string): void;
    deepEqual(got: unknown, want: unknown, message?: string): void;
    throws(fn: () => void, what?: RegExp): void;
  }
  const assert: Assert;
  export default assert;
}
