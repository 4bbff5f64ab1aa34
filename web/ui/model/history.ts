// SPDX-License-Identifier: GPL-3.0-or-later

// What was said, as far as this browser has heard it: messages in their order,
// with the edits and deletions that came after them folded in.

import type { Message } from '../wire/wire';

export class History {
  messages: Message[] = []; // by offset
  /** The offset up to which nothing is missing: what may be claimed when coming back. */
  last = 0;
  private readonly offsets = new Set<number>(); // heard, changes among them

  clear(): void {
    this.messages = [];
    this.offsets.clear();
    this.last = 0;
  }

  /**
   * free is the offset itself, or a place right behind it when it is taken: a
   * relay may acknowledge what it does not keep with the offset of another.
   */
  free(offset: number): number {
    while (this.offsets.has(offset)) offset += 2 ** -10;
    return offset;
  }

  /** early puts what was said past the server behind all else, until the relay brings it with its own offset. */
  early(m: Message): void {
    if (this.messages.some((known) => known.from === m.from && known.id === m.id)) return;
    this.messages.push({ ...m, offset: (this.messages.at(-1)?.offset ?? 0) + 2 ** -10 });
  }

  /** takeBack takes out what was said past the server and the relay has refused; say leaves words about it there. */
  takeBack(from: number, id: string, say: boolean): void {
    const i = this.messages.findIndex((m) => !Number.isInteger(m.offset) && m.from === from && m.id === id);
    if (i < 0) return;
    const m = this.messages[i]!;
    if (say) this.messages[i] = { offset: m.offset, id, from, at: m.at, kind: 'note', text: 'refused' };
    else this.messages.splice(i, 1);
  }

  /** insert reports whether a message is new; one that was heard before changes nothing. */
  insert(m: Message): boolean {
    if (this.offsets.has(m.offset)) return false;
    this.offsets.add(m.offset);
    if (this.last === 0) this.last = m.offset;
    while (this.offsets.has(this.last + 1)) this.last++;
    if (m.kind === 'edit' || m.kind === 'delete') {
      this.apply(m);
      return true;
    }
    const early = this.messages.findIndex((known) => !Number.isInteger(known.offset) && known.from === m.from
      && known.id === m.id);
    if (early >= 0) this.messages.splice(early, 1);
    // Nearly always at the end.
    let i = this.messages.length;
    while (i > 0 && this.messages[i - 1]!.offset > m.offset) i--;
    this.messages.splice(i, 0, m);
    return true;
  }

  /** apply changes a message that came before; a copy is made, so that what is drawn can be compared. */
  private apply(change: Message): void {
    const i = this.messages.findIndex((m) => m.offset === change.ref);
    const m = this.messages[i];
    if (!m || m.deleted) return;
    if (change.kind === 'edit') {
      // An edited message that was deleted later: the deletion follows.
      if (!change.deleted) this.messages[i] = { ...m, text: change.text, edited: change.at };
      return;
    }
    const { file: _, ...rest } = m;
    this.messages[i] = { ...rest, text: '', deleted: true };
  }
}
