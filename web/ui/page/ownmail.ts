// SPDX-License-Identifier: GPL-3.0-or-later

// One's own mail, among the settings: what it takes, where it goes, a notice while one
// is away, and filters into folders.

import { type Child, fill, h, icon } from '../base/dom';
import { ApiError, explain } from '../base/errors';
import { type Key, t } from '../base/i18n';
import { get, put } from '../wire/api';
import type { MailFilter, MailSettings } from '../wire/wire';

const mostFilters = 50;
const fields = ['from', 'to', 'subject'] as const;
const names: Record<MailFilter['field'], Key> = { from: 'addresses.from', to: 'addresses.to',
  subject: 'addresses.subjectField' };

/** megabytes of octets, as people say them. */
function size(octets: number): string {
  const units = ['kB', 'MB', 'GB', 'TB'];
  let n = octets / 1000, unit = 0;
  while (n >= 1000 && unit < units.length - 1) {
    n /= 1000;
    unit++;
  }
  return `${n.toLocaleString(undefined, { maximumFractionDigits: 1 })} ${units[unit]}`;
}

export class OwnMailPart {
  readonly form = h('form', { id: 'own-mail-form', hidden: true, novalidate: true, onsubmit: (ev: Event) => {
    ev.preventDefault();
    void this.save();
  } });
  private readonly used = h('p');
  private readonly bar = h('progress', { class: 'usage', 'aria-label': t('addresses.usage') });
  private readonly forward = this.input({ autocomplete: 'off', placeholder: 'you@example.org' });
  private readonly keep = this.box();
  private readonly away = this.box();
  private readonly subject = this.input({ maxlength: 200, placeholder: t('addresses.awaySubject', { subject: '…' }) });
  private readonly text = h('textarea', { form: this.form.id, rows: 4, maxlength: 4000, dir: 'auto' });
  private readonly until = this.input({ type: 'date' });
  private readonly rows = h('ol', { class: 'filter-rows' });
  private readonly add = h('button', { class: 'secondary', type: 'button', onclick: () => {
    this.filters.push({ field: 'from', contains: '', folder: '', seen: false });
    this.draw();
    this.rows.querySelector<HTMLElement>('li:last-child select')?.focus();
  } }, t('addresses.filterAdd'));
  private readonly problem = h('p', { class: 'problem', role: 'alert' });
  private readonly told = h('p', { class: 'fine', role: 'status' });
  private readonly button = h('button', { class: 'secondary', type: 'submit', form: this.form.id },
    t('addresses.save'));
  private filters: MailFilter[] = [];
  readonly el: HTMLElement;

  constructor() {
    const notice = h('div', { class: 'away-notice' },
      this.field('subject', 'addresses.subject', this.subject),
      this.field('text', 'addresses.text', this.text),
      this.field('until', 'addresses.until', this.until, t('addresses.untilWhat')));
    const show = () => { notice.hidden = !this.away.checked; };
    this.away.addEventListener('change', show);
    this.shows = show;
    this.el = h('section', { 'aria-labelledby': 'part-own-mail', class: 'own-mail',
      oninput: (ev: Event) => { ev.stopPropagation(); this.told.textContent = ''; } },
    h('h2', { id: 'part-own-mail' }, t('addresses.mail')), this.used, this.bar,
    this.field('forward', 'addresses.forward', this.forward, t('addresses.forwardWhat')),
    this.tick(this.keep, 'addresses.keep'),
    this.tick(this.away, 'addresses.away', t('addresses.awayWhat')), notice,
    h('h3', null, t('addresses.filters')), h('p', { class: 'fine' }, t('addresses.filtersWhat')), this.rows,
    h('div', null, this.add), this.problem, h('div', null, this.button), this.told);
    void this.read();
  }

  private readonly shows: () => void;

  private input(props: Record<string, string | number>): HTMLInputElement {
    return h('input', { form: this.form.id, ...props });
  }

  private box(): HTMLInputElement {
    return h('input', { type: 'checkbox', form: this.form.id });
  }

