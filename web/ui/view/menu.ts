// SPDX-License-Identifier: GPL-3.0-or-later

// A button that opens a list of things to do, by mouse, touch and keyboard.

import { type Child, fill, h } from '../base/dom';

export interface Item {
  words: Child;
  /** Of a choice: whether it is the present one. Missing: it does something. */
  checked?: boolean;
  bad?: boolean;
  press?(): void;
  /** Further items, which take the place of these. */
  more?(): Item[];
}

const gap = 4; // px between the button and its list

/** menu makes the button; items are asked for each time it opens. */
export function menu(button: HTMLButtonElement, name: string, items: () => Item[]): HTMLButtonElement {
  let list: HTMLElement | undefined;
  button.setAttribute('aria-haspopup', 'menu');
  button.setAttribute('aria-expanded', 'false');

  function open(last = false): void {
    if (list) return;
    const made = h('div', { class: 'menu', role: 'menu', 'aria-label': name, popover: 'auto' });
    list = made;
    show(made, items());
    made.addEventListener('keydown', keys);
    made.addEventListener('toggle', (ev) => (ev as ToggleEvent).newState === 'closed' && close());
    // Within a sheet: opening something else would close that.
    (button.closest('[popover]') ?? document.getElementById('app')!).append(made);
    made.showPopover?.();
    place(made);
    button.setAttribute('aria-expanded', 'true');
    const all = [...made.children] as HTMLElement[];
    (made.querySelector<HTMLElement>('[aria-checked=true]') ?? (last ? all.at(-1) : all[0]))?.focus();
  }

  function show(made: HTMLElement, all: Item[]): void {
    fill(made, all.map((item) => h('button', {
      type: 'button', tabindex: '-1', class: item.bad ? 'bad' : '',
      role: item.checked === undefined ? 'menuitem' : 'menuitemradio',
      'aria-checked': item.checked === undefined ? null : String(item.checked),
      'aria-haspopup': item.more && 'menu',
      onclick: () => {
        if (item.more) {
          show(made, item.more());
          place(made);
          return (made.firstElementChild as HTMLElement).focus();
        }
        close();
        item.press?.();
      },
    }, item.words, item.more && h('span', { class: 'menu-more', 'aria-hidden': 'true' }, '▸'))));
  }

  function place(made: HTMLElement): void {
    const at = button.getBoundingClientRect();
    const { offsetWidth: width, offsetHeight: height } = made;
    const rtl = getComputedStyle(button).direction === 'rtl';
    const left = rtl ? at.right - width : at.left;
    const below = at.bottom + gap;
    made.style.left = Math.max(8, Math.min(left, innerWidth - width - 8)) + 'px';
    made.style.top = Math.max(8, below + height > innerHeight ? at.top - gap - height : below) + 'px';
  }

  function close(): void {
    const made = list;
    if (!made) return;
    list = undefined;
    button.setAttribute('aria-expanded', 'false');
    if (made.contains(document.activeElement) || document.activeElement === document.body) button.focus();
    made.remove();
  }

  function keys(ev: KeyboardEvent): void {
    const all = [...(list?.children ?? [])] as HTMLElement[];
    const i = all.indexOf(document.activeElement as HTMLElement);
    const to = { ArrowDown: i + 1, ArrowUp: i - 1, Home: 0, End: -1 }[ev.key];
    if (to !== undefined) all.at(to % all.length)?.focus();
    else if (ev.key === 'Escape' || ev.key === 'Tab') close();
    else return;
    ev.preventDefault();
    ev.stopPropagation();
  }

  button.addEventListener('click', () => (list ? close() : open()));
  button.addEventListener('keydown', (ev) => {
    if (ev.key !== 'ArrowDown' && ev.key !== 'ArrowUp') return;
    ev.preventDefault();
    open(ev.key === 'ArrowUp');
  });
  return button;
}
