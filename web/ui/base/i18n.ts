// SPDX-License-Identifier: GPL-3.0-or-later

// The words of the interface, in the one language that a bundle has. The
// catalogue is internal/words; web/bundle puts before each script what that
// script says of it.

import type addresses from '../../../internal/words/addresses.en.json';
import type clients from '../../../internal/words/clients.en.json';
import type en from '../../../internal/words/en.json';
import type mall from '../../../internal/words/mall.en.json';
import type program from '../../../internal/words/program.en.json';
import type talk from '../../../internal/words/talk.en.json';
import { bdi, h } from './dom';
import { now } from './time';

export type Key = keyof typeof addresses | keyof typeof clients | keyof typeof en | keyof typeof mall
  | keyof typeof program | keyof typeof talk;

/** A text with {names} in it, or one by plural category, which the value n chooses. */
type Message = string | { one?: string; other: string };

declare const LANG: 'en' | 'ko';
declare const WORDS: Partial<Record<Key, Message>>;

/** language is the one in use. */
export const language = () => LANG;

/** zone is the reader's time zone, an IANA name. */
export const zone = () => new Intl.DateTimeFormat().resolvedOptions().timeZone;

export type Values = Record<string, string | number>;

function message(key: Key, n: unknown): string {
  const m = WORDS[key] ?? key;
  if (typeof m === 'string') return m;
  return (new Intl.PluralRules(LANG).select(Number(n)) === 'one' && m.one) || m.other;
}

// A value in a message, with the title that Korean gives to names: one that ends in a
// title, or in a title and brackets, gets no second one.
const value = /\{(\w+)\}(님?)/g;
const titled = /[님씨](\([^()]*\))?$/;

/** t gives a message as plain text, for attributes and titles. */
export function t(key: Key, values: Values = {}): string {
  return message(key, values.n).replace(value, (_, name: string, title: string) => {
    const v = String(values[name] ?? '');
    return v + (titled.test(v) ? '' : title);
  });
}

/** tr gives a message as nodes, with every value that is a string isolated. */
export function tr(key: Key, values: Record<string, string | number | Node> = {}): (Node | string)[] {
  let had = false; // the name before has its title already
  return message(key, values.n).split(value).map((part, i) => {
    if (i % 3 === 0) return part;
    if (i % 3 === 2) return had ? '' : part;
    const v = values[part] ?? '';
    had = titled.test(v instanceof Node ? v.textContent ?? '' : String(v));
    return typeof v === 'string' ? bdi(v) : v instanceof Node ? v : String(v);
  });
}

/** list joins names the way people do: "Mina, Kim and Lee"; in Korean a comma is enough. */
export function list(names: string[]): string {
  if (LANG === 'ko') return names.join(', ');
  return new Intl.ListFormat(LANG, { type: 'conjunction' }).format(names);
}

/** listed is list as an element in which each name has its own writing direction. */
export function listed(names: string[]): HTMLElement {
  if (LANG === 'ko') return h('span', null, names.map((name, i) => [i > 0 && ', ', bdi(name)]));
  return h('span', null, new Intl.ListFormat(LANG, { type: 'conjunction' }).formatToParts(names)
    .map((p) => (p.type === 'element' ? bdi(p.value) : p.value)));
}

/** people lists those whom a message speaks of: Korean gives each a title, the message the last one. */
export const people = (names: string[]): HTMLElement => listed(LANG === 'ko'
  ? names.map((name, i) => name + (i < names.length - 1 && !titled.test(name) ? '님' : '')) : names);

const formats = new Map<string, Intl.DateTimeFormat>();

function format(options: Intl.DateTimeFormatOptions, d: Date): string {
  const key = JSON.stringify(options);
  let f = formats.get(key);
  if (!f) formats.set(key, (f = new Intl.DateTimeFormat(LANG, options)));
  return f.format(d);
}

const sameDay = (a: Date, b: Date) => a.toDateString() === b.toDateString();

/** clockTime: "14:05" as the language writes it. */
export const clockTime = (d: Date) => format({ hour: 'numeric', minute: '2-digit' }, d);

/** fullTime: date and time, for tooltips and old events. */
export const fullTime = (d: Date) => format({ dateStyle: 'medium', timeStyle: 'short' }, d);

/** fullDate: the date in words, or nothing of no date. */
export const fullDate = (d: Date) => (isNaN(d.getTime()) ? '' : format({ dateStyle: 'long' }, d));

/** moment: the time when it was today, otherwise the date and time. */
export const moment = (d: Date) => (sameDay(d, now()) ? clockTime(d) : fullTime(d));

/** shortMoment: the time when it was today, otherwise the date. */
export const shortMoment = (d: Date) =>
  sameDay(d, now()) ? clockTime(d) : format({ month: 'short', day: 'numeric' }, d);

/** dayName: "Today", "Yesterday", or the date in words. */
export function dayName(d: Date): string {
  const day = now();
  if (sameDay(d, day)) return t('day.today');
  day.setDate(day.getDate() - 1);
  if (sameDay(d, day)) return t('day.yesterday');
  return format({ dateStyle: 'full' }, d);
}

/** span: minutes in the largest unit that fits: "5 minutes", "1 hour". */
export function span(minutes: number): string {
  const [n, unit] = minutes >= 1440 ? [minutes / 1440, 'day']
    : minutes >= 60 ? [minutes / 60, 'hour'] : [minutes, 'minute'];
  return new Intl.NumberFormat(LANG, { style: 'unit', unit: unit as string, unitDisplay: 'long',
    maximumFractionDigits: 1 }).format(n as number);
}

/** size: octets as people say them: "1.2 MB". */
export function size(octets: number): string {
  const units = ['byte', 'kilobyte', 'megabyte', 'gigabyte'];
  let i = 0;
  let n = octets;
  while (n >= 1024 && i < units.length - 1) {
    n /= 1024;
    i++;
  }
  return new Intl.NumberFormat(LANG, {
    style: 'unit', unit: units[i]!, unitDisplay: i ? 'short' : 'long', maximumFractionDigits: n < 10 && i ? 1 : 0,
  }).format(n);
}

/** weekday names a day of the week, 0 being Sunday. */
export const weekday = (n: number) => format({ weekday: 'short' }, new Date(2023, 0, 1 + n));
