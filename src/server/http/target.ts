/** The target of a request (RFC 9112 §3.2), which may be an absolute URI. */
import type { Incoming } from './message.js';

type Asked = Pick<Incoming, 'url' | 'headers'>;

const origin = /^https?:\/\/([^/?#]*)/i;

/** Returns the path as sent, without the query. */
export function pathOf({ url = '' }: Pick<Asked, 'url'>): string {
  const target = url.startsWith('/') ? url : url.replace(origin, '');
  const end = target.search(/[?#]/);
  const path = end < 0 ? target : target.slice(0, end);
  return path === '' ? '/' : path;
}

export function queryOf({ url = '' }: Pick<Asked, 'url'>): URLSearchParams {
  return new URLSearchParams(/\?([^#]*)/.exec(url)?.[1] ?? '');
}

/** Returns the requested host name in lower case, without the port. Empty if the request has none. */
export function authorityOf({ url = '', headers }: Asked): string {
  const authority = `${origin.exec(url)?.[1] ?? headers[':authority'] ?? headers.host ?? ''}`;
  return authority.replace(/^.*@/, '').replace(/:\d*$/, '').replace(/\.$/, '').toLowerCase();
}
