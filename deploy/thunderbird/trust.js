// SPDX-License-Identifier: GPL-3.0-or-later

// Whether a mail's CHmail-* fields are to be believed. Nothing here asks anybody.

const one = (headers, name) => (headers[name]?.length === 1 ? headers[name][0].trim() : '');

/** plain is a structured field without comments and quotes (RFC 5322 section 3.2.2). */
function plain(value) {
  let depth = 0, quoted = false, text = '';
  for (let i = 0; i < value.length; i++) {
    const c = value[i];
    if (c === '\\') {
      i++;
      if (depth === 0) text += value[i] ?? '';
    } else if (quoted) {
      if (c === '"') quoted = false; else text += /[;=\s]/.test(c) ? '_' : c;
    } else if (depth === 0 && c === '"') quoted = true;
    else if (c === '(') depth++;
    else if (c === ')') depth = Math.max(0, depth - 1);
    else if (depth === 0) text += c;
  }
  return text.replace(/\s+/g, ' ').trim();
}

const host = (name) => name.toLowerCase().replace(/\.$/, '');

/** verifier is the server that an Authentication-Results field is by (RFC 8601 section 2.2). */
export const verifier = (value) => host(plain(value).split(';')[0].trim().split(' ')[0] ?? '');

/** passed are the domains whose DKIM signature holds, as a field says. */
function passed(value) {
  return plain(value).split(';').slice(1).flatMap((result) => {
    if (!/^\s*dkim\s*=\s*pass(\s|$)/i.test(result)) return [];
    const found = /\sheader\.d\s*=\s*([^\s]+)/i.exec(result) ?? /\sheader\.i\s*=\s*[^\s@]*@([^\s]+)/i.exec(result);
    return found ? [host(found[1])] : [];
  });
}

/** signs says whether a DKIM signature of a domain covers the fields of the chat (RFC 6376 section 3.5). */
function signs(signature, domain) {
  const tags = new Map(signature.split(';').map((tag) => {
    const [name, ...value] = tag.split('=');
    return [name.trim().toLowerCase(), value.join('=').replace(/\s+/g, '').toLowerCase()];
  }));
  const fields = (tags.get('h') ?? '').split(':');
  return host(tags.get('d') ?? '') === domain && ['chmail-login', 'chmail-chat'].every((f) => fields.includes(f));
}

const within = (name, domain) => name === domain || name.endsWith('.' + domain);

/**
 * judge returns what a mail offers: { login, link, own } when its fields are to be believed, { ask } when that depends
 * on whether the server `ask` is the reader's own, and otherwise null.
 *
 * headers: as messenger.messages.getFull has them, each a list, the newest first.
 * mine: { server, login, here } of the CHmail server that the reader signed in to: its address, the login, and whether
 * this mail is in that login's account. Or null.
 * trusted: names of the reader's other mail servers.
 */
export function judge(headers, mine, trusted) {
  const login = one(headers, 'chmail-login');
  const domain = host(login.slice(login.lastIndexOf('@') + 1));
  let link;
  try {
    link = new URL(one(headers, 'chmail-chat').replace(/^<(.*)>$/, '$1'));
  } catch {
    return null;
  }
  const path = /^\/c\/[\w-]{22}$/.test(link.pathname) && !link.search && !link.hash && !link.username && !link.password;
  if (!login.includes('@') || !path) return null;
  // One's own server takes away fields that it has not verified, and its pages say themselves who somebody is.
  if (mine?.here && link.origin === new URL(mine.server).origin) return { login, link: link.href, own: true };
  // The link leads nowhere but to the domain that vouches for it.
  if (link.protocol !== 'https:' || !within(host(link.hostname), domain)) return null;
  if (!(headers['dkim-signature'] ?? []).some((s) => signs(s, domain))) return null;
  const results = headers['authentication-results'] ?? [];
  const known = [...trusted.map(host), ...(mine ? [host(new URL(mine.server).hostname)] : [])];
  const field = results.find((r) => known.includes(verifier(r)));
  if (field) return passed(field).includes(domain) ? { login, link: link.href, own: false } : null;
  // Only a person can say whether the newest verdict is by their own server.
  return results.length && passed(results[0]).includes(domain) ? { ask: verifier(results[0]) } : null;
}
