// SPDX-License-Identifier: GPL-3.0-or-later

// Inviting somebody into a conversation: they get a mail with a link into it.

import { fill, h } from '../base/dom';
import { ApiError, explain } from '../base/errors';
import { t, tr } from '../base/i18n';
import { post } from '../wire/api';

export function inviteForm(room: string): HTMLElement {
  const to = h('input', { type: 'text', inputmode: 'email', autocomplete: 'off', id: 'invite-to', required: true });
  const button = h('button', { class: 'secondary small', type: 'submit' }, t('invite.send'));
  const told = h('p', { class: 'fine', role: 'status' });
  return h('form', { class: 'invite', onsubmit: async (ev: Event) => {
    ev.preventDefault();
    const address = to.value.trim();
    button.disabled = true;
    try {
      await post(`/desk/rooms/${encodeURIComponent(room)}/invite`, { to: address });
      to.value = '';
      fill(told, tr('invite.sent', { to: address }));
    } catch (err) {
      fill(told, err instanceof ApiError && err.code === 'bad-request' ? t('invite.wrong') : explain(err));
    }
    button.disabled = false;
  } }, h('label', { for: to.id }, t('invite.who')), h('div', { class: 'first-line' }, to, button), told);
}
