// SPDX-License-Identifier: GPL-3.0-or-later

// The badge: a count on the tab's icon, and on that of the installed app.

const shape = '<rect width="32" height="32" rx="8" fill="#0b6b5d"/>'
  + '<path d="M7 10h18v11a2 2 0 0 1-2 2h-8l-5 4v-4H9a2 2 0 0 1-2-2z" fill="#fff"/>'
  + '<path d="m7.500 10.500 8.500 6.500 8.500-6.500" fill="none" stroke="#0b6b5d"'
  + ' stroke-width="2" stroke-linejoin="round"/>'
  + '<circle cx="24" cy="8" r="8" fill="#c4281c" stroke="#fff" stroke-width="2"/>';
const marked = `data:image/svg+xml,${encodeURIComponent(
  `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">${shape}</svg>`)}`;

let shown = -1;

/** badge shows that something waits, or with 0 that nothing does. */
export function badge(count: number): void {
  if (count === shown) return;
  shown = count;
  document.querySelector('link[rel=icon]')?.setAttribute('href', count > 0 ? marked : '/favicon.svg');
  const app = navigator as { setAppBadge?(n: number): Promise<void>; clearAppBadge?(): Promise<void> };
  void (count > 0 ? app.setAppBadge?.(count) : app.clearAppBadge?.())?.catch(() => {});
}
