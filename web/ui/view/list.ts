// SPDX-License-Identifier: GPL-3.0-or-later

// Views that last. A binding writes what changed of a model and nothing else; a
// keyed list keeps one view an item. So a press, the focus, a selection and a
// screen reader's place survive when something else changes.

/** A view of one item, which takes the item as it is later. */
export interface View<T> {
  readonly el: Element;
  update(item: T): void;
}

/** same compares what bindings read: values, or lists of them. */
function same(a: unknown, b: unknown): boolean {
  if (Array.isArray(a) && Array.isArray(b)) return a.length === b.length && a.every((v, i) => same(v, b[i]));
  return Object.is(a, b);
}

/** Bindings of one view. Each remembers what it read last. */
export class Bindings<M> {
  private readonly all: ((model: M) => void)[] = [];

  /** bind calls write whenever what read returns is another value, or a list of other values, than before. */
  bind<V>(read: (model: M) => V, write: (value: V, model: M) => void): void {
    let last: { value: V } | undefined;
    this.all.push((model) => {
      const value = read(model);
      if (last && same(last.value, value)) return;
      last = { value };
      write(value, model);
    });
  }

  update(model: M): void {
    for (const each of this.all) each(model);
  }
}

/** KeyedList shows items as the children of an element that has no others. */
export class KeyedList<T> {
  private readonly views = new Map<string, View<T>>();

  constructor(readonly el: Element, private readonly key: (item: T) => string,
    private readonly make: (item: T) => View<T>) {}

  /** view is that of an item which is shown. */
  view(key: string): View<T> | undefined {
    return this.views.get(key);
  }

  /** update makes, takes away and moves what it must; all others stay where they are. */
  update(items: readonly T[]): void {
    const wanted = new Set(items.map(this.key));
    for (const [key, view] of this.views) {
      if (wanted.has(key)) continue;
      view.el.remove();
      this.views.delete(key);
    }
    let next = this.el.firstElementChild;
    for (const item of items) {
      const key = this.key(item);
      let view = this.views.get(key);
      if (!view) this.views.set(key, (view = this.make(item)));
      view.update(item);
      // One that went further down is moved itself, rather than all those that were below it.
      if (next && next !== view.el && next.nextElementSibling === view.el) {
        const moved = next;
        next = view.el;
        moved.remove();
      }
      if (next === view.el) next = next.nextElementSibling;
      else this.put(view.el, next);
    }
  }

  /** put moves an element; the focus in it stays in it. */
  private put(el: Element, before: Element | null): void {
    const focused = document.activeElement;
    this.el.insertBefore(el, before);
    if (el.contains(focused)) (focused as HTMLElement).focus({ preventScroll: true });
  }
}
