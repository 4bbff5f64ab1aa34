// SPDX-License-Identifier: GPL-3.0-or-later

const say = messenger.i18n.getMessage;
const part = (id) => document.getElementById(id);

const [{ id: tab }] = await messenger.tabs.query({ active: true, currentWindow: true });
const offer = await messenger.runtime.sendMessage({ ask: 'offer', tab });
const button = part('do');
if (offer?.link) {
  part('who').textContent = offer.login;
  part('what').textContent = offer.there;
  button.textContent = say('chatNow');
  button.onclick = async () => {
    await messenger.windows.openDefaultBrowser(offer.link);
    window.close();
  };
} else if (offer?.ask) {
  part('who').textContent = say('isYours', offer.ask);
  part('what').textContent = say('isYoursWhat');
  button.textContent = say('isYoursYes');
  button.onclick = async () => {
    await messenger.runtime.sendMessage({ ask: 'trust', tab, server: offer.ask });
    location.reload();
  };
} else part('what').textContent = say('nothing');
button.hidden = !offer;
