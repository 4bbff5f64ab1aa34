// SPDX-License-Identifier: GPL-3.0-or-later

// What a team knows of a room: who looks after it, labels, and notes that only
// colleagues see.

import { bdi, fill, h, icon } from '../base/dom';
import { explain } from '../base/errors';
import { moment, t, tr } from '../base/i18n';
import { cleanLine, cleanText } from '../base/text';
import { Bindings, KeyedList } from './list';
import { menu } from './menu';
import { get, post } from '../wire/api';
import type { Colleagues, Summary, TeamNote } from '../wire/wire';

const labelMost = 40; // characters

export class TeamBar {
  readonly el: HTMLElement;
  private readonly bindings = new Bindings<Summary>();
  private readonly problem = h('p', { class: 'problem', role: 'alert' });
  private readonly noteList = h('ul', { class: 'team-notes' });
  private readonly notes = new KeyedList<TeamNote>(this.noteList, (n) => `${n.group}/${n.pos}`, (n) => ({
    el: h('li', null, h('p', { class: 'fine' }, bdi(n.login), ' · ', moment(new Date(n.at))),
      h('p', { class: 'team-note', dir: 'auto' }, cleanText(n.text))),
    update: () => {},
  }));
  private readonly written = h('textarea', { rows: '2', id: 'team-note', maxlength: '4000' });
  private readonly body: HTMLElement;
  private summary: Summary | undefined;
  private colleagues: Colleagues[] = [];
  private noteID = crypto.randomUUID();

  constructor(private readonly room: string, private readonly login: string) {
    const who = h('span', { class: 'team-who' });
    const hand = menu(h('button', { class: 'secondary small', type: 'button' }, t('team.hand')), t('team.hand'),
      () => this.choices());
    const owned = h('div', { class: 'team-owner', hidden: true }, who, hand);
    const labels = h('ul', { class: 'labels', 'aria-label': t('team.labels') });
    const add = h('form', { class: 'label-add', onsubmit: (ev: Event) => this.add(ev) },
      h('input', { name: 'label', maxlength: String(labelMost), 'aria-label': t('team.label'),
        placeholder: t('team.label') }));
    const count = h('span', null);
    const toggle = h('button', { class: 'link', type: 'button', 'aria-expanded': 'false',
      onclick: () => this.toggle(toggle) }, icon('edit'), count);
    this.body = h('div', { class: 'team-body', hidden: true }, this.noteList,
      h('form', { class: 'team-write', onsubmit: (ev: Event) => this.note(ev) },
        h('label', { for: 'team-note' }, t('team.noteWhat')), this.written,
        h('button', { class: 'secondary small', type: 'submit' }, t('team.noteAdd'))));
    this.el = h('section', { class: 'team', 'aria-label': t('team.title') },
      h('div', { class: 'team-row' }, owned, labels, add, toggle), this.body, this.problem);
    this.bindings.bind((r) => r.teams?.[0] && [r.teams[0].group, r.teams[0].assignee ?? ''], (team) => {
      owned.hidden = !team;
      if (!team) return;
      const assignee = team[1]!;
      fill(who, assignee === login ? t('team.mine') : assignee ? tr('team.of', { name: assignee })
        : tr('team.nobody', { group: team[0]! }));
    });
    this.bindings.bind((r) => r.labels ?? [], (all) => fill(labels, all.map((label) => h('li', { class: 'label' },
      bdi(cleanLine(label)), h('button', { type: 'button', 'aria-label': t('team.unlabel', { label }),
        onclick: () => void this.do(`labels`, { label, on: false }) }, icon('close'))))));
    this.bindings.bind((r) => r.notes ?? 0, (n) => {
      fill(count, t('team.notes', { n }));
      if (!this.body.hidden) void this.read();
    });
    void get<{ groups: Colleagues[] }>('/desk/team').then((a) => { this.colleagues = a.groups; }, () => {});
  }

  update(summary: Summary | undefined): void {
    this.summary = summary;
    this.el.hidden = !summary;
    if (summary) this.bindings.update(summary);
  }

  private choices() {
    const team = this.summary?.teams?.[0];
    if (!team) return [];
    const was = team.assignee ?? '';
    const give = (to: string) => () => void this.do('assign', { group: team.group, to, was });
    const others = this.colleagues.find((c) => c.group === team.group)?.members
      .filter((m) => m.login !== this.login && m.login !== was) ?? [];
    return [
      ...(was === this.login ? [] : [{ words: t(was ? 'team.takeOver' : 'team.take'), press: give(this.login) }]),
      ...others.map((m) => ({ words: tr(m.state === 'available' ? 'team.toHere' : 'team.to', { name: m.login }),
        press: give(m.login) })),
      ...(was ? [{ words: tr('team.back', { group: team.group }), press: give('') }] : []),
    ];
  }

  private toggle(button: HTMLElement): void {
    this.body.hidden = !this.body.hidden;
    button.setAttribute('aria-expanded', String(!this.body.hidden));
    if (this.body.hidden) return;
    void this.read();
    this.written.focus();
  }

  private add(ev: Event): void {
    ev.preventDefault();
    const input = (ev.currentTarget as HTMLFormElement).querySelector('input')!;
    const label = input.value.trim();
    if (label) void this.do('labels', { label, on: true }).then((done) => { if (done) input.value = ''; });
  }

  private note(ev: Event): void {
    ev.preventDefault();
    const text = this.written.value;
    if (!text.trim()) return;
    void this.do('notes', { id: this.noteID, text }).then((done) => {
      if (!done) return;
      this.noteID = crypto.randomUUID();
      this.written.value = '';
      void this.read();
    });
  }

  private async read(): Promise<void> {
    try {
      this.notes.update((await get<{ notes: TeamNote[] }>(`/desk/rooms/${encodeURIComponent(this.room)}/notes`)).notes);
    } catch (err) {
      fill(this.problem, explain(err));
    }
  }

  /** do asks the server for something; what follows from it comes as a summary of the room. */
  private async do(what: string, body: object): Promise<boolean> {
    fill(this.problem);
    try {
      await post(`/desk/rooms/${encodeURIComponent(this.room)}/${what}`, body);
      return true;
    } catch (err) {
      fill(this.problem, explain(err));
      return false;
    }
  }
}
