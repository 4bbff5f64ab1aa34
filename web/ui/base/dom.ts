// SPDX-License-Identifier: GPL-3.0-or-later

// Elements are made here and nowhere else: text becomes text nodes, so that
// nothing anybody wrote is ever read as HTML.

export type Child = Node | string | number | null | undefined | false | Child[];

type Handler = (ev: any) => void;
type Props = Record<string, string | number | boolean | Handler | null | undefined>;

function set(el: Element, props?: Props | null): void {
  for (const [key, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (typeof value === 'function') el.addEventListener(key.slice(2), value);
    else if (key === 'value') (el as HTMLInputElement).value = String(value);
    else el.setAttribute(key, value === true ? '' : String(value));
  }
}

function add(el: Node, children: Child[]): void {
  for (const c of children) {
    if (c === null || c === undefined || c === false) continue;
    if (Array.isArray(c)) add(el, c);
    else el.appendChild(c instanceof Node ? c : document.createTextNode(String(c)));
  }
}

/** h makes an element; a property whose value is a function is a listener ("onclick"). */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K, props?: Props | null, ...children: Child[]
): HTMLElementTagNameMap[K] {
  const el = document.createElement(tag);
  set(el, props);
  add(el, children);
  return el;
}

/** fill replaces what is in an element. */
export function fill(el: Element, ...children: Child[]): void {
  el.replaceChildren();
  add(el, children);
}

/** bdi isolates foreign text, so that its writing direction stays its own. */
export function bdi(text: string): HTMLElement {
  return h('bdi', null, text);
}

const handset = 'M6 3h3l2 5-2.5 1.5a11 11 0 0 0 5 5L15 12l5 2v3a3 3 0 0 1-3 3A14 14 0 0 1 3 6a3 3 0 0 1 3-3z';

const shapes = {
  send: 'M4 12 20 4l-5 16-4-6.5z M11 13.5 20 4',
  back: 'M15 5l-7 7 7 7',
  phone: handset,
  mail: 'M3 6h18v12H3z M3 7l9 7 9-7',
  bell: 'M6 16V11a6 6 0 0 1 12 0v5l2 2H4z M10 21h4',
  copy: 'M9 9h11v11H9z M5 15H4V4h11v1',
  check: 'M5 12.5l4.5 4.5L19 7.5',
  down: 'M6 9l6 6 6-6',
  close: 'M6 6l12 12M18 6L6 18',
  chat: 'M4 5h16v11H9l-5 4z',
  attach: 'M20 11.5l-8.5 8.5a5.5 5.5 0 0 1-7.8-7.8l9-9a3.7 3.7 0 0 1 5.2 5.2l-9 9a1.8 1.8 0 0 1-2.6-2.6L14.500 7',
  file: 'M6 3h8l4 4v14H6z M14 3v4h4',
  save: 'M12 4v11 M7 11l5 5 5-5 M4 20h16',
  more: 'M5 12h.01M12 12h.01M19 12h.01',
  edit: 'M4 20l1-4L16 5l3 3L8 19z',
  search: 'M11 4a7 7 0 1 1 0 14 7 7 0 0 1 0-14z M16 16l5 5',
  settings: 'M4 7h9M17 7h3M4 17h3M11 17h9 M15 4.500a2.500 2.500 0 1 1 0 5 2.500 2.500 0 0 1 0-5z'
    + ' M9 14.500a2.500 2.500 0 1 1 0 5 2.500 2.500 0 0 1 0-5z',
  missed: handset + ' M15 3l6 6M21 3l-6 6',
  chart: 'M4 20h16 M7 16v-5 M12 16V6 M17 16v-8',
  mute: 'M6 16V11a6 6 0 0 1 9-5.2M18 11v5l2 2H6 M10 21h4 M4 3l16 18',
  canned: 'M4 5h16v11H9l-5 4z M8 9h8M8 12h5',
} as const;

export type Icon = keyof typeof shapes;

/** icon draws a decorative line icon; words beside it or an aria-label name it. */
export function icon(name: Icon): SVGElement {
  const ns = 'http://www.w3.org/2000/svg';
  const svg = document.createElementNS(ns, 'svg');
  svg.setAttribute('class', 'icon');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('aria-hidden', 'true');
  const path = document.createElementNS(ns, 'path');
  path.setAttribute('d', shapes[name]);
  svg.appendChild(path);
  return svg;
}
