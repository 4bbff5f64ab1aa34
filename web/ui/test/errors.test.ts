// SPDX-License-Identifier: GPL-3.0-or-later

import './browser';
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { ApiError, explain } from '../base/errors';

test('an error of another script of the page is understood', () => {
  class Other extends Error { // as the other script's bundle has it
    override readonly name = 'ApiError';
    readonly status = 0;
  }
  const answer = new ApiError(0, '', {}, 0);
  assert.equal(answer instanceof ApiError, true);
  assert.equal(explain(new Other()), explain(answer));
  assert.equal(new Error('another kind') instanceof ApiError, false);
  assert.equal(explain(new Error('another kind')) === explain(answer), false);
});
