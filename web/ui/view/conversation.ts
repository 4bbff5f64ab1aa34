// SPDX-License-Identifier: GPL-3.0-or-later

// The view of a room: the log, who is typing, and the box to write in.

import { fill, h, icon } from '../base/dom';
import { dayName, type Key, people, t, tr } from '../base/i18n';
import { after, soon } from '../base/time';
import type { Room } from '../model/room';
import { Compose } from './compose';
import { ask } from './dialog';
import { KeyedList, type View } from './list';
import {
  AsideView, comingContent, type Aside, type Line, mailContent, MessageView, noteContent,
} from './messageview';
import type { Canned, Message } from '../wire/wire';

const groupGap = 5 * 60_000; // ms of silence that begin a new group
const nearEnd = 80;          // px from the end that still count as the end
const nearStart = 120;       // px from the start at which earlier messages are drawn
const drawnAtOnce = 120;     // messages drawn; earlier ones as one scrolls to them

type Row = Line | Aside;

export class Conversation {
  readonly el: HTMLElement;
  private readonly list = h('ol', { class: 'lines' });
  private readonly rows: KeyedList<Row>;
  private readonly log: HTMLElement;
  private readonly bar = h('p', { class: 'bar', 'aria-live': 'polite', hidden: true });
  private readonly typing = h('p', { class: 'typing', 'aria-live': 'off' });
  private readonly newer: HTMLElement;
  private readonly compose: Compose;
  private readonly listening = new AbortController();
  private following = true;
  private skipped = 0;  // messages before those that are drawn
  private wanting = 0;  // the offset to be shown, of a search

  constructor(private readonly room: Room, canned?: () => Canned[]) {
    this.log = h('div', {
      class: 'log', role: 'log', 'aria-label': t('log.name'), 'aria-busy': 'true', tabindex: '0',
      onscroll: () => this.scrolled(),
    }, this.list);
    const actions = {
      edit: (m: Message) => this.compose.edit(m),
      reply: (m: Message) => this.compose.reply(m),
      quoted: (offset: number) => this.reveal(offset),
      remove: (m: Message) => void ask(t('line.deleteAsk'), t('line.delete'))
        .then((yes) => yes && room.change('delete', m)),
    };
    this.rows = new KeyedList<Row>(this.list, (r) => r.key, (r): View<Row> =>
      ('kind' in r ? new AsideView(r) : new MessageView(room, actions, r)) as View<Row>);
    this.newer = h('button', { class: 'newer', type: 'button', hidden: true, onclick: () => this.toEnd() },
      icon('down'), t('log.newer'));
    this.compose = new Compose(room, {
      canned,
      sent: () => {
        this.following = true;
        soon(() => this.update());
      },
    });
    this.el = h('div', { class: 'conversation' },
      this.bar,
      h('div', { class: 'log-frame' }, this.log, this.newer,
        h('p', { class: 'drop', 'aria-hidden': 'true' }, t('file.drop'))),
      this.typing,
      this.compose.el);
    // Anywhere: what is dropped beside the conversation would take the page's place.
    const { signal } = this.listening;
    addEventListener('dragover', (ev) => this.dragged(ev, true), { signal });
    addEventListener('dragleave', (ev) => this.dragged(ev, false), { signal });
    addEventListener('drop', (ev) => this.dropped(ev), { signal });
    addEventListener('beforeprint', () => {
      this.following = false;
      this.skipped = 0;
      this.update();
    }, { signal });
    addEventListener('beforeunload', (ev) => this.room.uploads.all.length && ev.preventDefault(), { signal });
    this.list.addEventListener('keydown', (ev) => this.arrow(ev), true);
    this.list.addEventListener('click', (ev) => this.touched(ev.target as Element));
    new ResizeObserver(() => this.following && this.toEnd()).observe(this.log);
    // A picture that arrives late must not push the end out of view.
    this.list.addEventListener('load', () => this.following && this.toEnd(), true);
    // A replay is not news: a screen reader hears what comes after it.
    after(1000, () => this.log.removeAttribute('aria-busy'));
  }

  focus(): void {
    this.compose.focus();
  }

  close(): void {
    this.listening.abort();
  }

  /** unsent says what would be left lying by whoever leaves now. */
  unsent(): string | undefined {
    const { room } = this;
    const n = room.uploads.all.length;
    if (n) return t('chat.leaveFiles', { n });
    // What is on its way while the connection is open arrives before the leave does.
    return this.compose.written || room.phase !== 'open' && room.pending.length ? t('chat.leaveDraft') : undefined;
  }

  ask(hint: (Node | string)[], placeholder: string): void {
    this.compose.ask(hint, placeholder);
  }

