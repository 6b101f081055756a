/**
 * The cookies of the page (RFC 6265), and the tokens that its forms carry against requests that other sites make a browser
 * send. A token is proved by the secret in the cookie, so that it is worth nothing with another account or login.
 */
import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { wall } from '../../server/clock.js';
import type { HttpRequest } from '../../server/module/index.js';

/** `login`: who is logged in. `form`: proves the form of the login itself. */
export type CookieName = 'login' | 'form';

/**
 * Over TLS, by its prefix, no other host of the same domain can set the cookie. Without TLS, which is for this machine alone,
 * browsers do not accept the prefix.
 */
const fullName = (name: CookieName, secure: boolean): string => `${secure ? '__Host-' : ''}waxwing-${name}`;

const base64url = /^[\w-]{22,64}$/;
const newSecret = (): string => randomBytes(24).toString('base64url');

export function cookieOf({ headers, secure }: Pick<HttpRequest, 'headers' | 'secure'>, name: CookieName): string {
  const prefix = `${fullName(name, secure)}=`;
  const found = headers.cookie?.split(';').find((one) => one.trimStart().startsWith(prefix));
  return found?.trim().slice(prefix.length) ?? '';
}

/** `path`: of the page. `maxAge`: seconds; 0 deletes it, undefined keeps it until the browser is closed. */
export function setCookie(
  { secure }: Pick<HttpRequest, 'secure'>,
  name: CookieName,
  value: string,
  { path, maxAge }: { readonly path: string; readonly maxAge?: number },
): string {
  const attributes = [
    `${fullName(name, secure)}=${value}`,
    // The prefix demands it.
    `Path=${secure ? '/' : path}`,
    'HttpOnly',
    'SameSite=Strict',
    ...(secure ? ['Secure'] : []),
    ...(maxAge === undefined ? [] : [`Max-Age=${maxAge}`]),
  ];
  return attributes.join('; ');
}

/** What the cookie of a login says, unproved. */
export interface Ticket {
  /** The local part of the account. */
  readonly local: string;
  readonly secret: string;
}

export const newTicket = (local: string): Ticket => ({ local, secret: newSecret() });

export const writeTicket = ({ local, secret }: Ticket): string =>
  `${Buffer.from(local).toString('base64url')}.${secret}`;

export function readTicket(text: string): Ticket | undefined {
  const [name = '', secret = '', more] = text.split('.');
  if (more !== undefined || !base64url.test(secret) || !/^[\w-]{1,1400}$/.test(name)) return undefined;
  return { local: Buffer.from(name, 'base64url').toString(), secret };
}

/** The key of a login in the store, from which nobody can log in. */
export const keyOf = ({ secret }: Ticket): string => createHash('sha256').update(secret).digest('base64url');

// --- tokens -------------------------------------------------------------------------------------------------------

/** A token of a form that is proved; its nonce can be used once. */
export interface Proved {
  readonly nonce: string;
  /** When the form was made, in ms since 1970. */
  readonly at: number;
}

const proofOf = (secret: string, form: string, at: string, nonce: string): Buffer =>
  createHmac('sha256', secret).update(`waxwing form\0${form}\0${at}\0${nonce}`).digest();

/** A token for the form of this name. */
export function newToken(secret: string, form: string): string {
  const at = wall().toString(36);
  const nonce = randomBytes(12).toString('base64url');
  return `${at}.${nonce}.${proofOf(secret, form, at, nonce).toString('base64url')}`;
}

/** Undefined if it was not made for this form and this secret. */
export function proveToken(secret: string, form: string, token: string): Proved | undefined {
  const [, at, nonce, proof] = /^([\da-z]{1,11})\.([\w-]{16})\.([\w-]{43})$/.exec(token) ?? [];
  if (at === undefined || nonce === undefined || proof === undefined) return undefined;
  const isRight = timingSafeEqual(Buffer.from(proof, 'base64url'), proofOf(secret, form, at, nonce));
  return isRight ? { nonce, at: Number.parseInt(at, 36) } : undefined;
}

/** The secret of the form that logs in, and the cookie that sets it if the browser has none. */
export function loginSecret(request: HttpRequest, path: string): { readonly secret: string; readonly set?: string } {
  const known = cookieOf(request, 'form');
  if (base64url.test(known)) return { secret: known };
  const secret = newSecret();
  return { secret, set: setCookie(request, 'form', secret, { path }) };
}
