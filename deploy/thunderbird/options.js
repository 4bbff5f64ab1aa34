// SPDX-License-Identifier: GPL-3.0-or-later

const say = messenger.i18n.getMessage;
const form = (id) => document.getElementById(id);
const told = form('told');

for (const e of document.querySelectorAll('[data-say]')) e.textContent = say(e.dataset.say);

async function show() {
  const { server, login, token, trusted = [] } = await messenger.storage.local.get();
  form('sign-in').hidden = Boolean(token);
  form('sign-out').hidden = !token;
  form('as').textContent = token ? say('signedIn', [login, server]) : '';
  form('sign-in').server.value = server ?? '';
  form('sign-in').login.value = login ?? '';
  form('servers').names.value = trusted.join('\n');
}

form('sign-in').onsubmit = async (ev) => {
  ev.preventDefault();
  told.textContent = '';
  const { server, login, password } = ev.target;
  const url = new URL(server.value);
  // The permission comes with the press, before anything else is waited for.
  if (!await messenger.permissions.request({ origins: [`${url.protocol}//${url.hostname}/*`] })) {
    told.textContent = say('notAllowed');
    return;
  }
  try {
    const answer = await fetch(url.origin + '/desk/token', { method: 'POST', credentials: 'omit',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ login: login.value, password: password.value, device: 'Thunderbird' }) });
    const body = await answer.json();
    if (!body.token) {
      told.textContent = answer.status === 401 ? say('wrong') : body.text;
      return;
    }
    await messenger.storage.local.set({ server: url.origin, login: body.login, token: body.token });
    await messenger.runtime.sendMessage({ ask: 'reconnect' });
  } catch {
    told.textContent = say('unreachable', url.host);
  } finally {
    password.value = '';
  }
  await show();
};

form('sign-out').onsubmit = async (ev) => {
  ev.preventDefault();
  const { server, token } = await messenger.storage.local.get();
  await messenger.storage.local.remove('token');
  await messenger.runtime.sendMessage({ ask: 'reconnect' });
  await fetch(server + '/desk/sign-out', { method: 'POST', credentials: 'omit',
    headers: { Authorization: 'Bearer ' + token } }).catch(() => {});
  await show();
};

form('servers').onsubmit = async (ev) => {
  ev.preventDefault();
  const names = ev.target.names.value.toLowerCase().split(/[\s,]+/).filter(Boolean);
  await messenger.storage.local.set({ trusted: [...new Set(names)].slice(0, 50) });
  await messenger.runtime.sendMessage({ ask: 'reconnect' });
  told.textContent = say('saved');
  await show();
};

await show();
