// SPDX-License-Identifier: GPL-3.0-or-later

// The lines of a conversation as elements: what was said, files, notes, the
// mail it began with, and what is still on its way.

import { bdi, type Child, fill, h, icon } from '../base/dom';
import { clockTime, fullTime, type Key, listed, people, size, t, tr } from '../base/i18n';
import { cleanLine, fileName, cleanText, nameOf } from '../base/text';
import type { Pending } from '../model/outbox';
import type { Coming } from '../model/presence';
import type { Room } from '../model/room';
import type { Upload } from '../model/uploads';
import { avatar } from './avatar';
import { noteWords } from './callnote';
import { picture } from './lightbox';
import { linkify } from './links';
import { Bindings, type View } from './list';
import { menu } from './menu';
import type { FileInfo, Message } from '../wire/wire';

const pictureMost = 320; // px a picture is wide at most

/** What a line lets one do. */
export interface Actions {
  edit(m: Message): void;
  /** reply answers a message; quoted shows it. */
  reply(m: Message): void;
  quoted(offset: number): void;
  remove(m: Message): void;
}

const emoji = '\\p{Extended_Pictographic}\\ufe0f?\\p{Emoji_Modifier}?';
const emojis = new RegExp(`^(?:${emoji}(?:\\u200d${emoji})*|\\p{Regional_Indicator}{2}){1,3}$`, 'u');

export function bubble(text: string): HTMLElement {
  const clean = cleanText(text);
  const emoji = emojis.test(clean.trim());
  return h('p', { class: emoji ? 'bubble emoji' : 'bubble', dir: 'auto' }, linkify(clean));
}

function fileBody(room: Room, f: FileInfo, at: number): HTMLElement {
  const url = room.fileURL(f.id);
  const name = fileName(f.name);
  if (!f.width || !f.height) {
    return h('a', { class: 'file', href: `${url}?at=${at}`, download: cleanLine(f.name) || 'file' }, icon('file'),
      h('span', { class: 'file-words' }, h('span', { class: 'file-name', dir: 'auto' }, name),
        h('span', { class: 'file-size' }, size(f.size))),
      icon('save'));
  }
  const scale = Math.min(1, pictureMost / f.width, pictureMost / f.height);
  const img = h('img', {
    src: f.thumb ? url + '/thumb' : url, alt: '', loading: 'lazy', decoding: 'async',
    width: Math.round(f.width * scale), height: Math.round(f.height * scale),
    // The server may have taken it away since: words instead of a broken frame.
    onerror: () => img.replaceWith(h('span', { class: 'file-name' }, name)),
  });
  return h('button', {
    class: 'picture', type: 'button', 'aria-label': t('file.show', { name }),
    onclick: () => picture(url, name, f.width!, f.height!),
  }, img);
}

/** A line of one message: said, on its way, or refused. */
export interface Line {
  key: string;
  head: boolean;     // the first of a group
  tail: boolean;     // the last of a group
  seenBy: string[];
  message?: Message;
  pending?: Pending;
  upload?: Upload;
  state: 'said' | 'sending' | 'waiting' | 'failed';
}

const refusals: Record<string, Key> = {
  empty: 'line.empty', 'too-large': 'line.tooLarge', forbidden: 'line.forbidden',
};

const uploadTrouble: Record<string, Key> = {
  network: 'file.failed.network', 'too-large': 'file.failed.tooLarge', picture: 'file.failed.picture',
  413: 'file.failed.tooLarge', // a proxy's
  'too-often': 'file.failed.tooOften',
  'room-full': 'file.failed.full', full: 'file.failed.full', empty: 'file.failed.empty',
};

/**
 * MessageView is a message from the moment it is written: the same element
 * while it is sent, acknowledged and seen, so that a screen reader hears it once.
 */
export class MessageView implements View<Line> {
  readonly el = h('li');
  private readonly bindings = new Bindings<Line>();
  private progress: HTMLProgressElement | undefined;

