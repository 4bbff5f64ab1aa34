// SPDX-License-Identifier: GPL-3.0-or-later

// The answers of the front door, as types, and what the wire is held to.

import type { Endpoint, FileInfo, Person, Status } from './frames';

export * from './frames';

export interface Entry { ticket: string; room: string; me: number; endpoints: Endpoint[]; attempt?: string }

export interface Hit {
  room: string; subject: string; offset: number; from: number; name: string; at: string; kind: string; snippet: string;
  file?: FileInfo;
}

export interface Canned { title: string; text: string }

/** A browser that is notified. */
export interface Browser { id: string; name: string; added: string; shown?: string }

/** The settings of a login: GET and PUT /desk/settings. */
export interface Settings {
  login: string;
  name: string; // beside one's address; '': not set
  availability: 'available' | 'away' | 'dnd';
  until: string | null;
  quiet: { from: string; to: string; days?: number[] } | null;
  zone: string;
  back: number;      // minutes; 0: computed
  chats: number;     // at once; 0: any number
  push: boolean; transcript: boolean; stamp: boolean; unread: boolean;
  stamp_text: string; // words of the chat link; '': the usual
  lang: '' | 'en' | 'ko';
  unproven: 'yes' | 'no'; // whoever presses one's links may come in unproven
  canned: Canned[];
  // Only in answers:
  status?: Status; usually?: number;
  called?: string; // how others know the login
  browsers?: Browser[]; // that are notified
  blocked?: { who: string; name: string; at: string }[];
  groups?: string[];
  group_canned?: Record<string, Canned[]>; // which the members of a group share
}

/** What a chat page begins with, and GET /c/TOKEN/state. */
export interface ChatPage {
  token: string; nonce: string; mine: boolean; reply: string; at: string; callee: Person; status: Status;
  waiting?: Person[]; // others who are in the conversation now
  talk: string; style: string; // where the conversation's script and style are
  gate: string; // and the script that asks whose the link is
  pass?: string; // that another page of this server has given
  do?: 'ring' | 'enter'; // what it says is done at once
}
/** What the desk begins with, and GET /desk/me. */
export interface DeskPage {
  login: string | null; name: string;
  account: boolean; // whether people change their passwords here
  mail?: { host: string; servers: MailServer[] };
}
/** A port at which mail programs sign in. */
export interface MailServer { protocol: 'smtp' | 'imap' | 'pop3'; port: number; tls: boolean }
/** What is known of a device's password; times are of RFC 3339. */
export interface AppPassword { name: string; made: string; used?: string }
/** A computer whose program has signed in; times are of RFC 3339. */
export interface Program { id: string; name: string; made: string; seen: string; addr: string }
export interface Account { login: string; password: string; role: string }
export interface Demo {
  web: string; submission: string; smtp: string; pop3: string; imap: string; metrics?: string;
  domain: string; ports: string; ca?: string; accounts: Account[]; sample?: string; mall?: string;
}
export interface LandingPage { demo: Demo }

export const pingEvery = 2000;   // ms
export const lostAfter = 4000;   // ms without a frame, two pings: the connection is lost
export const headStart = 1500;   // ms QUIC has before WebSocket is tried

/** A group of one's own, and who is in it. */
export interface Colleagues { group: string; members: { login: string; state: string; busy?: boolean }[] }

/** What somebody noted about a room for colleagues. */
export interface TeamNote {
  group: string; pos: number; id: string; login: string; text: string; behind: number; at: string;
}

/** How often somebody was asked for; median is in seconds. */
export interface Figure { name?: string; asked: number; answered: number; missed: number; median?: number }
export interface Figures { total: Figure; days: Figure[]; of: Figure[] }

/** A filter of one's own mail. */
export interface MailFilter {
  field: 'from' | 'to' | 'subject';
  contains: string;
  folder: string; // empty: the inbox
  seen: boolean;
}

/** What somebody has set for their own mail, and what it takes. */
export interface MailSettings {
  forward: string[] | null;
  keep: boolean;
  vacation: { on: boolean; subject: string; text: string; until: string };
  filters: MailFilter[] | null;
  used: number; // octets
  quota: number; // octets; 0: no bound
}
