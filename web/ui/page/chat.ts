// SPDX-License-Identifier: GPL-3.0-or-later

// The card behind a chat link, which the server has written. Nothing happens
// until "Chat now" is pressed. The conversation is a script of its own (talk.ts),
// which is loaded with its style once the card is there.

import '../base/mishap';
import { h } from '../base/dom';
import { ApiError, explain } from '../base/errors';
import { fullTime, type Key, t, tr, zone } from '../base/i18n';
import { tabTitle } from '../base/tabtitle';
import { nameOf } from '../base/text';
import { heardAt, now } from '../base/time';
import { isOpen } from '../model/opentab';
import { cardLine } from '../model/status';
import { StatusLine } from '../view/roomheader';
import { readPage } from '../wire/api';
import type { ChatPage, Entry } from '../wire/wire';
import { Link } from './link';
import type * as Gate from './gate';
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
  const there = h('p', { class: 'muted there' }); // after leaving: whether the person is there
  const after = h('div', { class: 'after', hidden: true });
  before.after(after);
  const status = new StatusLine(part('.status'));
  tabTitle(t('chat.title', { name }));
  let onCard = false;
  let elsewhere = false; // another tab of this browser shows the conversation

  // A browser may remember that an address failed, so that each try has its own.
  const load = <S>(address: string, tries: number) => import(address + (tries ? `?${tries}` : '')) as Promise<S>;
  const rest = once(async (tries) => {
    const [script] = await Promise.all([load<typeof Talk>(page.talk, tries), style(page.style)]);
    return script;
  });
  const gate = once((tries) => load<typeof Gate>(page.gate, tries));

  const line = () => (elsewhere ? { mood: 'good' as const, nodes: tr('status.otherTab') }
    : cardLine(page.status, page.waiting));

  function card(problem = '', left?: Talk.Left): void {
    onCard = true;
    trouble.textContent = problem || (navigator.cookieEnabled ? '' : t('chat.noCookies'));
    start.disabled = false;
    start.querySelector('span')!.textContent = t(left ? 'chat.again' : 'chat.now');
    before.hidden = !page.mine || !!left;
    there.replaceChildren();
    after.hidden = !left?.talked;
    if (left?.talked) after.replaceChildren(...left.transcript ? [] : [wish()], rate());
    status.show(left ? { mood: 'quiet', nodes: tr('status.left') } : line());
    if (stage.isConnected) return;
    part('.card-who').append(status.el, ...left ? [there] : []);
    root.replaceChildren(stage);
    if (left) void link.refresh().then(() => onCard && there.replaceChildren(...line().nodes));
  }

  /** thanks takes the place of what was asked for once the server has it. */
  const afterwards = (el: HTMLElement, what: object, thanks: Key) => link.guarded('after', what)
    .then(() => el.replaceChildren(h('p', { role: 'status' }, t(thanks))), (err) => {
      trouble.textContent = explain(err);
    });

  function wish(): HTMLElement {
    const el: HTMLElement = h('p', null, h('button', { class: 'link', type: 'button',
      onclick: () => void afterwards(el, { transcript: true, zone: zone() }, 'left.transcriptSent') },
    t('left.transcript')));
    return el;
  }

  function rate(): HTMLElement {
    const press = (rating: string, key: Key) => h('button', { class: 'secondary small', type: 'button',
      onclick: () => void afterwards(el, { rating }, 'left.rated') }, t(key));
    const el: HTMLElement = h('div', { class: 'rate', role: 'group', 'aria-labelledby': 'rate' },
      h('span', { id: 'rate' }, t('left.rate')), press('good', 'left.good'), press('bad', 'left.bad'));
    return el;
  }

  const handOver = (): Talk.Card => {
    onCard = false;
    return { page, root, status: status.el, time: now().toISOString(), stay, back: card, prove };
  };

  const enter = (how: object = {}, ring = true) => link.guarded<Entry>('chat', { ring, shown: true, ...how });

  function prove(refused: ApiError): void {
    onCard = false;
    gate().then((script) => script.prove(page, root, refused, async (how) => {
      const entry = await enter(how);
      (await rest()).talk(handOver(), entry);
    }, card), () => card(t('chat.notLoaded')));
  }

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
      script.talk(handOver(), await enter({}, ring), ring);
    } catch (err) {
      if (!(err instanceof ApiError)) throw err;
      if (link.lost(err)) return failed('');
      if (err.status === 409) return prove(err);
      failed(explain(err));
    }
  }

  function failed(words: string): void {
    start.disabled = false;
    status.show(line());
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
  const pressedEarly = loading?.matches(':popover-open');
  loading?.remove();
  start.removeAttribute('popovertarget');
  if (stayed()) void comeBack();
  else card();
  void isOpen(token).then((open) => {
    elsewhere = open;
    if (open && onCard && !start.disabled) status.show(line());
  });
  if (page.do && onCard) void press(page.do !== 'enter');
  else if (pressedEarly && onCard) pressed(false);
  const look = async () => {
    if (!onCard || document.hidden || !(await link.refresh()) || !onCard || start.disabled) return;
    elsewhere = await isOpen(token);
    there.replaceChildren();
    status.show(line());
  };
  setInterval(() => void look(), refreshEvery);
  document.addEventListener('visibilitychange', () => void look());
  // What is not there in time is loaded at the press.
  const early = () => void rest().catch(() => undefined);
  if (document.readyState === 'complete') early();
  else addEventListener('load', early);
}

chat(readPage<ChatPage>(), document.getElementById('app')!);