  constructor(private readonly room: Room, private readonly actions: Actions, first: Line) {
    const face = h('span', { class: 'line-face' });
    const who = h('p', { class: 'who' });
    const you = h('span', { class: 'sr' }, t('line.you'));
    const what = h('div', { class: 'said-what' });
    // What is told about a message is not news.
    const meta = h('p', { class: 'meta', 'aria-live': 'off' });
    const row = h('div', { class: 'said-row' }, what);
    let shown: Message | undefined;
    const more = menu(h('button', { class: 'line-more', type: 'button', 'aria-label': t('line.more'),
      title: t('line.more') }, icon('more')), t('line.more'), () => [
      { words: [icon('back'), t('line.reply')], press: () => actions.reply(shown!) },
      ...(shown!.text ? [{ words: [icon('copy'), t('line.copy')],
        press: () => void navigator.clipboard?.writeText(cleanText(shown!.text)).catch(() => undefined) }] : []),
      ...(room.mayEdit(shown!) ? [{ words: [icon('edit'), t('line.edit')], press: () => actions.edit(shown!) }] : []),
      ...(room.mayDelete(shown!)
        ? [{ words: [icon('close'), t('line.delete')], bad: true, press: () => actions.remove(shown!) }] : []),
    ]);
    this.el.append(face, h('div', { class: 'said' }, you, who, row, meta));
    // The person who sends a file knows that it is sent.
    if (first.upload) what.setAttribute('aria-live', 'off');

    const own = (l: Line) => !l.message || l.message.from === room.me;
    const from = (l: Line) => room.people.get(l.message?.from ?? 0);
    const { bindings } = this;
    bindings.bind((l) => l.message, (m) => {
      shown = m;
      if (m) this.el.dataset.offset = String(m.offset);
    });
    bindings.bind((l) => ['line', own(l) ? 'own' : '', l.head ? 'head' : '', l.tail ? 'tail' : '',
      l.state === 'said' ? '' : l.state].filter(Boolean).join(' '), (name) => { this.el.className = name; });
    bindings.bind((l) => [own(l), l.tail, from(l)?.addr, from(l)?.name], (_, l) =>
      fill(face, !own(l) && (l.tail ? avatar(from(l), 'small') : h('span', { class: 'avatar-gap' }))));
    bindings.bind((l) => l.head && own(l), (on) => { you.hidden = !on; });
    bindings.bind((l) => (l.head && !own(l) ? [room.name(from(l)), from(l)?.guest] : []), (named, l) => {
      who.hidden = !named.length;
      fill(who, named.length > 0 && [bdi(room.name(from(l))),
        from(l)?.guest && h('span', { class: 'tag' }, t('people.guest'))]);
    });
    // What has no offset of its own yet cannot be answered, see History.free.
    bindings.bind((l) => !!l.message && !l.message.deleted && Number.isInteger(l.message.offset),
      (may) => (may ? row.prepend(more) : more.remove()));
    bindings.bind((l) => [this.answered(l)?.text, this.answered(l)?.deleted, l.message?.text ?? l.pending?.text,
      l.message?.deleted, l.message?.file?.id,
      l.upload?.id, l.upload && l.state === 'failed'], (_, l) => fill(what, this.body(l)));
    bindings.bind((l) => [l.state, l.tail, l.message?.edited, l.message?.via, l.message?.at, room.people.size > 2,
      room.failed.get(l.pending?.id ?? ''), l.upload?.code, ...l.seenBy], (_, l) => {
      const words = l.message ? this.said(l, l.message) : l.upload ? this.uploading(l.upload) : this.sending(l);
      meta.hidden = !words;
      fill(meta, words);
    });
  }

  update(l: Line): void {
    this.bindings.update(l);
    if (this.progress && l.upload) this.progress.value = l.upload.sent;
  }

  /** answered is the message that a line answers, if it is here. */
  private answered(l: Line): Message | undefined {
    const ref = l.message?.ref ?? l.pending?.ref;
    return ref ? this.room.messages.find((m) => m.offset === ref) : undefined;
  }

  /** quote shows what a line answers, and leads there. */
  private quote(l: Line): Child {
    const m = this.answered(l);
    return m && h('button', { class: 'quote', type: 'button', dir: 'auto',
      onclick: () => this.actions.quoted(m.offset) }, quoteWords(this.room, m));
  }

  private body(l: Line): Child {
    const m = l.message;
    this.progress = undefined;
    if (m?.deleted) return h('p', { class: 'bubble gone' }, t('line.deleted'));
    if (m?.kind === 'file' && m.file) return [fileBody(this.room, m.file, m.offset), m.text && bubble(m.text)];
    if (!l.upload) return [this.quote(l), bubble(m?.text ?? l.pending!.text)];
    const { file, preview, state } = l.upload;
    const name = fileName(file.name);
    if (state !== 'failed') this.progress = h('progress', { max: 1, 'aria-label': t('file.progress', { name }) });
    return [preview
      ? h('span', { class: 'picture' }, h('img', { src: preview, alt: name }))
      : h('span', { class: 'file' }, icon('file'), h('span', { class: 'file-words' },
        h('span', { class: 'file-name', dir: 'auto' }, name), h('span', { class: 'file-size' }, size(file.size)))),
    this.progress];
  }

