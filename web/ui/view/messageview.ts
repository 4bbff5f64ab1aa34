// SPDX-License-Identifier: GPL-3.0-or-later

// The lines of a conversation as elements: what was said, files, notes, the
// mail it began with, and what is still on its way.

import { bdi, type Child, h, icon } from '../base/dom';
import { clockTime, fullTime, type Key, list, size, t, tr } from '../base/i18n';
import { cleanLine, fileName, cleanText, nameOf } from '../base/text';
import type { Pending } from '../model/outbox';
import type { Coming } from '../model/presence';
import type { Room } from '../model/room';
import type { Upload } from '../model/uploads';
import { avatar } from './avatar';
import { noteWords } from './callnote';
import { picture } from './lightbox';
import { linkify } from './links';
import { menu } from './menu';
import type { FileInfo, Message } from '../wire/wire';

const pictureMost = 320; // px a picture is wide at most

/** What a line lets one do. */
export interface Actions {
  edit(m: Message): void;
  remove(m: Message): void;
}

export function bubble(text: string): HTMLElement {
  const clean = cleanText(text);
  const emoji = /^(\p{Extended_Pictographic}[\u200d\ufe0f\p{Emoji_Modifier}]*){1,3}$/u.test(clean.trim());
  return h('p', { class: emoji ? 'bubble emoji' : 'bubble', dir: 'auto' }, linkify(clean));
}

