// SPDX-License-Identifier: GPL-3.0-or-later

// The time as the relay has it, so that a clock which is wrong by hours does
// not put today's messages into yesterday. Zones are the reader's own.

let ahead = 0; // ms the relay's clock is ahead of this computer's

/** heardAt takes the time of an answer that has just come. */
export function heardAt(time: string | null | undefined): void {
  const at = Date.parse(time ?? '');
  if (!Number.isNaN(at)) ahead = at - Date.now();
}

export const now = (): Date => new Date(Date.now() + ahead);
