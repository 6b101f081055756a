/** What a request is for (RFC 9112 §3.2): its target may be a whole URI. */
import type { IncomingMessage } from 'node:http';

type Asked = Pick<IncomingMessage, 'url' | 'headers'>;

const origin = /^https?:\/\/([^/?#]*)/i;

/** As it was sent, without the query. */
export function pathOf({ url = '' }: Pick<Asked, 'url'>): string {
  const path = url.replace(origin, '').split(/[?#]/, 1)[0]!;
  return path === '' ? '/' : path;
}

export function queryOf({ url = '' }: Pick<Asked, 'url'>): URLSearchParams {
  return new URLSearchParams(/\?([^#]*)/.exec(url)?.[1] ?? '');
}

/** The name that is asked, in small letters and without the port; empty: the request names none. */
export function authorityOf({ url = '', headers }: Asked): string {
  const authority = origin.exec(url)?.[1] ?? headers.host ?? '';
  return authority.replace(/^.*@/, '').replace(/:\d*$/, '').replace(/\.$/, '').toLowerCase();
}
