// SPDX-License-Identifier: GPL-3.0-or-later

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Bindings, KeyedList } from '../view/list';
import { FakeElement, fakeDocument } from './dom';

function listOf(...keys: string[]) {
  const el = new FakeElement();
  const list = new KeyedList<string>(el as unknown as Element, (s) => s[0]!, (s) => {
    const view = { el: new FakeElement(s) as unknown as Element, told: [] as string[], update: (x: string) => { view.told.push(x); } };
    return view;
  });
  list.update(keys);
  for (const c of el.childNodes) c.changes = 0;
  const shown = () => el.childNodes.map((c) => c.name).join('');
  const moved = () => el.childNodes.filter((c) => c.changes).map((c) => c.name).join('');
  return { el, list, shown, moved };
}

test('an item keeps its element, and hears of each newer state', () => {
  const { el, list } = listOf('a1', 'b1');
  const [a] = el.childNodes;
  list.update(['a2', 'b1']);
  assert.equal(el.childNodes[0], a);
  assert.deepEqual((list.view('a') as unknown as { told: string[] }).told, ['a1', 'a2']);
});

test('only what must move is moved', () => {
  for (const [to, moved] of [['dabc', 'd'], ['bcda', 'a'], ['acbd', 'b'], ['abxcd', 'x'], ['bd', ''], ['abcd', '']] as const) {
    const { list, shown, moved: which } = listOf('a', 'b', 'c', 'd');
    list.update([...to]);
    assert.equal(shown(), to);
    assert.equal(which(), moved, to);
  }
});

test('any order comes out right', () => {
  const { list, shown } = listOf('a', 'b', 'c', 'd', 'e');
  for (const to of ['edcba', 'caxeb', 'b', 'bzyxa', '', 'abcdefgh', 'hgfedcba']) {
    list.update([...to]);
    assert.equal(shown(), to);
  }
});

test('what is moved keeps the focus', () => {
  const { el, list } = listOf('a', 'b', 'c');
  const c = el.childNodes[2]!;
  c.focus();
  c.remove = function (this: FakeElement) { // as a document does
    if (fakeDocument.activeElement === this) fakeDocument.activeElement = null;
    FakeElement.prototype.remove.call(this);
  };
  list.update(['c', 'a', 'b']);
  assert.equal(fakeDocument.activeElement, c);
});

test('a binding writes what changed', () => {
  const bindings = new Bindings<{ name: string; tags: string[] }>();
  const written: unknown[] = [];
  bindings.bind((m) => m.name, (v) => written.push(v));
  bindings.bind((m) => [m.tags, m.name.length], ([tags]) => written.push(tags));
  bindings.update({ name: 'a', tags: ['x'] });
  bindings.update({ name: 'a', tags: ['x'] });
  bindings.update({ name: 'b', tags: ['x'] });
  bindings.update({ name: 'b', tags: ['x', 'y'] });
  assert.deepEqual(written, ['a', ['x'], 'b', ['x', 'y']]);
});
