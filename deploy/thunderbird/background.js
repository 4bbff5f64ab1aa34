// SPDX-License-Identifier: GPL-3.0-or-later

// The button of each mail, and the connection on which one is rung.

import { judge } from './trust.js';
import { Device } from './device.js';

const say = messenger.i18n.getMessage;

/** settings are { server, login, token, trusted }. */
export const settings = async () => ({ trusted: [], ...(await messenger.storage.local.get()) });

async function judgeShown(message) {
  const { server, login, trusted } = await settings();
  const { headers } = await messenger.messages.getFull(message.id);
  const account = message.folder && await messenger.accounts.get(message.folder.accountId, false);
  const here = account?.identities.some((i) => i.email.toLowerCase() === login?.toLowerCase()) ?? false;
  return judge(headers, server ? { server, login, here } : null, trusted);
}

/** available asks the chat's server whether the sender is there; empty: it does not say. */
async function available(link) {
  try {
    const answer = await fetch(link + '/state', { credentials: 'omit', referrerPolicy: 'no-referrer' });
    const { state } = (await answer.json()).status;
    return say('state_' + state);
  } catch {
    return '';
  }
}

/** show sets the button of a tab for the message in it. */
async function show(tab, message) {
  const offer = message && await judgeShown(message);
  if (!offer) {
    await messenger.messageDisplayAction.disable(tab.id);
    return;
  }
  await messenger.messageDisplayAction.enable(tab.id);
  // Only one's own server is asked by itself: another would learn that the mail was opened.
  const there = offer.own ? await available(offer.link) : '';
  const title = there ? say('chatWith', there) : say('chat');
  await messenger.messageDisplayAction.setTitle({ tabId: tab.id, title });
  await messenger.messageDisplayAction.setLabel({ tabId: tab.id, label: title });
}

messenger.messageDisplay.onMessagesDisplayed.addListener(async (tab, { messages }) => {
  await show(tab, messages.length === 1 ? messages[0] : null);
});

/** What the popup and the settings ask. */
const requests = {
  async offer({ tab }) {
    const { messages } = await messenger.messageDisplay.getDisplayedMessages(tab);
    const offer = messages.length === 1 && await judgeShown(messages[0]);
    return offer && { ...offer, there: offer.link ? await available(offer.link) : '' };
  },
  async trust({ tab, server }) {
    const { trusted } = await settings();
    await messenger.storage.local.set({ trusted: [...new Set([...trusted, server])] });
    const { messages } = await messenger.messageDisplay.getDisplayedMessages(tab);
    await show({ id: tab }, messages[0]);
  },
  async reconnect() {
    await connect();
    for (const tab of await messenger.tabs.query({ type: ['mail', 'messageDisplay'] })) {
      const { messages } = await messenger.messageDisplay.getDisplayedMessages(tab.id);
      if (messages.length === 1) await show(tab, messages[0]);
    }
  },
  state: async () => device?.state ?? 'out',
};

messenger.runtime.onMessage.addListener((request) => requests[request.ask]?.(request));

let device;
const rooms = new Map(); // of notifications, by attempt

async function connect() {
  device?.stop();
  device = undefined;
  const { server, token } = await settings();
  if (token) device = new Device(server, token, { ring, end, out });
}

function ring(r) {
  rooms.set(r.attempt, r.room);
  if (rooms.size > 100) rooms.delete(rooms.keys().next().value);
  const name = r.from.name || r.from.addr;
  messenger.notifications.create(r.attempt, { type: 'basic', iconUrl: 'icon.svg', message: r.subject || '',
    title: say(r.waiting ? 'missed' : r.proven ? 'rings' : 'ringsByLink', name) });
}

function end(attempt, code) {
  if (code !== 'unanswered') messenger.notifications.clear(attempt);
}

/** out: the server has ended the session. */
async function out() {
  await messenger.storage.local.remove('token');
  messenger.notifications.create('out', { type: 'basic', iconUrl: 'icon.svg', title: say('signedOut'),
    message: say('signedOutTodo') });
}

messenger.notifications.onClicked.addListener(async (id) => {
  const { server } = await settings();
  const room = rooms.get(id);
  if (server) await messenger.windows.openDefaultBrowser(server + '/desk' + (room ? '#' + room : ''));
});

// The page is loaded anew at the start of Thunderbird, and when it has been asleep.
messenger.runtime.onStartup.addListener(() => {});
connect();
