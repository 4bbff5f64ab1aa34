// SPDX-License-Identifier: GPL-3.0-or-later

// A chat link: what the server said of it last, and what is asked of it. The
// scripts of the card and of the conversation have one each, of the same page.

import { ApiError } from '../base/errors';
import { get, post } from '../wire/api';
import type { ChatPage } from '../wire/wire';

export class Link {
  constructor(readonly page: ChatPage) {}

  /** guarded posts with the page's nonce, and once more with a new one when it was refused. */
  async guarded<T>(what: string, body: object = {}): Promise<T> {
    const { page } = this;
    const go = () => post<T>(`/c/${page.token}/${what}`, { nonce: page.nonce, pass: page.pass, ...body });
    try {
      return await go();
    } catch (err) {
      if (!(err instanceof ApiError) || err.code !== 'nonce') throw err;
      if (!(await this.refresh())) throw err;
      return go();
    }
  }

  /** refresh reports whether the link still leads somewhere and the server said so. */
  async refresh(): Promise<boolean> {
    try {
      const said = await get<ChatPage>(`/c/${this.page.token}/state`);
      Object.assign(this.page, { waiting: undefined }, said);
    } catch (err) {
      return err instanceof ApiError && this.lost(err);
    }
    return true;
  }

  /** lost: the link leads nowhere any more, and the page as the server has it now says so. */
  lost(err: ApiError): boolean {
    if (err.status !== 404 && err.status !== 410) return false;
    location.reload();
    return true;
  }
}
