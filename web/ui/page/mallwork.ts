// SPDX-License-Identifier: GPL-3.0-or-later

// The work that a form of the mall needs where much comes from the same prefix or account
// (guard/work): the number with which a hash begins with so many bits of zero. It is looked
// for in short pieces while the form is filled in.

import { t } from '../base/i18n';
import { digest } from '../model/sha256';

const piece = 12; // ms without a pause

/** solve finds the answer to a task. */
export function solve(task: string): Promise<string> {
  const bits = Number(task.slice(0, task.indexOf('.')));
  const block = new Uint8Array(40);
  block.set(digest(new TextEncoder().encode(task)));
  const view = new DataView(block.buffer);
  let n = 0;
  return new Promise((found) => {
    const channel = new MessageChannel(); // not slowed down in a tab behind another
    channel.port1.onmessage = () => {
      for (const end = performance.now() + piece; performance.now() < end;) {
        for (let i = 0; i < 256; i++, n++) {
          view.setUint32(36, n);
          if (zeros(digest(block)) >= bits) {
            channel.port1.close();
            found(`${task}.${n}`);
            return;
          }
        }
      }
      channel.port2.postMessage(0);
    };
    channel.port2.postMessage(0);
  });
}

function zeros(sum: Uint8Array): number {
  const i = sum.findIndex((octet) => octet !== 0);
  return i < 0 ? 256 : 8 * i + Math.clz32(sum[i]!) - 24;
}

for (const field of document.querySelectorAll<HTMLInputElement>('input[data-work]')) {
  const form = field.form!;
  let sender: HTMLElement | null | undefined; // undefined: nothing waits
  form.addEventListener('submit', (ev) => {
    if (field.value) return;
    ev.preventDefault();
    ev.stopImmediatePropagation();
    if (sender !== undefined) return;
    sender = ev.submitter;
    if (sender) {
      sender.setAttribute('aria-busy', 'true');
      sender.textContent = t('mall.work.runs');
    }
  }, true);
  void solve(field.dataset.work!).then((answer) => {
    field.value = answer;
    if (sender !== undefined) form.requestSubmit(sender);
  });
}
