// SPDX-License-Identifier: GPL-3.0-or-later

// As much of a document as lists of elements need.

export class FakeElement {
  parent: FakeElement | undefined;
  readonly childNodes: FakeElement[] = [];
  /** How often something was put in, moved or taken out. */
  changes = 0;

  constructor(readonly name = '', private readonly text = '') {}

  get firstElementChild(): FakeElement | null {
    return this.childNodes[0] ?? null;
  }

  get nextElementSibling(): FakeElement | null {
    const all = this.parent?.childNodes ?? [];
    return all[all.indexOf(this) + 1] ?? null;
  }

  insertBefore(el: FakeElement, before: FakeElement | null): void {
    el.remove();
    el.parent = this;
    this.childNodes.splice(before ? this.childNodes.indexOf(before) : this.childNodes.length, 0, el);
    el.changes++;
  }

  get textContent(): string {
    return this.childNodes.map((c) => c.textContent).join('') || this.text;
  }

  appendChild(el: FakeElement): void {
    this.insertBefore(el, null);
  }

  setAttribute(): void {}

  remove(): void {
    const all = this.parent?.childNodes;
    all?.splice(all.indexOf(this), 1);
    this.parent = undefined;
  }

  contains(el: unknown): boolean {
    return el === this || this.childNodes.some((c) => c.contains(el));
  }

  focus(): void {
    fakeDocument.activeElement = this;
  }
}

export const fakeDocument: { activeElement: FakeElement | null } = { activeElement: null };
Object.assign(fakeDocument, {
  createElement: (name: string) => new FakeElement(name), createTextNode: (text: string) => new FakeElement('', text),
});
Object.assign(globalThis, { document: fakeDocument, Node: FakeElement });