  /** reveal shows the message at an offset, as soon as it is here. */
  reveal(offset: number): void {
    this.wanting = offset;
    this.update();
  }

  /** update draws what changed; the rest of the log stays untouched. */
  update(): void {
    const room = this.room;
    this.compose.update();
    this.drawBar();
    const who = room.typing.map((p) => room.name(p));
    fill(this.typing, who.length ? [
      h('span', { class: 'dots', 'aria-hidden': 'true' }, h('i'), h('i'), h('i')),
      h('span', null, tr(who.length > 1 ? 'typing.many' : 'typing.one', { names: people(who) })),
    ] : []);

    const found = this.find();
    const before = this.list.childElementCount;
    this.rows.update(this.wanted());
    this.keepOneTabStop();
    if (this.following) this.toEnd();
    else if (this.list.childElementCount > before && room.messages.at(-1)?.from !== room.me) this.newer.hidden = false;
    if (found) this.point(found);
    this.look();
  }

  /** touched shows the menu of the line that was touched, where nothing can hover over it. */
  private touched(el: Element): void {
    const line = el.closest('.line');
    for (const other of this.list.querySelectorAll('.touched')) other.classList.toggle('touched', other === line);
    line?.classList.add('touched');
  }

  /** keepOneTabStop: Tab reaches the buttons of the lines once; the arrows lead from one to the next. */
  private keepOneTabStop(): void {
    const buttons = [...this.list.querySelectorAll<HTMLElement>('.line-more')];
    const stop = buttons.includes(document.activeElement as HTMLElement) ? document.activeElement : buttons.at(-1);
    for (const b of buttons) b.tabIndex = b === stop ? 0 : -1;
  }

  private arrow(ev: KeyboardEvent): void {
    const step = { ArrowUp: -1, ArrowDown: 1 }[ev.key];
    const buttons = [...this.list.querySelectorAll<HTMLElement>('.line-more')];
    const i = buttons.indexOf(ev.target as HTMLElement);
    if (!step || i < 0) return;
    ev.preventDefault();
    ev.stopPropagation(); // the button itself opens its menu with an arrow
    buttons[i + step]?.focus();
    this.keepOneTabStop();
  }

  /** shown draws it at its end, when it has been out of the page. */
  shown(): void {
    this.following = true;
    this.update();
  }

  /** look tells the others that all was seen, when it can have been. */
  look(): void {
    if (document.visibilityState === 'visible' && this.following && this.el.isConnected) this.room.see();
  }

  private drawBar(): void {
    const key: Key | null = this.room.phase === 'lost' ? 'bar.lost'
      : this.room.trouble === 'store' ? 'bar.store'
        : this.room.trouble === 'too-fast' ? 'bar.tooFast' : null;
    const words = key ? t(key) : '';
    if (this.bar.textContent !== words) this.bar.textContent = words;
    this.bar.hidden = !key;
  }

  /** find reports the message that is wanted when it has come, and sees to it that it is drawn. */
  private find(): Message | undefined {
    if (!this.wanting) return undefined;
    const i = this.room.messages.findIndex((m) => m.offset === this.wanting);
    if (i < 0) return undefined;
    this.wanting = 0;
    this.following = false;
    this.skipped = Math.max(0, Math.min(i - 20, this.room.messages.length - drawnAtOnce));
    return this.room.messages[i];
  }

  private point(m: Message): void {
    const el = this.list.querySelector(`[data-offset="${m.offset}"]`);
    if (!el) return;
    el.scrollIntoView({ block: 'center' });
    el.classList.add('found');
    after(3000, () => el.classList.remove('found'));
  }