  private said(l: Line, m: Message): Child {
    const edited = m.edited && !m.deleted;
    if (!l.tail && !l.seenBy.length && !edited && m.via !== 'mail') return null;
    return [timed(m.at),
      m.via === 'mail' && h('span', { class: 'via' }, icon('mail'), t('line.byMail')),
      m.via === 'link' && m.from !== this.room.me && h('span', { class: 'via' }, t('line.byLink')),
      edited && h('span', { title: fullTime(new Date(m.edited!)) }, t('line.edited')),
      l.seenBy.length > 0 && h('span', { class: 'seen' }, icon('check'), h('span', null,
        this.room.people.size > 2 ? tr('line.seenBy', { names: people(l.seenBy) }) : t('line.seen')))];
  }

  private sending(l: Line): Child {
    const { id } = l.pending!;
    const refused = refusals[this.room.failed.get(id) ?? ''];
    if (l.state !== 'failed') return t(l.state === 'sending' ? 'line.sending' : 'line.waiting');
    return [t(refused ?? 'line.failed'), !refused && button('line.again', () => this.room.again(id)),
      button('line.drop', () => this.room.drop(id))];
  }

  private uploading(u: Upload): Child {
    if (u.state !== 'failed') {
      return [t(u.state === 'waiting' ? 'line.waiting' : 'file.sending'), button('ask.no', () => this.room.drop(u.id))];
    }
    return [t(uploadTrouble[u.code] ?? 'file.failed.other'), button('line.again', () => this.room.uploads.again(u.id)),
      button('line.drop', () => this.room.drop(u.id))];
  }
}

/** quoteWords: who said what, in one line. */
export function quoteWords(room: Room, m: Message): Child {
  const what = m.deleted ? t('line.deleted') : cleanLine(m.text) || fileName(m.file?.name ?? '');
  return [h('span', { class: 'strong' }, bdi(room.name(room.people.get(m.from)))), ' ', what];
}

const button = (key: Key, onclick: () => void) => h('button', { class: 'link', type: 'button', onclick }, t(key));

/** A line of something else than a message: made again when its print is another one. */
export interface Aside {
  key: string;
  kind: 'note' | 'note coming' | 'mail' | 'day';
  print: string;
  content(): Child;
}

export class AsideView implements View<Aside> {
  readonly el: HTMLElement;
  private readonly bindings = new Bindings<Aside>();

  constructor(first: Aside) {
    this.el = h('li', { class: first.kind });
    this.bindings.bind((a) => a.print, (_, a) => fill(this.el, a.content()));
  }

  update(a: Aside): void {
    this.bindings.update(a);
  }
}

const timed = (at: string) => h('time', { datetime: at, title: fullTime(new Date(at)) }, clockTime(new Date(at)));

export const noteContent = (room: Room, m: Message): Child =>
  h('p', null, noteWords(m, room.me, room.people.values(), room.callee?.id), ' ', timed(m.at));

export const comingContent = (room: Room, c: Coming): Child =>
  h('p', null, tr(c.on ? 'coming.in' : 'coming.out', { name: room.name(room.people.get(c.id)) }), ' ', timed(c.at));

/** The mail a conversation began with, folded. */
export function mailContent(room: Room, m: Message): Child {
  const from = room.people.get(m.from);
  const to = [...room.people.values()].filter((p) => p.id !== m.from && !p.guest).map((p) => room.name(p));
  const row = (key: Key, value: (Node | string)[]) => [h('dt', null, t(key)), h('dd', null, value)];
  return h('details', null,
    h('summary', null, icon('mail'),
      h('span', { class: 'mail-subject', dir: 'auto' }, cleanLine(m.text) || t('mail.noSubject')),
      h('time', { datetime: m.at }, clockTime(new Date(m.at)))),
    h('dl', null,
      row('mail.from', [bdi(nameOf(from)), from && nameOf(from) !== from.addr
        ? h('span', { class: 'muted' }, ' ', bdi(cleanLine(from.addr))) : '']),
      to.length > 0 && row('mail.to', [listed(to)]),
      row('mail.date', [fullTime(new Date(m.at))]),
      row('mail.subject', [bdi(cleanLine(m.text))])));
}
