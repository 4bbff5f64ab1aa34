// SPDX-License-Identifier: GPL-3.0-or-later

// Passkeys on the mall's pages (Web Authentication): the button asks the server what to
// ask the browser for, and sends the answer with the form in which it stands.

import { t } from '../base/i18n';

interface Ceremony { options: { publicKey: any }; ticket: string }

function octets(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(text.replace(/-/g, '+').replace(/_/g, '/')), (c) => c.charCodeAt(0));
}

function text(of: ArrayBuffer | null | undefined): string | undefined {
  return of ? btoa(String.fromCharCode(...new Uint8Array(of))).replace(/\+/g, '-').replace(/\//g, '_').replace(/=+$/, '')
    : undefined;
}

const known = (list: { id: string }[] | undefined) => list?.map((one) => ({ ...one, id: octets(one.id) }));

/** answer has the browser make or use a passkey, as JSON for the server. */
async function answer(ask: any): Promise<string> {
  const publicKey = { ...ask, challenge: octets(ask.challenge) };
  let c: PublicKeyCredential;
  if (ask.user) {
    publicKey.user = { ...ask.user, id: octets(ask.user.id) };
    publicKey.excludeCredentials = known(ask.excludeCredentials);
    c = await navigator.credentials.create({ publicKey }) as PublicKeyCredential;
  } else {
    publicKey.allowCredentials = known(ask.allowCredentials);
    c = await navigator.credentials.get({ publicKey }) as PublicKeyCredential;
  }
  const r = c.response as AuthenticatorAttestationResponse & AuthenticatorAssertionResponse;
  return JSON.stringify({ id: c.id, rawId: text(c.rawId), type: c.type, response: {
    clientDataJSON: text(r.clientDataJSON), attestationObject: text(r.attestationObject),
    authenticatorData: text(r.authenticatorData), signature: text(r.signature), userHandle: text(r.userHandle),
  } });
}

function offer(part: HTMLElement): void {
  const button = part.querySelector('button')!, problem = part.querySelector('.problem')!;
  const form = part.closest('form')!;
  const field = (name: string) => form.elements.namedItem(name) as HTMLInputElement | null;

  async function press(): Promise<void> {
    problem.textContent = '';
    // Who registers has no password to type, and who signs in nothing at all.
    const secret = field('password');
    for (const name of ['name', 'email']) {
      const el = field(name);
      if (el && !el.reportValidity()) return;
    }
    button.disabled = true;
    try {
      const body = new URLSearchParams({ email: field('email')?.value ?? '' });
      const res = await fetch(part.dataset.passkey!, { method: 'POST', body });
      if (!res.ok) throw new Error(res.statusText);
      const c = await res.json() as Ceremony;
      field('passkey')!.value = await answer(c.options.publicKey);
      field('ticket')!.value = c.ticket;
      for (const el of [secret, field('login')]) {
        if (el) el.required = false;
      }
      form.requestSubmit();
    } catch {
      problem.textContent = t('mall.passkey.failed');
    }
    button.disabled = false;
  }

  button.addEventListener('click', () => void press());
  part.hidden = false;
}

if ('PublicKeyCredential' in globalThis) {
  document.querySelectorAll<HTMLElement>('[data-passkey]').forEach(offer);
}
