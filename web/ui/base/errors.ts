// SPDX-License-Identifier: GPL-3.0-or-later

// What went wrong, and the words for it.

import { type Key, t } from './i18n';

/** ApiError is an answer that is not a success; status 0 means there was none. */
export class ApiError extends Error {
  override readonly name = 'ApiError';

  /** Each script of a page has this class for itself, and takes the errors of the others. */
  static [Symbol.hasInstance](err: unknown): boolean {
    return err instanceof Error && err.name === 'ApiError';
  }

  constructor(readonly status: number, readonly code: string, readonly body: Record<string, unknown>,
    readonly retryAfter: number) {
    super(`${status} ${code}`);
  }
}

/** sessionOver says in which way an answer of the front door means that this page's session is over. */
export function sessionOver(err: unknown): Key | undefined {
  if (!(err instanceof ApiError)) return undefined;
  return err.status === 401 ? 'signin.expired' : err.code === 'other-login' ? 'signin.other' : undefined;
}

/** explain says in words what an answer of the front door means. */
export function explain(err: unknown): string {
  if (!(err instanceof ApiError)) return t('error.other');
  if (err.status === 0) return t('error.network');
  if (err.status === 429) {
    if (err.retryAfter > 90) return t('error.tooOftenMinutes', { n: Math.ceil(err.retryAfter / 60) });
    return err.retryAfter ? t('error.tooOftenFor', { n: Math.ceil(err.retryAfter) }) : t('error.tooOften');
  }
  return err.status >= 500 ? t('error.server') : t('error.other');
}
