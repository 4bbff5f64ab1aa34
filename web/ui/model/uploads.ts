// SPDX-License-Identifier: GPL-3.0-or-later

// Files on their way into a room. They go over HTTP beside the connection; an
// upload that broke off begins again with its old id when the connection is
// back, so that a file is never there twice.

import { newID } from './outbox';
import { deskHeaders } from '../wire/api';
import type { Message } from '../wire/wire';

export type UploadState = 'waiting' | 'sending' | 'failed';

export interface Upload {
  id: string; file: File; at: string;
  state: UploadState;
  sent: number;       // share of it, 0 to 1
  code: string;       // why it failed: an error code of the front door, or "network"
  preview?: string;   // blob: address of a picture
}

const atOnce = 2;     // uploads under way of one room; the others wait
const most = 100;     // uploads of one room; further files are refused
const tries = 4;      // times a broken upload is begun again by itself

// Kinds that every browser shows; what the server makes of a file may differ.
const pictures = new Set(['image/png', 'image/jpeg', 'image/gif', 'image/webp']);

// Trouble that goes away when one waits.
const passing = new Set(['network', 'too-often', 'busy', 'unavailable', 'timeout']);

export class Uploads {
  readonly all: Upload[] = [];
  private readonly requests = new Map<string, XMLHttpRequest>();
  private readonly left = new Map<string, number>();

  /** base: where files are sent to, "/c/TOKEN/files". */
  constructor(private readonly base: string, private readonly changed: () => void,
    private readonly arrived: (m: Message) => void) {}

  /** add takes a file and reports whether there was room for it. */
  add(file: File, at: string): boolean {
    if (this.all.length >= most) return false;
    const u: Upload = { id: newID(), file, at, state: 'waiting', sent: 0, code: '' };
    if (pictures.has(file.type)) u.preview = URL.createObjectURL(file);
    this.all.push(u);
    this.left.set(u.id, tries);
    this.go();
    return true;
  }

  again(id: string): void {
    const u = this.all.find((x) => x.id === id);
    if (!u || u.state === 'sending') return;
    u.state = 'waiting';
    this.left.set(id, tries);
    this.go();
  }

  /** resume begins again what a lost connection broke off. */
  resume(): void {
    for (const u of this.all) if (u.state === 'failed' && u.code === 'network') u.state = 'waiting';
    this.go();
  }

  /** settle forgets an upload: it is in the room, or nobody wants it there. */
  settle(id: string): void {
    const i = this.all.findIndex((u) => u.id === id);
    if (i < 0) return;
    const [u] = this.all.splice(i, 1);
    if (u?.preview) URL.revokeObjectURL(u.preview);
    const request = this.requests.get(id);
    this.requests.delete(id);
    this.left.delete(id);
    request?.abort();
    this.go();
  }

  close(): void {
    for (const u of [...this.all]) this.settle(u.id);
  }

  private go(): void {
    for (const u of this.all) {
      if (this.requests.size >= atOnce) break;
      if (u.state === 'waiting') this.send(u);
    }
    this.changed();
  }

  /** send uses XMLHttpRequest because fetch tells nothing of progress. */
  private send(u: Upload): void {
    const request = new XMLHttpRequest();
    this.requests.set(u.id, request);
    u.state = 'sending';
    u.sent = 0;
    u.code = '';
    const query = new URLSearchParams({ name: u.file.name, id: u.id });
    request.open('POST', `${this.base}?${query}`);
    request.setRequestHeader('Content-Type', 'application/octet-stream');
    for (const [name, value] of Object.entries(deskHeaders())) request.setRequestHeader(name, value);
    request.upload.onprogress = (ev) => {
      if (ev.lengthComputable) u.sent = ev.loaded / ev.total;
      this.changed();
    };
    request.onloadend = () => {
      if (this.requests.get(u.id) !== request) return; // settled, or begun again
      this.requests.delete(u.id);
      let body: { msg?: Message; error?: string } = {};
      try {
        body = JSON.parse(request.responseText || '{}');
      } catch {
        // A proxy's page: the status says enough.
      }
      if (request.status === 201 && body.msg) {
        this.arrived(body.msg);
        this.settle(u.id);
        return;
      }
      u.state = 'failed';
      u.code = request.status === 0 ? 'network' : body.error || String(request.status);
      this.later(u, Number(request.getResponseHeader('Retry-After')) || 0);
      this.go();
    };
    request.send(u.file);
  }

  private later(u: Upload, wait: number): void {
    // Of many files at once some have to wait for the server's pace, however long.
    if (u.code === 'too-often') this.left.set(u.id, tries);
    const left = this.left.get(u.id) ?? 0;
    if (!passing.has(u.code) || left <= 0 || u.code === 'network' && !navigator.onLine) return;
    this.left.set(u.id, left - 1);
    setTimeout(() => {
      if (u.state !== 'failed' || !this.all.includes(u)) return;
      u.state = 'waiting';
      this.go();
    }, Math.max(wait * 1000, 2000));
  }
}