function fileBody(room: Room, f: FileInfo): HTMLElement {
  const url = room.fileURL(f.id);
  const name = fileName(f.name);
  if (!f.width || !f.height) {
    return h('a', { class: 'file', href: url, download: cleanLine(f.name) || 'file' }, icon('file'),
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

export function line(room: Room, m: Message, head: boolean, tail: boolean,
  seenBy: string[], actions: Actions): HTMLElement {
  const own = m.from === room.me;
  const p = room.people.get(m.from);
  const at = new Date(m.at);
  const more = own && (room.mayEdit(m) || room.mayDelete(m)) && menu(
    h('button', { class: 'line-more', type: 'button', 'aria-label': t('line.more'),
      title: t('line.more') }, icon('more')),
    t('line.more'), () => [
      ...(room.mayEdit(m) ? [{ words: [icon('edit'), t('line.edit')], press: () => actions.edit(m) }] : []),
      { words: [icon('close'), t('line.delete')], bad: true, press: () => actions.remove(m) },
    ]);
  const body: Child = m.deleted ? h('p', { class: 'bubble gone' }, t('line.deleted'))
    : m.kind === 'file' && m.file ? [fileBody(room, m.file), m.text && bubble(m.text)] : bubble(m.text);
  const edited = m.edited && !m.deleted;
  return h('li',
    { class: `line ${own ? 'own' : ''} ${head ? 'head' : ''} ${tail ? 'tail' : ''}`, 'data-offset': m.offset },
    !own && (tail ? avatar(p, 'small') : h('span', { class: 'avatar-gap' })),
    h('div', { class: 'said' },
      head && (own
        ? h('span', { class: 'sr' }, t('line.you'))
        : h('p', { class: 'who' }, bdi(room.name(p)), p?.guest && h('span', { class: 'tag' }, t('people.guest')))),
      h('div', { class: 'said-row' }, more, h('div', { class: 'said-what' }, body)),
      (tail || seenBy.length > 0 || edited || m.via === 'mail') && h('p', { class: 'meta' },
        h('time', { datetime: m.at, title: fullTime(at) }, clockTime(at)),
        m.via === 'mail' && h('span', { class: 'via' }, icon('mail'), t('line.byMail')),
        edited && h('span', { title: fullTime(new Date(m.edited!)) }, t('line.edited')),
        seenBy.length > 0 && h('span', { class: 'seen' }, icon('check'),
          h('span', null, room.people.size > 2 ? tr('line.seenBy', { names: list(seenBy) }) : t('line.seen'))))));
}

const refusals: Record<string, Key> = {
  empty: 'line.empty', 'too-large': 'line.tooLarge', forbidden: 'line.forbidden',
};

export function pendingLine(room: Room, p: Pending,
  state: 'failed' | 'sending' | 'waiting', head: boolean): HTMLElement {
  const refused = refusals[room.failed.get(p.id) ?? ''];
  return h('li', { class: `line own tail ${state} ${head ? 'head' : ''}` },
    h('div', { class: 'said' },
      bubble(p.text),
      h('p', { class: 'meta' },
        t(refused && state === 'failed' ? refused : `line.${state}`),
        state === 'failed' && !refused
          && h('button', { class: 'link', type: 'button', onclick: () => room.again(p.id) }, t('line.again')),
        state === 'failed'
          && h('button', { class: 'link', type: 'button', onclick: () => room.drop(p.id) }, t('line.drop')))));
}

const uploadTrouble: Record<string, Key> = {
  network: 'file.failed.network', 'too-large': 'file.failed.tooLarge', picture: 'file.failed.picture',
  'too-often': 'file.failed.tooOften',
  'room-full': 'file.failed.full', full: 'file.failed.full', empty: 'file.failed.empty',
};

export function uploadLine(room: Room, u: Upload, head: boolean): HTMLElement {
  const name = fileName(u.file.name);
  const words: Key = u.state === 'failed' ? uploadTrouble[u.code] ?? 'file.failed.other'
    : u.state === 'waiting' ? 'line.waiting' : 'file.sending';
  return h('li', { class: `line own tail ${u.state} ${head ? 'head' : ''}` },
    h('div', { class: 'said' },
      u.preview
        ? h('span', { class: 'picture' }, h('img', { src: u.preview, alt: name }))
        : h('span', { class: 'file' }, icon('file'), h('span', { class: 'file-words' },
          h('span', { class: 'file-name', dir: 'auto' }, name), h('span', { class: 'file-size' }, size(u.file.size)))),
      u.state !== 'failed' && h('progress', { max: 1, value: u.sent, 'aria-label': t('file.progress', { name }) }),
      h('p', { class: 'meta' }, t(words),
        u.state === 'failed' && h('button', { class: 'link', type: 'button', onclick: () => room.uploads.again(u.id) },
          t('line.again')),
        h('button', { class: 'link', type: 'button', onclick: () => room.drop(u.id) },
          t(u.state === 'failed' ? 'line.drop' : 'ask.no')))));
}

const timed = (at: string) => h('time', { datetime: at, title: fullTime(new Date(at)) }, clockTime(new Date(at)));

export function noteLine(room: Room, m: Message): HTMLElement {
  return h('li', { class: 'note' },
    h('p', null, noteWords(m, room.me, room.people.values(), room.callee?.id), ' ', timed(m.at)));
}

export function comingLine(room: Room, c: Coming): HTMLElement {
  return h('li', { class: 'note coming' },
    h('p', null, tr(c.on ? 'coming.in' : 'coming.out', { name: room.name(room.people.get(c.id)) }), ' ', timed(c.at)));
}

/** The mail a conversation began with, folded. */
export function mailLine(room: Room, m: Message): HTMLElement {
  const from = room.people.get(m.from);
  const to = [...room.people.values()].filter((p) => p.id !== m.from && !p.guest).map((p) => room.name(p));
  const row = (key: Key, value: (Node | string)[]) => [h('dt', null, t(key)), h('dd', null, value)];
  return h('li', { class: 'mail' }, h('details', null,
    h('summary', null, icon('mail'),
      h('span', { class: 'mail-subject', dir: 'auto' }, cleanLine(m.text) || t('mail.noSubject')),
      h('time', { datetime: m.at }, clockTime(new Date(m.at)))),
    h('dl', null,
      row('mail.from', [bdi(nameOf(from)), from && nameOf(from) !== from.addr
        ? h('span', { class: 'muted' }, ' ', bdi(cleanLine(from.addr))) : '']),
      to.length > 0 && row('mail.to', [bdi(list(to))]),
      row('mail.date', [fullTime(new Date(m.at))]),
      row('mail.subject', [bdi(cleanLine(m.text))]))));
}