  private wanted(): Row[] {
    const { room } = this;
    const all = room.messages;
    if (this.following) this.skipped = Math.max(0, all.length - drawnAtOnce);
    const out: Row[] = [];
    let day = '';
    const between = (at: string) => {
      const d = new Date(at);
      const key = d.toDateString();
      if (key === day) return;
      day = key;
      const words = dayName(d);
      out.push({ key: 'day ' + key, kind: 'day', print: words, content: () => h('span', null, words) });
    };
    // Seen marks stand under the last of one's own messages that somebody saw.
    const seen = all.findLast((m) => m.from === room.me && said(m) && !m.deleted && room.seers(m.offset).length > 0);
    const waits = room.pending;
    const uploads = room.uploads.all;
    const shown = this.skipped ? all.slice(this.skipped) : all;
    if (this.skipped) {
      const first = all[0]!;
      if (first.kind === 'mail') out.push(this.row(first, false, false, []));
      out.push({
        key: 'earlier', kind: 'note', print: String(this.skipped), content: () =>
          h('button', { class: 'secondary', type: 'button', onclick: () => this.earlier() },
            t('log.earlier', { n: this.skipped })),
      });
    }
    let coming = 0;
    const comings = (offset: number) => {
      for (let c = room.comings[coming]; c && c.after < offset; c = room.comings[++coming]) {
        const what = c;
        if (what.after < (shown[0]?.offset ?? 0)) continue;
        // Who has just answered comes in; once is enough.
        const last = all.findLast((m) => m.offset <= what.after);
        if (what.on && last?.kind === 'note' && last.text === 'answered' && last.from === what.id) continue;
        between(what.at);
        out.push({ key: `c${what.id} ${what.at}`, kind: 'note coming', print: room.name(room.people.get(what.id)),
          content: () => comingContent(room, what) });
      }
    };
    shown.forEach((m, i) => {
      comings(m.offset);
      between(m.at);
      const next = shown[i + 1];
      const tail = next ? !joins(m, next) : !(m.from === room.me && waits.length + uploads.length);
      out.push(this.row(m, !joins(shown[i - 1], m), tail,
        m === seen ? room.seers(m.offset).map((p) => room.name(p)) : []));
    });
    comings(Infinity);
    const last = all.at(-1);
    const joined = !!last && said(last) && last.from === room.me;
    waits.forEach((p, i) => {
      between(p.at);
      out.push({
        key: 'own ' + p.id, pending: p, head: i === 0 && !joined, tail: true, seenBy: [],
        state: room.failed.has(p.id) ? 'failed' : room.phase === 'open' ? 'sending' : 'waiting',
      });
    });
    uploads.forEach((u, i) => {
      between(u.at);
      out.push({ key: 'own ' + u.id, upload: u, head: i === 0 && !joined && !waits.length, tail: true, seenBy: [],
        state: u.state });
    });
    if (out.length === 0 && room.phase === 'open') {
      out.push({ key: 'empty', kind: 'note', print: '', content: () => h('p', null, t('log.empty')) });
    }
    return out;
  }

  private row(m: Message, head: boolean, tail: boolean, seenBy: string[]): Row {
    const { room } = this;
    if (said(m)) {
      // One's own keep the key that they had on their way.
      const key = m.from === room.me && m.id ? 'own ' + m.id : 'm' + m.offset;
      return { key, message: m, head, tail, seenBy, state: 'said' };
    }
    return {
      key: 'm' + m.offset, kind: m.kind === 'mail' ? 'mail' : 'note',
      print: room.name(room.people.get(m.from)) + room.name(room.callee) + (room.amCallee ? 1 : 0),
      content: () => (m.kind === 'mail' ? mailContent(room, m) : noteContent(room, m)),
    };
  }

  /** earlier draws more, and leaves what one was reading where it was. */
  private earlier(): void {
    if (!this.skipped) return;
    this.following = false;
    const height = this.log.scrollHeight;
    const { scrollTop } = this.log;
    const held = this.list.contains(document.activeElement);
    this.skipped = Math.max(0, this.skipped - drawnAtOnce);
    this.update();
    this.log.scrollTop = scrollTop + this.log.scrollHeight - height;
    if (held && document.activeElement === document.body) this.log.focus();
  }

  private scrolled(): void {
    this.following = this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < nearEnd;
    if (this.log.scrollTop < nearStart && !this.following) this.earlier();
    if (!this.following) return;
    this.newer.hidden = true;
    this.look();
  }

  private toEnd(): void {
    this.following = true;
    this.newer.hidden = true;
    this.log.scrollTop = this.log.scrollHeight;
  }

  /** takes: it is shown and files may be sent in it. */
  private takes(): boolean {
    return this.el.isConnected && this.room.maxFile > 0;
  }

  private dragged(ev: DragEvent, over: boolean): void {
    if (!ev.dataTransfer?.types.includes('Files')) return;
    ev.preventDefault();
    // It has left when it goes to nothing else of the page.
    if (over || !ev.relatedTarget) this.el.classList.toggle('dropping', over && this.takes());
  }

  private dropped(ev: DragEvent): void {
    this.el.classList.remove('dropping');
    const files = [...(ev.dataTransfer?.files ?? [])];
    if (!files.length) return;
    ev.preventDefault(); // else the browser leaves the page for the file
    if (this.takes()) this.compose.hold(files);
  }
}

const said = (m: Message) => m.kind === 'text' || m.kind === 'file';

/** joins: b belongs to the group of a. */
function joins(a: Message | undefined, b: Message): boolean {
  return !!a && said(a) && said(b) && a.from === b.from && Date.parse(b.at) - Date.parse(a.at) < groupGap
    && new Date(a.at).toDateString() === new Date(b.at).toDateString();
}
