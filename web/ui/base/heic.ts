// SPDX-License-Identifier: GPL-3.0-or-later

// Photos of iPhones, which most browsers cannot show.

const extension = /\.hei[cf]$/i;

/** isHEIC goes by the name where the browser does not know the type. */
export const isHEIC = (f: File) => /^image\/hei[cf]/.test(f.type) || extension.test(f.name);

/** asJPEG is the photo in a format that every browser shows, where this one can read it, as Safari can. */
export async function asJPEG(f: File): Promise<File | undefined> {
  try {
    const photo = await createImageBitmap(f);
    const canvas = new OffscreenCanvas(photo.width, photo.height);
    canvas.getContext('2d')!.drawImage(photo, 0, 0);
    const jpeg = await canvas.convertToBlob({ type: 'image/jpeg', quality: 0.9 });
    return new File([jpeg], f.name.replace(extension, '') + '.jpg', { type: jpeg.type });
  } catch {
    return undefined;
  }
}
