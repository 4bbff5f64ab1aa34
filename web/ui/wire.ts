// SPDX-License-Identifier: GPL-3.0-or-later

// The frames of docs/protocol.md and the answers of the front door, as types.

export interface Person { login?: string; addr: string; name?: string }
export interface Participant extends Person { id: number; guest?: boolean }
export interface Message { offset: number; id: string; from: number; kind: string; text: string; at: string }
export interface Status { state: 'available' | 'away' | 'off'; since?: string }

export interface Attempt {
  id: string;
  state: 'ringing' | 'answered' | 'declined' | 'cancelled' | 'unanswered' | 'alarmed';
  caller: number; callee: number;
  ring: number; of: number; on: boolean;
  devices?: string[];
  started: string; mailed?: string; words?: string; tell?: boolean;
}

export interface Ring {
  attempt: string; room: string; from: Person; subject: string;
  ring: number; of: number; waiting?: boolean; at: string;
}

export interface Frame {
  t: string;
  ticket?: string; room?: string; epoch?: string; after?: number;
  id?: string; text?: string; offset?: number; at?: string; from?: number; on?: boolean; n?: number;
  code?: string; fatal?: boolean;
  me?: number; subject?: string; people?: Participant[]; here?: number[]; seen_by?: Record<string, number>;
  msg?: Message; attempt?: Attempt; attempt_id?: string; ring?: Ring; status?: Status;
  carrier?: string; port?: number;
}

export interface Endpoint { carrier: string; url: string; port?: number; hashes?: string[] }
export interface Entry { ticket: string; room: string; me: number; endpoints: Endpoint[] }

export interface Summary {
  id: string; epoch: string; next: number; subject: string; created: string; owner: number;
  participants: Participant[]; last?: Message; unread: number; me: number;
}

export interface ChatPage {
  page: 'chat'; lang: string; token: string; nonce: string; mine: boolean; reply?: string;
  card: { callee: Person; recipient: Person; subject: string; date?: string; status: Status };
}
export interface GonePage {
  page: 'gone'; lang: string; reason: 'unknown' | 'expired' | 'revoked';
  whose?: string; // to whom the link was sent
  from?: Person;  // who wrote the mail it came with
  reply?: string;
}
export interface DeskPage { page: 'desk'; lang: string; login: string | null; name?: string }
export interface Account { login: string; password: string; role: string }
export interface Demo {
  web: string; submission: string; smtp: string; pop3: string; imap: string; metrics?: string;
  domain: string; ports: string; ca?: string; accounts: Account[]; sample?: { link?: string };
}
export interface LandingPage { page: 'landing'; lang: string; demo: Demo | null }
export type Page = ChatPage | GonePage | DeskPage | LandingPage;

/** Limits of the wire, as in chatrelay/frame. */
export const maxText = 16 << 10; // octets of a message
export const maxFrame = 1 << 20; // octets the client reads in one frame: generous, but a bound
export const pingEvery = 3000;   // ms
export const idleWait = 10_000;  // ms without a frame: the connection is gone
export const headStart = 1500;   // ms QUIC has before WebSocket is tried
