// SPDX-License-Identifier: GPL-3.0-or-later

// What the mall's pages do beyond what they do without script.

import './mallwork'; // before what also hears of forms
import './mallpasskey';
import './malltalk';

const inSight = 1000; // ms that half of an advertisement is in sight before it counts as seen

const timers = new Map<Element, number>();
const sights = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    clearTimeout(timers.get(target));
    if (isIntersecting) timers.set(target, setTimeout(seen, inSight, target));
  }
}, { threshold: 0.5 });

function seen(advert: HTMLElement): void {
  if (document.visibilityState !== 'visible') {
    document.addEventListener('visibilitychange', () => seen(advert), { once: true });
    return;
  }
  sights.unobserve(advert);
  navigator.sendBeacon('/adverts/seen', advert.dataset.seen);
}

for (const advert of document.querySelectorAll('[data-seen]')) sights.observe(advert);
