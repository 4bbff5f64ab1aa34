// SPDX-License-Identifier: GPL-3.0-or-later

// The account, among the settings: its password, and those of devices.

import { type Child, fill, h, icon } from '../base/dom';
import { ApiError, explain } from '../base/errors';
import { fullTime, type Key, moment, t, tr } from '../base/i18n';
import { cleanLine } from '../base/text';
import { del, get, post } from '../wire/api';
import type { AppPassword, Program } from '../wire/wire';

const shortest = 8; // characters of a password

/** field is a labelled input of a form that stands elsewhere in the page. */
function field(id: string, form: string, key: Key, props: Record<string, string | number>, hint?: Key) {
  const input = h('input', { id, form, ...props, 'aria-describedby': hint ? `${id}-hint` : undefined });
  return { input, el: h('div', { class: 'field' }, h('label', { for: id }, t(key)), input,
    hint && h('p', { class: 'fine', id: `${id}-hint` }, t(hint))) };
}

/** part is a section whose inputs are no settings: what is typed there is not "not saved yet". */
function part(key: Key, ...children: Child[]): HTMLElement {
  const id = 'part-' + key.replace('.', '-');
  return h('section', { 'aria-labelledby': id, oninput: (ev: Event) => ev.stopPropagation() },
    h('h2', { id }, t(key)), children);
}

/** form stands outside the settings' own, since forms do not nest. */
function form(id: string, submit: () => Promise<void>): HTMLFormElement {
  return h('form', { id, hidden: true, novalidate: true, onsubmit: (ev: Event) => {
    ev.preventDefault();
    void submit();
  } });
}

/** PasswordPart changes the password. */
export class PasswordPart {
  readonly form = form('password-form', () => this.change());
  private readonly current = field('password-current', this.form.id, 'account.current',
    { type: 'password', autocomplete: 'current-password' });
  private readonly fresh = field('password-new', this.form.id, 'account.new',
    { type: 'password', autocomplete: 'new-password' }, 'account.newWhat');
  private readonly problem = h('p', { class: 'problem', role: 'alert' });
  private readonly button = h('button', { class: 'secondary', type: 'submit', form: this.form.id },
    t('account.change'));
  readonly el = part('account.password',
    this.current.el, this.fresh.el, this.problem, h('div', null, this.button));

  /** changed: this browser has a new session, and all others have none. */
  constructor(private readonly changed: () => void) {}

  private async change(): Promise<void> {
    const [current, password] = [this.current.input.value, this.fresh.input.value];
    this.problem.textContent = '';
    if (!current) return this.wrong(this.current.input, t('account.currentWrong'));
    if ([...password].length < shortest) return this.wrong(this.fresh.input, t('account.short', { n: shortest }));
    this.button.disabled = true;
    try {
      await post('/desk/password', { current, password });
      this.changed();
    } catch (err) {
      const code = err instanceof ApiError ? err.code : '';
      if (code === 'credentials') this.wrong(this.current.input, t('account.currentWrong'));
      else if (code === 'password') this.wrong(this.fresh.input, t('account.unfit'));
      else this.wrong(this.fresh.input, explain(err));
    }
    this.button.disabled = false;
  }

  private wrong(input: HTMLInputElement, words: string): void {
    this.problem.textContent = words;
    input.focus();
    input.select();
  }
}

/** DevicesPart makes, lists and revokes the passwords of devices. */
export class DevicesPart {
  readonly form = form('device-form', () => this.add());
  private readonly name = field('device-name', this.form.id, 'account.deviceName',
    { maxlength: 64, autocomplete: 'off', placeholder: t('account.deviceExample') });
  private readonly problem = h('p', { class: 'problem', role: 'alert' });
  private readonly made = h('div', { role: 'status' });
  private readonly list = h('div');
  private readonly button = h('button', { class: 'secondary', type: 'submit', form: this.form.id },
    t('account.deviceAdd'));
  readonly el = part('account.devices', h('p', { class: 'fine' }, t('account.devicesWhat')), this.list,
    this.name.el, this.problem, h('div', null, this.button), this.made);

  constructor() {
    void this.read();
  }

