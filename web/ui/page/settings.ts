// SPDX-License-Identifier: GPL-3.0-or-later

// The settings of the desk: availability, quiet hours, canned replies, mail,
// the people one has blocked, the account, and the end of all sessions.

import { type Child, fill, h, icon } from '../base/dom';
import { ApiError, explain } from '../base/errors';
import { fullTime, type Key, moment, span, t, tr, weekday, zone } from '../base/i18n';
import { cleanLine } from '../base/text';
import type { Prefs } from '../model/prefs';
import { DevicesPart, PasswordPart } from './account';
import { post } from '../wire/api';
import type { Canned, Settings } from '../wire/wire';

const cannedMost = 50;
const backChoices = [0, 5, 15, 30, 60, 120, 240, 480, 1440]; // minutes

/** local writes a moment as <input type="datetime-local"> wants it. */
function local(d: Date): string {
  const two = (n: number) => String(n).padStart(2, '0');
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())}T${two(d.getHours())}:${two(d.getMinutes())}`;
}

export class SettingsPage {
  private readonly body = h('div', { class: 'settings-body' });
  private readonly told = h('p', { class: 'settings-told', role: 'status' });
  private drawn = '';
  private touched = false;
  private canned: Canned[] = [];
  private readonly account: (PasswordPart | DevicesPart)[];

  /** renewed: the password was changed; undefined where it cannot be. */
  constructor(pane: HTMLElement, private readonly prefs: Prefs, back: () => void, signOut: () => void,
    private readonly signOutEverywhere: () => void, renewed?: () => void) {
    this.account = renewed ? [new PasswordPart(renewed), new DevicesPart()] : [];
    fill(pane, h('form', {
      class: 'settings', novalidate: true, oninput: () => this.touch(),
      onsubmit: (ev: Event) => {
        ev.preventDefault();
        void this.save(ev.currentTarget as HTMLFormElement);
      },
    },
      h('header', { class: 'room-head' },
        h('button', { class: 'round back', type: 'button', 'aria-label': t('desk.back'), onclick: back }, icon('back')),
        h('div', { class: 'room-title' }, h('h1', { tabindex: '-1' }, t('settings.title'))),
        h('button', { class: 'link', type: 'button', onclick: signOut }, t('desk.signOut'))),
      this.body,
      h('footer', { class: 'settings-foot' }, this.told,
        h('button', { class: 'primary', type: 'submit' }, t('settings.save')))), this.account.map((a) => a.form));
    this.draw();
    void prefs.read();
    pane.querySelector('h1')!.focus();
  }

  /** draw shows what the server has, unless something was changed here and is not saved yet. */
  draw(): void {
    const s = this.prefs.now;
    if (!s) {
      fill(this.body, h('p', { class: 'muted' }, t('settings.reading')));
      return;
    }
    const print = JSON.stringify(s);
    if (print === this.drawn || this.touched) {
      this.drawBlocked(s);
      return;
    }
    this.drawn = print;
    this.canned = s.canned.map((c) => ({ ...c }));
    const quiet = s.quiet;
    const days = quiet?.days?.length ? quiet.days : [0, 1, 2, 3, 4, 5, 6];
    const part = (title: Key, ...children: Child[]) => {
      const id = 'part-' + title.replace('.', '-');
      return h('section', { 'aria-labelledby': id }, h('h2', { id }, t(title)), children);
    };
    const field = (name: string, key: Key, input: HTMLElement, hint?: Child) => {
      input.id = 'set-' + name;
      input.setAttribute('name', name);
      return h('div', { class: 'field' }, h('label', { for: input.id }, t(key)), input,
        hint && h('p', { class: 'fine' }, hint),
        h('p', { class: 'problem', 'data-field': name }));
    };
    const tick = (name: string, key: Key, on: boolean, hint?: Child) => h('label', { class: 'tick' },
      h('input', { type: 'checkbox', name, checked: on }),
      h('span', null, t(key), hint && h('span', { class: 'fine' }, hint)));
    const choose = (options: [string, string][], now: string) => h('select', null,
      options.map(([value, words]) => h('option', { value, selected: value === now }, words)));

    fill(this.body,
      part('settings.availability',
        h('div', { class: 'choices', role: 'radiogroup', 'aria-label': t('settings.availability') },
          (['available', 'away', 'dnd'] as const).map((what) => h('label', { class: 'tick' },
            h('input', { type: 'radio', name: 'availability', value: what, checked: s.availability === what }),
            h('span', null, t(`avail.${what}`), h('span', { class: 'fine' }, t(`settings.${what}What`)))))),
        field('until', 'settings.until',
          h('input', { type: 'datetime-local', value: s.until ? local(new Date(s.until)) : '' }),
          t('settings.untilWhat')),
        field('back', 'settings.back', choose(backChoices.map((m) => [String(m), m ? span(m)
          : s.usually ? t('settings.backComputed', { time: span(s.usually) }) : t('settings.backUnknown')]),
            String(nearest(s.back)))),
        field('chats', 'settings.chats',
          choose([0, 1, 2, 3, 5, 10].concat([0, 1, 2, 3, 5, 10].includes(s.chats) ? [] : [s.chats])
          .map((n) => [String(n), n ? String(n) : t('settings.chatsAny')]), String(s.chats)), t('settings.chatsWhat'))),
      part('settings.quiet',
        tick('quietOn', 'settings.quietOn', !!quiet, t('settings.quietWhat')),
        h('div', { class: 'field-pair' },
          field('quiet.from', 'settings.from', h('input', { type: 'time', value: quiet?.from ?? '22:00' })),
          field('quiet.to', 'settings.to', h('input', { type: 'time', value: quiet?.to ?? '07:00' }))),
        h('div', { class: 'days', role: 'group', 'aria-label': t('settings.days') }, [1, 2, 3, 4, 5, 6, 0].map((d) =>
          h('label', { class: 'day-choice' },
            h('input', { type: 'checkbox', name: 'day', value: d, checked: days.includes(d) }),
            h('span', null, weekday(d))))),
        h('p', { class: 'problem', 'data-field': 'quiet' }),
        field('zone', 'settings.zone', this.zones(s.zone || zone()))),
      part('settings.rings',
        tick('push', 'settings.push', s.push, t('settings.pushWhat')),
        h('p', { class: 'fine' }, t('settings.browsers', { n: s.browsers ?? 0 })),
        s.groups?.length ? h('p', { class: 'fine' }, tr('settings.groups', { groups: s.groups.join(', ') })) : null),
      part('settings.canned', h('p', { class: 'fine' }, t('settings.cannedWhat')), this.cannedList(),
        h('p', { class: 'problem', 'data-field': 'canned' })),
      part('settings.mail',
        tick('transcript', 'settings.transcript', s.transcript, t('settings.transcriptWhat')),
        tick('stamp', 'settings.stamp', s.stamp, t('settings.stampWhat'))),
      part('settings.blocked', h('div', { class: 'blocked' })),
      this.account.map((a) => a.el),
      part('settings.sessions',
        h('p', { class: 'fine' }, t('settings.everywhereWhat')),
        h('div', null, h('button', { class: 'secondary', type: 'button', onclick: this.signOutEverywhere },
          t('settings.everywhere')))));
    this.drawBlocked(s);
  }

  private touch(): void {
    this.touched = true;
    this.told.textContent = t('settings.unsaved');
  }

  private zones(now: string): HTMLElement {
    const all = Intl.supportedValuesOf('timeZone');
    const known = [...new Set([zone(), now, 'UTC', ...all])];
    return h('select', null, known.map((z) => h('option', { value: z, selected: z === now }, z.replaceAll('_', ' '))));
  }

  private cannedList(): HTMLElement {
    const rows = h('ol', { class: 'canned-rows' });
    const add = h('button', {
      class: 'secondary', type: 'button', onclick: () => {
        this.canned.push({ title: '', text: '' });
        this.touch();
        draw();
        rows.querySelector<HTMLElement>('li:last-child input')?.focus();
      },
    }, t('settings.cannedAdd'));
    const draw = () => {
      fill(rows, this.canned.map((c, i) => {
        const title = h('input', {
          value: c.title, maxlength: 100, 'aria-label': t('settings.cannedTitle', { n: i + 1 }),
          placeholder: t('settings.cannedTitleExample'), oninput: () => { c.title = title.value; },
        });
        const text = h('textarea', {
          value: c.text, rows: 2, maxlength: 600, 'aria-label': t('settings.cannedText', { n: i + 1 }),
          placeholder: t('settings.cannedTextExample'), oninput: () => { c.text = text.value; },
        });
        return h('li', null, title, text, h('button', {
          class: 'round', type: 'button', 'aria-label': t('settings.cannedRemove', { n: i + 1 }), onclick: () => {
            this.canned.splice(i, 1);
            this.touch();
            draw();
            add.focus();
          },
        }, icon('close')));
      }));
      add.hidden = this.canned.length >= cannedMost;
    };
    draw();
    return h('div', { class: 'canned-list' }, rows, add);
  }

  private drawBlocked(s: Settings): void {
    const el = this.body.querySelector('.blocked');
    if (!el) return;
    const all = s.blocked ?? [];
    fill(el, all.length === 0 ? h('p', { class: 'fine' }, t('settings.nobody'))
      : h('ul', { class: 'everyone' }, all.map((b) => h('li', null,
        h('span', { class: 'everyone-who' }, h('bdi', null, cleanLine(b.name) || cleanLine(b.who)),
          h('span', { class: 'muted' }, h('bdi', null, cleanLine(b.who)), ' · ',
            h('span', { title: fullTime(new Date(b.at)) }, moment(new Date(b.at))))),
        h('button', {
          class: 'link', type: 'button',
          'aria-label': t('block.unblockWhom', { name: cleanLine(b.name) || cleanLine(b.who) }),
          onclick: () => void this.unblock(b.who),
        }, t('block.unblock'))))));
  }

  private async unblock(who: string): Promise<void> {
    try {
      await post('/desk/block', { who, on: false });
      await this.prefs.read();
    } catch (err) {
      this.told.textContent = explain(err);
    }
  }

  private async save(form: HTMLFormElement): Promise<void> {
    const data = new FormData(form);
    const text = (name: string) => String(data.get(name) ?? '');
    const on = (name: string) => data.get(name) !== null;
    const days = data.getAll('day').map(Number).sort();
    const availability = text('availability') as Settings['availability'];
    const until = text('until') && availability !== 'available' ? new Date(text('until')).toISOString() : null;
    for (const p of form.querySelectorAll('.problem')) p.textContent = '';
    if (on('quietOn') && !days.length) return this.wrong('quiet', t('settings.noDays'));
    const some: Partial<Settings> = {
      availability, until, back: Number(text('back')), chats: Number(text('chats')),
      quiet: on('quietOn') ? { from: text('quiet.from'), to: text('quiet.to'),
        days: days.length === 7 ? [] : days } : null,
      zone: text('zone'), push: on('push'), transcript: on('transcript'), stamp: on('stamp'),
      canned: this.canned.filter((c) => c.text.trim())
        .map((c) => ({ title: c.title.trim() || c.text.trim().slice(0, 40), text: c.text.trim() })),
    };
    this.told.textContent = t('settings.saving');
    this.touched = false;
    try {
      await this.prefs.save(some);
      this.told.textContent = t('settings.saved');
    } catch (err) {
      this.touched = true;
      if (err instanceof ApiError && err.code === 'setting') {
        this.wrong(String(err.body.field ?? ''), t('settings.wrong'));
      }
      else this.told.textContent = explain(err);
    }
  }

  private wrong(field: string, words: string): void {
    const spots = [...this.body.querySelectorAll<HTMLElement>('[data-field]')];
    const spot = spots.find((x) => x.dataset.field === field) ?? spots.find((x) => field.startsWith(x.dataset.field!));
    this.told.textContent = words;
    if (!spot) return;
    spot.textContent = words;
    spot.scrollIntoView({ block: 'center' });
  }
}

/** nearest of the choices, for a number set elsewhere. */
const nearest = (minutes: number) =>
  backChoices.reduce((a, b) => (Math.abs(b - minutes) < Math.abs(a - minutes) ? b : a));