  private field(name: string, key: Key, input: HTMLElement, hint?: string): HTMLElement {
    input.id = 'own-mail-' + name;
    if (hint) input.setAttribute('aria-describedby', `${input.id}-hint`);
    return h('div', { class: 'field' }, h('label', { for: input.id }, t(key)), input,
      hint && h('p', { class: 'fine', id: `${input.id}-hint` }, hint));
  }

  private tick(box: HTMLInputElement, key: Key, hint?: Child): HTMLElement {
    return h('label', { class: 'tick' }, box, h('span', null, t(key), hint && h('span', { class: 'fine' }, hint)));
  }

  private async read(): Promise<void> {
    try {
      this.show(await get<MailSettings>('/desk/mail'));
    } catch (err) {
      // Where nothing can be set, nothing is offered.
      if (err instanceof ApiError && err.status === 404) this.el.hidden = true;
      else this.problem.textContent = explain(err);
    }
  }

  private show(m: MailSettings): void {
    this.used.textContent = m.quota ? t('addresses.usedOf', { used: size(m.used), quota: size(m.quota) })
      : t('addresses.used', { used: size(m.used) });
    this.bar.hidden = !m.quota;
    [this.bar.max, this.bar.value] = [m.quota || 1, Math.min(m.used, m.quota || 1)];
    this.forward.value = (m.forward ?? []).join(', ');
    this.keep.checked = m.keep || !m.forward?.length;
    this.away.checked = m.vacation.on;
    this.subject.value = m.vacation.subject;
    this.text.value = m.vacation.text;
    this.until.value = m.vacation.until;
    this.shows();
    this.filters = (m.filters ?? []).map((f) => ({ ...f }));
    this.draw();
  }

  private draw(): void {
    fill(this.rows, this.filters.map((f, i) => this.row(f, i + 1)));
    this.add.hidden = this.filters.length >= mostFilters;
  }

  private row(f: MailFilter, n: number): HTMLElement {
    const field = h('select', { form: this.form.id, 'aria-label': t('addresses.filterField', { n }),
      onchange: () => { f.field = field.value as MailFilter['field']; } },
    fields.map((x) => h('option', { value: x, selected: x === f.field }, t(names[x]))));
    const contains = this.input({ maxlength: 200, 'aria-label': t('addresses.filterContains', { n }),
      placeholder: t('addresses.contains'), value: f.contains });
    contains.addEventListener('input', () => { f.contains = contains.value; });
    const folder = this.input({ maxlength: 100, 'aria-label': t('addresses.filterFolder', { n }),
      placeholder: t('addresses.folder'), value: f.folder });
    folder.addEventListener('input', () => { f.folder = folder.value; });
    const seen = this.box();
    seen.checked = f.seen;
    seen.addEventListener('change', () => { f.seen = seen.checked; });
    return h('li', null, field, contains, h('span', { class: 'muted', 'aria-hidden': 'true' }, '→'), folder,
      h('label', { class: 'tick' }, seen, h('span', null, t('addresses.seen'))),
      h('button', { class: 'round', type: 'button', 'aria-label': t('addresses.filterRemove', { n }), onclick: () => {
        this.filters.splice(n - 1, 1);
        this.draw();
        this.add.focus();
      } }, icon('close')));
  }

  private async save(): Promise<void> {
    this.problem.textContent = this.told.textContent = '';
    const forward = this.forward.value.split(/[\s,;]+/).filter(Boolean);
    const filters = this.filters.filter((f) => f.contains.trim());
    if (this.away.checked && !this.text.value.trim()) {
      this.problem.textContent = t('addresses.noText');
      return this.text.focus();
    }
    this.button.disabled = true;
    try {
      await put('/desk/mail', { forward, keep: this.keep.checked && forward.length > 0, filters,
        vacation: { on: this.away.checked, subject: this.subject.value, text: this.text.value,
          until: this.until.value } });
      await this.read();
      this.told.textContent = t('settings.saved');
    } catch (err) {
      const code = err instanceof ApiError ? err.code : '';
      this.problem.textContent = code === 'circle' ? t('addresses.circle') : code === 'nobody' ? t('addresses.nobody')
        : code === 'unfit' || code === 'full' ? t('addresses.unfit') : explain(err);
    }
    this.button.disabled = false;
  }
}
