// SPDX-License-Identifier: GPL-3.0-or-later

// Talking to a shop on the mall's pages: "Chat now" opens the chat's page in a panel, and
// a page of a signed-in member rings. The panel comes back on the next page.

import { bdi, fill, h } from '../base/dom';
import { t, tr } from '../base/i18n';
import { cleanLine } from '../base/text';
import { Device } from '../model/device';
import { Incoming } from '../view/incoming';
import { unlock } from '../view/ringer';

interface Way { room: string; url: string }
interface Offer { number: string; text: string; total: string }

const openKey = 'mall.talk'; // in the tab's storage: the room in the panel, and whether it is small

function talks(panel: HTMLElement): void {
  let room = '';
  const offers = h('div', { class: 'talk-offers', 'aria-live': 'polite' });
  const toggle = h('button', { class: 'link', type: 'button', onclick: () => fold(!panel.classList.contains('small')) });
  const head = h('div', { class: 'talk-head' }, h('h2', null, t('talk.panel')), toggle,
    h('button', { class: 'link', type: 'button', onclick: close }, t('talk.close')));

  function keep(): void {
    try {
      if (room) sessionStorage.setItem(openKey, JSON.stringify([room, panel.classList.contains('small')]));
      else sessionStorage.removeItem(openKey);
    } catch {
      // Without storage the panel is closed on the next page.
    }
  }

  function fold(small: boolean): void {
    panel.classList.toggle('small', small);
    toggle.textContent = t(small ? 'talk.open' : 'talk.small');
    toggle.setAttribute('aria-expanded', String(!small));
    keep();
  }

  function close(): void {
    room = '';
    panel.hidden = true;
    panel.replaceChildren();
    keep();
  }

  /** show puts the talk into the panel; back: it was there on the page before, and takes no focus. */
  function show(way: Way, small = false, back = false): void {
    room = way.room;
    const frame = h('iframe', { src: way.url, title: t('talk.panel'), allow: 'clipboard-write' });
    fill(panel, head, offers, frame);
    panel.hidden = false;
    fold(small);
    if (!small && !back) frame.focus();
    void look();
  }

  /** way asks the server for the way into a talk. */
  async function way(path: string, body = new URLSearchParams()): Promise<Way | undefined> {
    try {
      const res = await fetch(path, { method: 'POST', body, headers: { Accept: 'application/json' } });
      if (res.ok && res.headers.get('Content-Type') === 'application/json') return await res.json() as Way;
    } catch {
      // The network is away.
    }
    return undefined;
  }

  function failed(): void {
    fill(panel, h('p', { class: 'problem', role: 'alert' }, t('talk.failed')));
    panel.hidden = false;
  }

  /** enter reports whether there was a way in. */
  async function enter(into: string, small = false, back = false): Promise<boolean> {
    const found = await way('/talk/enter', new URLSearchParams({ room: into }));
    if (found) show(found, small, back);
    else {
      room = '';
      keep();
    }
    return found !== undefined;
  }

  /** look shows the offers that wait in the talk. */
  async function look(): Promise<void> {
    const of = room;
    if (!of) return;
    let list: Offer[] = [];
    try {
      const res = await fetch('/talk/offers?room=' + encodeURIComponent(of));
      if (res.ok) list = await res.json() as Offer[];
    } catch {
      return;
    }
    if (of !== room) return;
    fill(offers, list.map((o) => h('p', null, tr('talk.offerWaits', { goods: bdi(cleanLine(o.text)), total: o.total }), ' ',
      h('a', { class: 'button primary', href: '/orders/' + encodeURIComponent(o.number) }, t('talk.look')))));
  }

  // A form that leads into a talk: without a way in, it goes as it would without script.
  document.addEventListener('submit', (ev) => {
    const form = ev.target as HTMLFormElement;
    if (!/^\/(goods|shops|orders)\/[^/]+\/chat$|^\/basket\/chat\//.test(new URL(form.action).pathname)) return;
    ev.preventDefault();
    const button = form.querySelector('button');
    if (button) button.disabled = true;
    const typed = [...new FormData(form)].map(([name, value]) => [name, String(value)]);
    void way(form.action, new URLSearchParams(typed)).then((found) => {
      if (button) button.disabled = false;
      if (found) show(found);
      else form.submit();
    });
  });

  const login = panel.dataset.login;
  if (login) rings(login);
  try {
    const [open, small] = JSON.parse(sessionStorage.getItem(openKey) ?? '[]') as [string?, boolean?];
    if (open) void enter(open, small, true);
  } catch {
    // Nothing was open.
  }

  /** rings makes this page a device on which the member is rung. */
  function rings(who: string): void {
    addEventListener('pointerdown', () => void unlock(), { once: true });
    const incoming = new Incoming({
      answer: (r) => {
        device.answer(r.attempt);
        incoming.end(r.attempt);
        void enter(r.room).then((there) => there || failed());
      },
      decline: (r, words) => {
        device.decline(r.attempt, words);
        incoming.end(r.attempt);
      },
      talking: () => room !== '',
      canned: () => [],
    }, new AbortController().signal);
    const device = new Device(who, {
      // A call that is over is in the member's mail and at the desk.
      ring: (r) => r.waiting || r.muted || incoming.show(r),
      ended: (attempt) => void incoming.end(attempt),
      changed: (of) => of === room && void look(),
      welcomed: () => {}, settings: () => {}, status: () => {}, phase: () => {},
    }, '/talk/ws');
  }
}

const panel = document.getElementById('talk');
if (panel) talks(panel);
