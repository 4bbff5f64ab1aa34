// SPDX-License-Identifier: GPL-3.0-or-later

// How often one and one's groups were asked for: a plot of the days, and the
// same as tables.

import { type Child, fill, h } from '../base/dom';
import { explain } from '../base/errors';
import { language, t, type Key } from '../base/i18n';
import { paneHead } from './roomheader';
import { get } from '../wire/api';
import type { Figure, Figures } from '../wire/wire';

const ranges = [7, 30, 90]; // days
const [width, height, gap] = [600, 160, 2]; // of the plot

/** figures shows those of the last days. */
export function figures(pane: HTMLElement, back: () => void): void {
  const body = h('div', { class: 'settings-body', 'aria-live': 'polite' });
  const choice = h('select', { 'aria-label': t('figures.range'), onchange: () => void read() },
    ranges.map((n) => h('option', { value: n }, t('figures.days', { n }))));
  fill(pane, h('div', { class: 'settings figures' },
    paneHead('figures.title', back, choice),
    body));
  pane.querySelector('h1')!.focus();
  const read = async () => {
    const days = choice.value;
    const over = () => choice.value !== days; // another range was chosen meanwhile
    try {
      const f = await get<Figures>('/desk/figures?days=' + days);
      if (over()) return;
      fill(body, h('section', null,
        h('p', { class: 'strong' }, t('figures.total', { n: f.total.asked, answered: f.total.answered,
          missed: f.total.missed }), f.total.answered > 0 && [' ', t('figures.half', { median: took(f.total) })]),
        plot(f.days),
        h('p', { class: 'fine figures-key' }, h('span', { class: 'key-answered' }), t('figures.answered'),
          h('span', { class: 'key-missed' }), t('figures.missed'))),
      f.of.length > 0 && table('figures.who', f.of, (name) => name),
      table('figures.day', f.days, day));
    } catch (err) {
      if (!over()) fill(body, h('p', { class: 'problem', role: 'alert' }, explain(err)));
    }
  };
  void read();
}

const day = (name: string) => new Date(name + 'T00:00').toLocaleDateString(language(),
  { weekday: 'short', month: 'short', day: 'numeric' });

/** took says a median in words. */
function took(f: Figure): string {
  if (!f.answered) return '–';
  const seconds = Math.round(f.median ?? 0);
  if (seconds < 100) return t('figures.seconds', { n: seconds });
  const minutes = Math.round(seconds / 60);
  return minutes < 100 ? t('figures.minutes', { n: minutes }) : t('figures.hours', { n: Math.round(minutes / 60) });
}

/** plot draws a bar a day, those who were missed on top. The tables say the same in words. */
function plot(days: Figure[]): SVGElement {
  const ns = 'http://www.w3.org/2000/svg';
  const svg = document.createElementNS(ns, 'svg');
  svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
  svg.setAttribute('class', 'plot');
  svg.setAttribute('aria-hidden', 'true');
  const most = Math.max(1, ...days.map((d) => d.asked));
  const wide = width / days.length;
  days.forEach((d, i) => {
    let top = height - 1;
    for (const [n, kind] of [[d.answered, 'answered'], [d.missed, 'missed']] as const) {
      const tall = (n / most) * (height - 8);
      const bar = document.createElementNS(ns, 'rect');
      const set = { x: i * wide + gap, y: top -= tall, width: Math.max(1, wide - 2 * gap), height: tall };
      for (const [name, value] of Object.entries(set)) bar.setAttribute(name, String(value));
      bar.setAttribute('class', 'bar-' + kind);
      svg.append(bar);
    }
  });
  return svg;
}

function table(what: Key, rows: Figure[], name: (of: string) => Child): HTMLElement {
  const head = (key: Key) => h('th', { scope: 'col' }, t(key));
  return h('section', null, h('div', { class: 'figures-scroll', tabindex: '0', role: 'region', 'aria-label': t(what) },
    h('table', null,
      h('thead', null, h('tr', null, head(what), head('figures.asked'), head('figures.answered'),
        head('figures.missed'), head('figures.median'))),
      h('tbody', null, rows.map((f) => h('tr', null, h('th', { scope: 'row', dir: 'auto' }, name(f.name ?? '')),
        [f.asked, f.answered, f.missed, took(f)].map((v) => h('td', null, v))))))));
}
