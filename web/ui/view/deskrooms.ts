// SPDX-License-Identifier: GPL-3.0-or-later

// The conversations a desk is in: one is shown; those in which somebody else
// is stay open behind it, so that opening another does not leave anybody.

import type { DeskRoom } from './deskroom';

const behindMost = 8; // rooms kept behind; then the oldest goes, one without others first

export class DeskRooms {
  shown: DeskRoom | undefined;
  private readonly behind = new Map<string, DeskRoom>(); // in the order in which they went behind

  /** show puts another room in front, or none. A room that is not kept is made. */
  show(id: string, make: () => DeskRoom): void {
    const before = this.shown;
    this.shown = undefined;
    if (before?.inCompany) this.keep(before);
    else before?.close();
    if (!id) return;
    const kept = this.behind.get(id);
    this.behind.delete(id);
    this.shown = kept ?? make();
    kept?.show();
  }

  /** drop leaves a room that is kept behind. */
  drop(id: string): void {
    this.behind.get(id)?.close();
    this.behind.delete(id);
  }

  close(): void {
    this.shown?.close();
    for (const id of this.behind.keys()) this.drop(id);
  }

  private keep(room: DeskRoom): void {
    this.behind.set(room.id, room);
    room.hide();
    if (this.behind.size <= behindMost) return;
    const [oldest] = this.behind.values();
    this.drop(([...this.behind.values()].find((r) => !r.inCompany) ?? oldest!).id);
  }
}
