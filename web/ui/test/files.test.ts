// SPDX-License-Identifier: GPL-3.0-or-later

import './browser';
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { asJPEG, isHEIC } from '../base/heic';
import { fileName } from '../base/text';

test('a long name of a file keeps its end, and no emoji is cut in two', () => {
  const family = '👨\u200d👩\u200d👧';
  assert.equal(fileName(`${family} at home.jpg`), `${family} at home.jpg`);
  assert.equal(fileName(family.repeat(70) + '.jpg'), `${family.repeat(40)}…${family.repeat(12)}.jpg`);
});

test('a photo of an iPhone is sent as a JPEG where the browser reads it, and as it is elsewhere', async () => {
  const photo = new File(['heic'], 'IMG_1.HEIC');
  assert(isHEIC(photo) && isHEIC(new File([''], 'x', { type: 'image/heif' })) && !isHEIC(new File([''], 'heic.png')));
  assert.equal(await asJPEG(photo), undefined); // Node reads none
  Object.assign(globalThis, {
    createImageBitmap: async () => ({ width: 4, height: 3 }),
    OffscreenCanvas: class {
      constructor(readonly width: number, readonly height: number) {}
      getContext() { return { drawImage: () => undefined }; }
      async convertToBlob(o: { type: string }) { return new Blob([`${this.width}x${this.height}`], { type: o.type }); }
    },
  });
  const jpeg = await asJPEG(photo);
  assert.deepEqual([jpeg?.name, jpeg?.type, await jpeg?.text()], ['IMG_1.jpg', 'image/jpeg', '4x3']);
});
