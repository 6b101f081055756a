/**
 * Firebase Cloud Messaging, HTTP v1. An access token is got with the service account of the app's maker (RFC 7523). Google
 * reads what it passes on, so apps get numbers, and sender and text only if the configuration says so.
 */
import { createPrivateKey, type KeyObject } from 'node:crypto';
import { z } from 'zod';
import { monotonic, wall } from '../../server/clock.js';
import type { Outcome } from '../../server/outbound/deliveries.js';
import { jwt } from '../../server/outbound/jws.js';
import type { Poster } from '../../server/outbound/post.js';
import { UnreachableError } from '../../server/outbound/reach.js';
import { type Answer, retryAfter } from '../../server/outbound/request.js';
import { type Backend, clearData, fitted, jsonIn, type Push, whyOf } from './backend.js';

/** The file that the Firebase console gives. */
const account = z.object({
  project_id: z.string().min(1),
  client_email: z.string().min(1),
  private_key_id: z.string().optional(),
  private_key: z.string(),
  token_uri: z.url(),
});

export interface ServiceAccount extends Omit<z.output<typeof account>, 'private_key'> {
  readonly key: KeyObject;
}

/** Throws an Error that says what is wrong. */
export function readServiceAccount(text: string): ServiceAccount {
  const { private_key, ...rest } = account.parse(JSON.parse(text));
  return { ...rest, key: createPrivateKey(private_key) };
}

const scope = 'https://www.googleapis.com/auth/firebase.messaging';
const grantType = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
const assertionSeconds = 3600;
/** A token is not used for this long before it expires, in ms. */
const spareMs = 60_000;
const granted = z.object({ access_token: z.string().min(1), expires_in: z.number().positive().default(3600) });
const refused = z.object({
  error: z.object({
    message: z.string().default(''),
    status: z.string().default(''),
    details: z.array(z.looseObject({ errorCode: z.string().optional() })).default([]),
  }),
});

export class Fcm implements Backend<string> {
  readonly #poster: Poster;
  readonly #account: ServiceAccount;
  readonly #url: string;
  #access: { readonly token: Promise<string>; until: number } | undefined;

  readonly #showsContent: () => boolean;

  /** `url`: of the service, without a slash at the end. `showsContent`: apps get sender and text. */
  constructor(poster: Poster, serviceAccount: ServiceAccount, url: string, showsContent: () => boolean) {
    this.#poster = poster;
    this.#showsContent = showsContent;
    this.#account = serviceAccount;
    this.#url = url;
  }

  laneOf(): string {
    return this.#url;
  }

  async send(token: string, push: Push): Promise<Outcome> {
    try {
      const access = await this.#token();
      const url = `${this.#url}/v1/projects/${encodeURIComponent(this.#account.project_id)}/messages:send`;
      const headers = { authorization: `Bearer ${access}`, 'content-type': 'application/json' };
      const outcome = outcomeOf(await this.#poster.post(url, headers, this.#message(token, push)));
      if (outcome !== 'unauthorized') return outcome;
      // The token was revoked before it expired.
      this.#access = undefined;
      return { kind: 'retry', why: 'the access token was refused', isOutage: false };
    } catch (error) {
      const isRefused = error instanceof UnreachableError;
      const why = (error as Error).message;
      return isRefused ? { kind: 'refused', why } : { kind: 'retry', why, isOutage: true };
    }
  }

  close(): void {}

  /** A message without a notification to show: the app fetches what there is. */
  #message(token: string, push: Push): string {
    const { urgency, ttlSeconds, topic } = push;
    const data = fitted(push.notice, longestData, (notice) =>
      JSON.stringify(clearData(push, this.#showsContent() ? notice : undefined)),
    );
    const android = { priority: urgency === 'high' ? 'HIGH' : 'NORMAL', ttl: `${ttlSeconds}s`, collapse_key: topic };
    return JSON.stringify({ message: { token, data: JSON.parse(data) as unknown, android } });
  }

  /** One for all that ask while it is fetched. */
  #token(): Promise<string> {
    if (this.#access !== undefined && monotonic() < this.#access.until) return this.#access.token;
    const access = { token: this.#fetch(), until: Number.POSITIVE_INFINITY };
    this.#access = access;
    access.token.catch(() => {
      if (this.#access === access) this.#access = undefined;
    });
    return access.token;
  }

  async #fetch(): Promise<string> {
    const { client_email, private_key_id, token_uri, key } = this.#account;
    const iat = Math.floor(wall() / 1000);
    const claims = { iss: client_email, scope, aud: token_uri, iat, exp: iat + assertionSeconds };
    const assertion = jwt(key, private_key_id === undefined ? {} : { kid: private_key_id }, claims);
    const form = new URLSearchParams({ grant_type: grantType, assertion });
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    const { status, body } = await this.#poster.post(token_uri, headers, form.toString());
    const read = status === 200 ? granted.safeParse(jsonIn(body)) : undefined;
    // The answer is not shown: it may have the token.
    if (read?.success !== true) throw new Error(`no access token: ${status}`);
    const ms = read.data.expires_in * 1000;
    if (this.#access !== undefined) this.#access.until = monotonic() + Math.max(ms / 2, ms - spareMs);
    return read.data.access_token;
  }
}

/** Bytes of the data of a message. */
const longestData = 4096;

/** The published error codes. */
function outcomeOf(answer: Answer): Outcome | 'unauthorized' {
  const { status, body } = answer;
  if (status === 200) return { kind: 'delivered' };
  const read = refused.safeParse(jsonIn(body));
  const { message = '', status: name = '', details = [] } = read.success ? read.data.error : {};
  const code = details.find(({ errorCode }) => errorCode !== undefined)?.errorCode ?? name;
  if (code === 'UNREGISTERED' || code === 'SENDER_ID_MISMATCH' || status === 404) return { kind: 'gone' };
  if (status === 401 && code !== 'THIRD_PARTY_AUTH_ERROR') return 'unauthorized';
  const why = whyOf(status, `${code} ${message}`);
  const afterMs = retryAfter(answer, wall());
  if (status === 429) return { kind: 'retry', why, isOutage: false, afterMs };
  if (status >= 500) return { kind: 'retry', why, isOutage: true, afterMs };
  return { kind: 'refused', why };
}
