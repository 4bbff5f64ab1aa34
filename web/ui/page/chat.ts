// SPDX-License-Identifier: GPL-3.0-or-later

// The card behind a chat link, which the server has written. Nothing happens
// until "Chat now" is pressed. The conversation is a script of its own (talk.ts),
// which is loaded with its style once the card is there.

import '../base/mishap';
import { h } from '../base/dom';
import { ApiError, explain } from '../base/errors';
import { fullTime, t, tr } from '../base/i18n';
import { tabTitle } from '../base/tabtitle';
import { nameOf } from '../base/text';
import { heardAt, now } from '../base/time';
import { cardLine } from '../model/status';
import { StatusLine } from '../view/roomheader';
import { readPage } from '../wire/api';
import type { ChatPage, Entry } from '../wire/wire';
import { Link } from './link';
import type * as Talk from './talk';

const refreshEvery = 20_000; // ms between two looks at whether the person is there

/** once gives the same promise each time, until it fails. */
function once<T>(make: (tries: number) => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  let tries = 0;
  return () => made ??= make(tries++).catch((err: unknown) => {
    made = undefined;
    throw err;
  });
}

function style(href: string): Promise<void> {
  return new Promise((done, failed) => {
    const el = h('link', { rel: 'stylesheet', href, onload: () => done(), onerror: () => {
      el.remove();
      failed(new Error(`${href} was not loaded`));
    } });
    document.head.append(el);
  });
}

function chat(page: ChatPage, root: HTMLElement): void {
  const { token } = page;
  const link = new Link(page);
  heardAt(page.at);
  const name = nameOf(page.callee);
  // The card as the server has written it. It comes back after a conversation.
  const stage = root.querySelector<HTMLElement>('.stage')!;
  const part = <E extends HTMLElement>(selector: string) => stage.querySelector<E>(selector)!;
  const start = part<HTMLButtonElement>('button.large');
  const trouble = part('.card > .problem');
  const before = part('.before');
  const decoy = part('#pressed');
  const there = h('p', { class: 'muted' }); // after leaving: whether the person is there
  const status = new StatusLine(part('.status'));
  tabTitle(t('chat.title', { name }));
  let onCard = false;

  // A browser may remember that an address failed, so that each try has its own.
  const rest = once(async (tries) => {
    const [script] = await Promise.all([
      import(page.talk + (tries ? `?${tries}` : '')) as Promise<typeof Talk>, style(page.style)]);
    return script;
  });

  function card(problem = '', left = false): void {
    onCard = true;
    trouble.textContent = problem;
    start.disabled = false;
    before.hidden = !page.mine || left;
    there.replaceChildren();
    status.show(left ? { mood: 'quiet', nodes: tr('status.left') } : cardLine(page.status, page.waiting));
    if (stage.isConnected) return;
    part('.card-who').append(status.el, ...left ? [there] : []);
    root.replaceChildren(stage);
    if (left) {
      void link.refresh().then(() => onCard && there.replaceChildren(...cardLine(page.status, page.waiting).nodes));
    }
  }

  const handOver = (): Talk.Card => {
    onCard = false;
    return { page, root, status: status.el, time: now().toISOString(), stay, back: card };
  };

  // Scanners of mail press what they find in a page. Whoever presses what no person can, or by a script, is asked once.
  let asked = false;

  function pressed(byScript: boolean): void {
    if (asked || !byScript && !decoy.matches(':popover-open')) return void press();
    asked = true;
    trouble.replaceChildren(...tr('chat.onceMore', { name }));
  }

  async function press(ring = true): Promise<void> {
    trouble.textContent = '';
    start.disabled = true;
    status.show({ mood: 'busy', nodes: tr('status.connecting') });
    const script = await rest().catch(() => undefined);
    try {
      // Nobody is rung from a page that cannot show the conversation.
      if (!script) return failed(t('chat.notLoaded'));
      const entry = await link.guarded<Entry>('chat', { ring, shown: true });
      script.talk(handOver(), entry, ring);
    } catch (err) {
      if (!(err instanceof ApiError)) throw err;
      if (link.lost(err)) return failed('');
      if (script && err.status === 409) return script.prove(handOver(), err.code, err.body);
      failed(explain(err));
    }
  }

  function failed(words: string): void {
    start.disabled = false;
    status.show(cardLine(page.status, page.waiting));
    trouble.textContent = words;
    start.focus();
  }

  /** comeBack opens the conversation that was open in this tab. */
  async function comeBack(): Promise<void> {
    status.show({ mood: 'busy', nodes: tr('status.connecting') });
    const script = await rest().catch(() => undefined);
    if (script) script.talk(handOver());
    else card(t('chat.notLoaded'));
  }

  /** stay remembers, for as long as the tab lives, that the conversation is open in it. */
  function stay(on: boolean): void {
    try {
      if (on) sessionStorage.setItem('chmail.open.' + token, '1');
      else sessionStorage.removeItem('chmail.open.' + token);
    } catch {
      // Without storage a reload leads to the card.
    }
  }

  function stayed(): boolean {
    try {
      return page.mine && sessionStorage.getItem('chmail.open.' + token) === '1';
    } catch {
      return false;
    }
  }

  for (const time of stage.querySelectorAll('time')) time.textContent = fullTime(new Date(time.dateTime));
  start.onclick = (ev) => pressed(!ev.isTrusted);
  // Whoever pressed before this script was there saw that it is loading.
  const loading = stage.querySelector('#loading');
  const early = loading?.matches(':popover-open');
  loading?.remove();
  start.removeAttribute('popovertarget');
  if (stayed()) void comeBack();
  else card();
  if (page.do && onCard) void press(page.do !== 'enter');
  else if (early && onCard) pressed(false);
  const look = async () => {
    if (!onCard || document.hidden || !(await link.refresh()) || !onCard || start.disabled) return;
    status.show(cardLine(page.status, page.waiting));
  };
  setInterval(() => void look(), refreshEvery);
  document.addEventListener('visibilitychange', () => void look());
  // What is not there in time is loaded at the press.
  const load = () => void rest().catch(() => undefined);
  if (document.readyState === 'complete') load();
  else addEventListener('load', load);
}

chat(readPage<ChatPage>(), document.getElementById('app')!);
