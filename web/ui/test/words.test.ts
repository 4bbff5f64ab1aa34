// SPDX-License-Identifier: GPL-3.0-or-later

import './browser';
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { type Key, t } from '../base/i18n';

test('a name that ends in a title gets no second one', () => {
  const say = (name: string) => t('{name}님이 받았습니다' as Key, { name });
  assert.equal(say('Jun'), 'Jun님이 받았습니다');
  assert.equal(say('김민아님'), '김민아님이 받았습니다');
  assert.equal(say('Jun님(링크로 접속)'), 'Jun님(링크로 접속)이 받았습니다');
});
