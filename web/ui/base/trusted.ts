// SPDX-License-Identifier: GPL-3.0-or-later

// The two scripts that a page may start. The browser lets no other text become
// a script or HTML (require-trusted-types-for of the pages).

type Script = '/clock.js' | '/sw.js';

interface Policy { createScriptURL(url: string): string }

const types = (globalThis as { trustedTypes?: { createPolicy(name: string, rules: Policy): Policy } }).trustedTypes;

let policy: Policy | undefined; // made when it is needed: a page may make it once, and a card's script needs none

export function script(url: Script): string {
  policy ??= types?.createPolicy('chmail', {
    createScriptURL(url) {
      if (url !== '/clock.js' && url !== '/sw.js') throw new TypeError(`${url} is no script of ours`);
      return url;
    },
  });
  return policy?.createScriptURL(url) ?? url;
}
