// SPDX-License-Identifier: GPL-3.0-or-later

// The badge: a count on the tab's icon, and on that of the installed app.

let shown = -1;

/** badge shows that something waits, or with 0 that nothing does. */
export function badge(count: number): void {
  if (count === shown) return;
  shown = count;
  document.querySelector('link[rel=icon]')?.setAttribute('href', count > 0 ? '/favicon-new.svg' : '/favicon.svg');
  const app = navigator as { setAppBadge?(n: number): Promise<void>; clearAppBadge?(): Promise<void> };
  void (count > 0 ? app.setAppBadge?.(count) : app.clearAppBadge?.())?.catch(() => {});
}
