// SPDX-License-Identifier: GPL-3.0-or-later

// The frames of docs/protocol.md and the answers of the front door, as types.

export interface Person { login?: string; addr: string; name?: string }
export interface Participant extends Person { id: number; guest?: boolean }

/** A file of a message; with width it is a picture that may be shown. */
export interface FileInfo {
  id: string; name: string; type: string; size: number; width?: number; height?: number; thumb?: boolean;
}

export interface Message {
  offset: number; id: string; from: number; at: string;
  kind: string;      // text, file, mail, note; edit and delete change the message at ref
  text: string;
  ref?: number;
  edited?: string; deleted?: boolean;
  via?: string;      // "mail": an answer by mail
  file?: FileInfo;
}

export interface Status {
  state: 'available' | 'away' | 'dnd' | 'quiet' | 'off';
  since?: string;    // off: last seen
  until?: string;
  back?: number;     // minutes within which the person is usually back
  busy?: boolean;    // in another chat
}

export interface Attempt {
  id: string;
  state: 'ringing' | 'busy' | 'answered' | 'declined' | 'cancelled' | 'unanswered' | 'alarmed';
  caller: number; callee: number;
  ring: number; of: number; on: boolean;
  devices?: string[];
  started: string; mailed?: string; pushed?: string; words?: string; tell?: boolean;
  why?: 'off' | 'dnd' | 'quiet' | 'busy' | ''; // unanswered, alarmed: why it did not ring
  busy?: boolean;    // ringing: in another chat, and rung there
  by?: number;       // answered: the member of a group who did
}

export interface Ring {
  attempt: string; room: string; from: Person; subject: string;
  ring: number; of: number; waiting?: boolean; at: string;
  muted?: boolean; busy?: boolean;
  group?: string;    // the group address that is rung; missing: oneself
}

export interface Frame {
  t: string;
  ticket?: string; room?: string; epoch?: string; after?: number;
  id?: string; text?: string; offset?: number; at?: string; from?: number; on?: boolean; n?: number;
  code?: string; fatal?: boolean;
  me?: number; subject?: string; people?: Participant[]; here?: number[]; seen_by?: Record<string, number>;
  msg?: Message; attempt?: Attempt; attempt_id?: string; ring?: Ring; status?: Status;
  summary?: Summary;
  carrier?: string; port?: number; wait?: number; name?: string; lang?: string; zone?: string;
  transcript?: boolean; max_file?: number; edit_for?: number;
  peers?: string[]; endpoints?: Endpoint[];
}

export interface Endpoint { carrier: string; url: string; port?: number; hashes?: string[] }
export interface Entry { ticket: string; room: string; me: number; endpoints: Endpoint[]; attempt?: string }

export interface Summary {
  id: string; epoch: string; next: number; subject: string; created: string; owner: number;
  participants: Participant[]; last?: Message; unread: number; me: number; muted?: boolean;
  people: number; touched: string; talked: boolean; labels?: string[]; notes?: number;
  missed?: { count: number; attempt: string; from: number; at: string };
  teams?: { group: string; name?: string; assignee?: string }[];
}

export interface Hit {
  room: string; subject: string; offset: number; from: number; name: string; at: string; kind: string; snippet: string;
  file?: FileInfo;
}

export interface Canned { title: string; text: string }

/** The settings of a login: GET and PUT /desk/settings. */
export interface Settings {
  login: string;
  availability: 'available' | 'away' | 'dnd';
  until: string | null;
  quiet: { from: string; to: string; days?: number[] } | null;
  zone: string;
  back: number;      // minutes; 0: computed
  chats: number;     // at once; 0: any number
  push: boolean; transcript: boolean; stamp: boolean;
  canned: Canned[];
  // Only in answers:
  status?: Status; usually?: number; browsers?: number;
  blocked?: { who: string; name: string; at: string }[];
  groups?: string[];
}

export interface ChatPage {
  page: 'chat'; lang: string; token: string; nonce: string; mine: boolean; reply?: string; at: string;
  card: { callee: Person; recipient: Person; subject: string; date?: string; status: Status };
}
export interface GonePage {
  page: 'gone'; lang: string; reason: 'unknown' | 'expired' | 'revoked';
  whose?: string; // to whom the link was sent
  from?: Person;  // who wrote the mail it came with
  reply?: string;
}
export interface DeskPage {
  page: 'desk'; lang: string; login: string | null; name?: string;
  account?: boolean; // whether people change their passwords here
}
/** What is known of a device's password; times are of RFC 3339. */
export interface AppPassword { name: string; made: string; used?: string }
export interface Account { login: string; password: string; role: string }
export interface Demo {
  web: string; submission: string; smtp: string; pop3: string; imap: string; metrics?: string;
  domain: string; ports: string; ca?: string; accounts: Account[]; sample?: string;
}
export interface LandingPage { page: 'landing'; lang: string; demo: Demo | null }
export interface OfflinePage { page: 'offline'; lang: string }
export type Page = OfflinePage | ChatPage | GonePage | DeskPage | LandingPage;

/** Limits of the wire, as in chatrelay/frame. */
export const maxText = 16 << 10; // octets of a message
export const maxFrame = 1 << 20; // octets the client reads in one frame: generous, but a bound
export const pingEvery = 2000;   // ms
export const lostAfter = 4000;   // ms without a frame, two pings: the connection is lost
export const headStart = 1500;   // ms QUIC has before WebSocket is tried
