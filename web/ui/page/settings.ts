// SPDX-License-Identifier: GPL-3.0-or-later

// The settings of the desk. Each is saved when it is changed, alone, so that
// what was set elsewhere meanwhile stays.

import { type Child, fill, h } from '../base/dom';
import { ApiError, explain } from '../base/errors';
import { fullTime, type Key, moment, span, t, tr, weekday, zone } from '../base/i18n';
import { cleanLine } from '../base/text';
import { now } from '../base/time';
import type { Prefs } from '../model/prefs';
import { DevicesPart, PasswordPart, ProgramsPart } from './account';
import { OwnMailPart } from './ownmail';
import { BrowsersPart } from '../view/browsers';
import { Bindings } from '../view/list';
import { CannedList } from '../view/canned';
import { paneHead } from '../view/roomheader';
import { post, put } from '../wire/api';
import type { Settings } from '../wire/wire';

const backChoices = [0, 5, 15, 30, 60, 120, 240, 480, 1440]; // minutes
const chatChoices = [0, 1, 2, 3, 5, 10];

type Input = HTMLInputElement | HTMLSelectElement;

/** local writes a moment as <input type="datetime-local"> wants it. */
function local(d: Date): string {
  const two = (n: number) => String(n).padStart(2, '0');
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())}T${two(d.getHours())}:${two(d.getMinutes())}`;
}

const option = (value: string, words: string) => h('option', { value }, words);

/** choices fills a select, with the present value among them. */
function choices(select: HTMLSelectElement, options: [string, string][], value: string): void {
  fill(select, options.map(([v, words]) => option(v, words)));
  select.value = value;
}

/** nearest of the choices, for a number set elsewhere. */
const nearest = (minutes: number) =>
  backChoices.reduce((a, b) => (Math.abs(b - minutes) < Math.abs(a - minutes) ? b : a));

export interface Doings {
  back(): void;
  signOut(): void;
  signOutEverywhere(): void;
  /** The password was changed; undefined where it cannot be. */
  renewed?: () => void;
}

export class SettingsPage {
  private readonly bindings = new Bindings<Settings>();
  private readonly problems = new Map<string, HTMLElement>(); // by the server's name of a field
  private readonly told = h('p', { class: 'settings-told', role: 'status' });
  private readonly browsers = new BrowsersPart(() => void this.prefs.read());
  private readonly reading = h('p', { class: 'muted' }, t('settings.reading'));
  private readonly body: HTMLElement;
  private readonly pane: HTMLElement;

  constructor(pane: HTMLElement, private readonly prefs: Prefs, doings: Doings) {
    this.pane = pane;
    const account = [new OwnMailPart(),
      ...(doings.renewed ? [new PasswordPart(doings.renewed), new DevicesPart()] : [])];
    this.body = h('div', { class: 'settings-body', hidden: true },
      this.availability(), this.notifications(), this.canned(), this.mail(), this.blocked(),
      account.map((a) => a.el), new ProgramsPart().el,
      this.part('settings.sessions',
        h('div', null, h('button', { class: 'secondary', type: 'button', onclick: doings.signOut },
          t('desk.signOut'))),
        h('p', { class: 'fine' }, t('settings.everywhereWhat')),
        h('div', null, h('button', { class: 'secondary', type: 'button', onclick: doings.signOutEverywhere },
          t('settings.everywhere')))));
    fill(pane, h('div', { class: 'settings' },
      paneHead('settings.title', doings.back, this.told),
      this.reading, this.body, account.map((a) => a.form)));
    this.draw();
    void prefs.read();
    pane.querySelector('h1')!.focus();
  }

  /** draw shows what the server has; what is being typed stays. */
  draw(): void {
    const s = this.prefs.now;
    if (!s) return;
    this.reading.hidden = true;
    this.body.hidden = false;
    this.bindings.update(s);
    void this.browsers.show(s.browsers ?? []);
  }

  /** close saves what is being typed. */
  close(): void {
    const { activeElement } = document;
    if (this.pane.contains(activeElement)) (activeElement as HTMLElement).blur();
  }

  // The parts.

  private part(title: Key, ...children: Child[]): HTMLElement {
    const id = 'part-' + title.replace('.', '-');
    return h('section', { 'aria-labelledby': id }, h('h2', { id }, t(title)), children);
  }

  private availability(): HTMLElement {
    const radios = (['available', 'away', 'dnd'] as const).map((value) =>
      h('input', { type: 'radio', name: 'availability', value,
        onchange: () => void this.save('availability', { availability: value }) }));
    this.bindings.bind((s) => s.availability, (value) => {
      for (const r of radios) r.checked = r.value === value;
    });
    const until = h('input', { type: 'datetime-local', onchange: () => {
      const at = until.value ? new Date(until.value) : null;
      if (at && at <= now()) return this.wrong('until', t('settings.untilPast'));
      void this.save('until', { until: at?.toISOString() ?? null });
    } });
    this.value(until, (s) => (s.until ? local(new Date(s.until)) : ''));
    const untilField = this.field('until', 'settings.until', until, t('settings.untilWhat'));
    this.bindings.bind((s) => s.availability === 'available', (on) => { untilField.hidden = on; });

    const back = h('select', { onchange: () => void this.save('back', { back: Number(back.value) }) });
    this.bindings.bind((s) => [s.back, s.usually], (_, s) => choices(back, backChoices.map((m) => [String(m),
      m ? span(m) : s.usually ? t('settings.backComputed', { time: span(s.usually) }) : t('settings.backUnknown')]),
      String(nearest(s.back))));
    const chats = h('select', { onchange: () => void this.save('chats', { chats: Number(chats.value) }) });
    this.bindings.bind((s) => s.chats, (n) => choices(chats, [...new Set([...chatChoices, n])]
      .map((c) => [String(c), c ? String(c) : t('settings.chatsAny')]), String(n)));
    return this.part('settings.availability',
      h('div', { class: 'choices', role: 'radiogroup', 'aria-label': t('settings.availability') },
        radios.map((r) => h('label', { class: 'tick' }, r, h('span', null, t(`avail.${r.value}` as Key),
          h('span', { class: 'fine' }, t(`settings.${r.value}What` as Key)))))),
      this.problem('availability'), untilField,
      this.field('back', 'settings.back', back),
      this.field('chats', 'settings.chats', chats, t('settings.chatsWhat')),
      this.quiet());
  }

  private quiet(): HTMLElement {
    const on = h('input', { type: 'checkbox', name: 'quietOn' });
    const from = h('input', { type: 'time', value: '22:00' });
    const to = h('input', { type: 'time', value: '07:00' });
    const days = [1, 2, 3, 4, 5, 6, 0].map((d) => h('input', { type: 'checkbox', name: 'day', value: d }));
    const save = () => {
      const chosen = days.filter((d) => d.checked).map((d) => Number(d.value)).sort();
      if (on.checked && !chosen.length) return this.wrong('quiet', t('settings.noDays'));
      void this.save('quiet', { quiet: on.checked
        ? { from: from.value, to: to.value, days: chosen.length === 7 ? [] : chosen } : null });
    };
    for (const input of [on, from, to, ...days]) input.addEventListener('change', save);
    const zones = h('select', { onchange: () => void this.save('zone', { zone: zones.value }) });
    const known = Intl.supportedValuesOf('timeZone');
    this.bindings.bind((s) => s.zone || zone(), (z) => choices(zones,
      [...new Set([zone(), z, 'UTC', ...known])].map((x) => [x, x.replaceAll('_', ' ')]), z));
    const times = h('div', { class: 'quiet-times' },
      h('div', { class: 'field-pair' },
        this.field('quiet.from', 'settings.from', from), this.field('quiet.to', 'settings.to', to)),
      h('div', { class: 'days', role: 'group', 'aria-label': t('settings.days') }, days.map((d) =>
        h('label', { class: 'day-choice' }, d, h('span', null, weekday(Number(d.value)))))),
      this.field('zone', 'settings.zone', zones));
    this.bindings.bind((s) => JSON.stringify(s.quiet), (_, { quiet }) => {
      on.checked = !!quiet;
      times.hidden = !quiet;
      if (!quiet) return;
      [from.value, to.value] = [quiet.from, quiet.to];
      const chosen = quiet.days?.length ? quiet.days : [0, 1, 2, 3, 4, 5, 6];
      for (const d of days) d.checked = chosen.includes(Number(d.value));
    });
    for (const d of days) d.checked = true; // of hours that are set for the first time
    return h('div', { class: 'quiet-hours', role: 'group', 'aria-label': t('settings.quiet') },
      this.ticked(on, 'settings.quietOn', t('settings.quietWhat')), times, this.problem('quiet'));
  }

  private notifications(): HTMLElement {
    const groups = h('p', { class: 'fine' });
    this.bindings.bind((s) => s.groups ?? [], (all) => {
      groups.hidden = !all.length;
      fill(groups, tr('settings.groups', { groups: all.join(', ') }));
    });
    return this.part('settings.rings',
      this.tick('push', 'settings.push', t('settings.pushWhat')), this.browsers.el, groups);
  }

  private canned(): HTMLElement {
    const own = new CannedList((canned) => void this.save('canned', { canned }));
    this.bindings.bind((s) => JSON.stringify(s.canned), (_, s) => own.update(s.canned));
    const groups = h('div', { class: 'canned-groups' });
    const lists = new Map<string, CannedList>();
    this.bindings.bind((s) => s.groups ?? [], (all) => {
      lists.clear();
      fill(groups, all.map((group) => {
        const list = new CannedList((canned) => void this.saving('canned',
          () => put(`/desk/groups/${encodeURIComponent(group)}/canned`, { canned })));
        lists.set(group, list);
        return h('section', null, h('h3', null, tr('settings.cannedGroup', { group })), list.el);
      }));
    });
    this.bindings.bind((s) => JSON.stringify(s.group_canned), (_, s) => {
      for (const [group, list] of lists) list.update(s.group_canned?.[group] ?? []);
    });
    return this.part('settings.canned', h('p', { class: 'fine' }, t('settings.cannedWhat')), own.el, groups,
      this.problem('canned'));
  }

  private mail(): HTMLElement {
    const unproven = h('input', { type: 'checkbox', name: 'unproven',
      onchange: () => void this.save('unproven', { unproven: unproven.checked ? 'yes' : 'no' }) });
    this.bindings.bind((s) => s.unproven, (value) => { unproven.checked = value === 'yes'; });
    const lang = h('select', { onchange: () => void this.save('lang', { lang: lang.value as Settings['lang'] }) });
    this.bindings.bind((s) => s.lang, (value) => choices(lang,
      [['', t('settings.langAny')], ['en', 'English'], ['ko', '한국어']], value));
    const text = h('input', { type: 'text', maxlength: 60, autocomplete: 'off', dir: 'auto',
      placeholder: t('stamp.chat', { name: '{name}' }),
      onchange: () => void this.save('stamp_text', { stamp_text: text.value }) });
    this.value(text, (s) => s.stamp_text);
    const textField = this.field('stamp_text', 'settings.stampText', text,
      tr('settings.stampTextWhat', { name: h('code', { class: 'token' }, '{name}') }));
    this.bindings.bind((s) => s.stamp, (on) => { textField.hidden = !on; });
    const name = h('input', { type: 'text', maxlength: 64, autocomplete: 'name', dir: 'auto',
      onchange: () => void this.save('name', { name: name.value.trim() }) });
    this.value(name, (s) => s.name);
    return this.part('settings.mail', this.field('name', 'settings.name', name, t('settings.nameWhat')),
      this.field('lang', 'settings.lang', lang, t('settings.langWhat')),
      this.tick('transcript', 'settings.transcript', t('settings.transcriptWhat')),
      this.tick('unread', 'settings.unread', t('settings.unreadWhat')),
      this.tick('stamp', 'settings.stamp', t('settings.stampWhat')), textField,
      this.ticked(unproven, 'settings.unproven', t('settings.unprovenWhat')), this.problem('unproven'));
  }

  private blocked(): HTMLElement {
    const el = h('div', { class: 'blocked' });
    this.bindings.bind((s) => JSON.stringify(s.blocked), (_, { blocked = [] }) => fill(el, blocked.length === 0
      ? h('p', { class: 'fine' }, t('settings.nobody'))
      : h('ul', { class: 'everyone' }, blocked.map((b) => h('li', null,
        h('span', { class: 'everyone-who' }, h('bdi', null, cleanLine(b.name) || cleanLine(b.who)),
          h('span', { class: 'muted' }, h('bdi', null, cleanLine(b.who)), ' · ',
            h('span', { title: fullTime(new Date(b.at)) }, moment(new Date(b.at))))),
        h('button', {
          class: 'link', type: 'button',
          'aria-label': t('block.unblockWhom', { name: cleanLine(b.name) || cleanLine(b.who) }),
          onclick: () => void this.unblock(b.who),
        }, t('block.unblock')))))));
    return this.part('settings.blocked', el, this.problem('blocked'));
  }

  private async unblock(who: string): Promise<void> {
    try {
      await post('/desk/block', { who, on: false });
      await this.prefs.read();
    } catch (err) {
      this.wrong('blocked', explain(err));
    }
  }

  // One setting.

  /** value keeps an input as the server has it, but while something is typed there. */
  private value(input: Input, read: (s: Settings) => string): void {
    this.bindings.bind(read, (v) => {
      if (document.activeElement !== input) input.value = v;
    });
  }

  private field(name: string, key: Key, input: Input, hint?: Child): HTMLElement {
    input.id = 'set-' + name;
    const problem = this.problem(name);
    const hintID = hint && `${input.id}-hint`;
    input.setAttribute('aria-describedby', [hintID, problem.id].filter(Boolean).join(' '));
    return h('div', { class: 'field' }, h('label', { for: input.id }, t(key)), input,
      hint && h('p', { class: 'fine', id: hintID }, hint), problem);
  }

  private ticked(box: HTMLInputElement, key: Key, hint?: string): HTMLElement {
    return h('label', { class: 'tick' }, box, h('span', null, t(key), hint && h('span', { class: 'fine' }, hint)));
  }

  private tick(name: 'push' | 'transcript' | 'stamp' | 'unread', key: Key, hint: string): Child[] {
    const box = h('input', { type: 'checkbox', name,
      onchange: () => void this.save(name, { [name]: box.checked }) });
    this.bindings.bind((s) => s[name], (on) => { box.checked = on; });
    return [this.ticked(box, key, hint), this.problem(name)];
  }

  private problem(field: string): HTMLElement {
    const el = h('p', { class: 'problem', id: 'problem-' + field, role: 'alert' });
    this.problems.set(field, el);
    return el;
  }

  /** save sends one setting; what is wrong with it stands beside it. */
  private save(field: string, some: Partial<Settings>): Promise<void> {
    return this.saving(field, () => this.prefs.save(some));
  }

  private async saving(field: string, save: () => Promise<unknown>): Promise<void> {
    this.told.textContent = '';
    this.wrong(field, '');
    try {
      await save();
      this.told.textContent = t('settings.saved');
    } catch (err) {
      this.wrong(field, err instanceof ApiError && err.code === 'setting' ? t('settings.wrong') : explain(err));
    }
  }

  private wrong(field: string, words: string): void {
    const spot = this.problems.get(field)!;
    spot.textContent = words;
    document.getElementById('set-' + field)?.setAttribute('aria-invalid', String(!!words));
  }
}