  private async read(): Promise<void> {
    try {
      const all = await get<AppPassword[]>('/desk/app-passwords');
      fill(this.list, all.length === 0 ? h('p', { class: 'fine' }, t('account.noDevices'))
        : h('ul', { class: 'everyone' }, all.map((p) => this.row(p))));
    } catch (err) {
      // Where the accounts have none, nothing is offered.
      if (err instanceof ApiError && err.code === 'no-app-passwords') this.el.hidden = true;
      else this.problem.textContent = explain(err);
    }
  }

  private row(p: AppPassword): HTMLElement {
    const name = cleanLine(p.name);
    const [made, used] = [new Date(p.made), p.used ? new Date(p.used) : undefined];
    return h('li', null,
      h('span', { class: 'everyone-who' }, h('bdi', null, name),
        h('span', { class: 'muted' },
          h('span', { title: fullTime(made) }, t('account.made', { time: moment(made) })), ' · ',
          used ? h('span', { title: fullTime(used) }, t('account.used', { time: moment(used) }))
            : t('account.unused'))),
      h('button', { class: 'link', type: 'button', 'aria-label': t('account.revokeWhich', { name }),
        onclick: () => void this.revoke(p.name) }, t('account.revoke')));
  }

  private async add(): Promise<void> {
    const name = this.name.input.value.trim();
    this.problem.textContent = '';
    this.button.disabled = true;
    try {
      const { password } = await post<{ password: string }>('/desk/app-passwords', { name });
      this.show(name, password);
      this.name.input.value = '';
      await this.read();
    } catch (err) {
      const code = err instanceof ApiError ? err.code : '';
      this.problem.textContent = code === 'device' ? t('account.deviceNameWrong')
        : code === 'full' ? t('account.devicesFull') : explain(err);
      this.name.input.focus();
    }
    this.button.disabled = false;
  }

  /** show shows a new password, this once. */
  private show(name: string, password: string): void {
    const copy = h('button', { class: 'secondary', type: 'button', onclick: () => {
      void navigator.clipboard?.writeText(password).then(() => fill(copy, icon('check'), t('account.copied')));
    } }, icon('copy'), t('account.copy'));
    fill(this.made, h('div', { class: 'made' },
      h('p', null, tr('account.madeFor', { name })),
      h('code', null, password),
      h('p', { class: 'fine' }, t('account.madeOnce')),
      navigator.clipboard ? copy : null));
  }

  private async revoke(name: string): Promise<void> {
    this.problem.textContent = '';
    try {
      await del('/desk/app-passwords', { name });
      fill(this.made);
    } catch (err) {
      this.problem.textContent = explain(err);
    }
    await this.read();
    this.name.input.focus();
  }
}

/** ProgramsPart lists the computers whose program has signed in, and signs them out. */
export class ProgramsPart {
  private readonly problem = h('p', { class: 'problem', role: 'alert' });
  private readonly list = h('div', { tabindex: '-1' });
  readonly el = part('setup.computers', h('p', { class: 'fine' }, t('setup.computersWhat')), this.list, this.problem,
    h('div', null, h('a', { class: 'button secondary', href: '/setup' }, t('setup.link'))));

  constructor() {
    void this.read();
  }

  private async read(): Promise<void> {
    try {
      const all = await get<Program[]>('/desk/programs');
      fill(this.list, all.length === 0 ? h('p', { class: 'fine' }, t('setup.noComputers'))
        : h('ul', { class: 'everyone' }, all.map((p) => this.row(p))));
    } catch (err) {
      this.problem.textContent = explain(err);
    }
  }

  private row(p: Program): HTMLElement {
    const [name, seen] = [cleanLine(p.name), new Date(p.seen)];
    return h('li', null,
      h('span', { class: 'everyone-who' }, h('bdi', null, name),
        h('span', { class: 'muted', title: fullTime(seen) }, t('setup.seen', { time: moment(seen), addr: p.addr }))),
      h('button', { class: 'link', type: 'button', 'aria-label': t('setup.revokeWhich', { name }),
        onclick: () => void this.revoke(p.id) }, t('account.revoke')));
  }

  private async revoke(id: string): Promise<void> {
    this.problem.textContent = '';
    try {
      await del('/desk/programs', { id });
    } catch (err) {
      this.problem.textContent = explain(err);
    }
    await this.read();
    this.list.focus();
  }
}
