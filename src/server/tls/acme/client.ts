/**
 * The client's side of ACME (RFC 8555): signed requests with nonces, the account, orders, and when to renew (RFC 9773).
 * It keeps nothing on disk and answers no challenge; order.ts and authority.ts do.
 */
import type { KeyObject } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import type { z } from 'zod';
import { monotonic, wall } from '../../clock.js';
import { signed } from '../../outbound/jws.js';
import { type Answer, ask, retryAfter } from '../../outbound/request.js';
import { boundKey, jwkOf } from './jose.js';
import {
  AcmeError,
  type Directory,
  describeProblem,
  directorySchema,
  type Order,
  orderSchema,
  problemSchema,
  problemType,
  renewalInfoSchema,
} from './protocol.js';

export interface ClientOptions {
  readonly directory: string;
  /** Trusted authorities in PEM for the connection. Those of Node if undefined. */
  readonly ca?: readonly string[] | undefined;
  readonly userAgent: string;
  /** The key of the account. */
  readonly key: KeyObject;
  readonly signal: AbortSignal;
}

export interface AccountOptions {
  readonly contact: readonly string[];
  readonly eab?: { readonly keyId: string; readonly secret: string } | undefined;
}

/** Of a request, in ms. */
const timeoutMs = 30_000;
/** Certificate chains are the longest answers. */
const mostBytes = 2 ** 20;
/** §6.5: a nonce may have expired; the answer has a new one. */
const nonceAttempts = 10;
/** Total time for an authority to look at a challenge or to issue a certificate, in ms. */
const longestWait = 300_000;

export class AcmeClient {
  readonly #options: ClientOptions;
  #directory: Promise<Directory> | undefined;
  #nonce: string | undefined;
  /** The account's address, once known. */
  account: string | undefined;

  constructor(options: ClientOptions, account?: string) {
    this.#options = options;
    this.account = account;
  }

  /** §7.1.1. A failure is not remembered. */
  directory(): Promise<Directory> {
    this.#directory ??= this.#get(this.#options.directory)
      .then((answer) => parsed(directorySchema, answer))
      .catch((error: unknown) => {
        this.#directory = undefined;
        throw error;
      });
    return this.#directory;
  }

  /** §7.3: creates the account of the key, or finds it. The terms of service are agreed to. */
  async register({ contact, eab }: AccountOptions): Promise<string> {
    const { newAccount, meta } = await this.directory();
    if (meta?.externalAccountRequired === true && eab === undefined)
      throw new AcmeError('externalAccountRequired', 'set tls.acme.eab_key_id and tls.acme.eab_key');
    const { key } = this.#options;
    const { headers } = await this.#post(newAccount, {
      termsOfServiceAgreed: true,
      contact,
      ...(eab && { externalAccountBinding: boundKey(key, eab.keyId, eab.secret, newAccount) }),
    });
    const { location } = headers;
    if (location === undefined) throw new Error('the authority gave no address of the account');
    this.account = location;
    return location;
  }

  /** §7.3.2. */
  async setContact(contact: readonly string[]): Promise<void> {
    await this.#post(this.account!, { contact });
  }

  /** §7.4. `replaces`: the certificate that it renews (RFC 9773 §5). */
  async order(domains: readonly string[], replaces?: string): Promise<{ readonly url: string; readonly order: Order }> {
    const { newOrder, renewalInfo } = await this.directory();
    const identifiers = domains.map((value) => ({ type: 'dns', value }));
    const withReplaced = replaces !== undefined && renewalInfo !== undefined;
    const answer = await this.#post(newOrder, { identifiers, ...(withReplaced && { replaces }) }).catch((error) => {
      // §5: already replaced, or from another authority
      const isAboutReplaced = withReplaced && error instanceof AcmeError && error.type !== 'rateLimited';
      if (!isAboutReplaced) throw error;
      return this.#post(newOrder, { identifiers });
    });
    const { location } = answer.headers;
    if (location === undefined) throw new Error('the authority gave no address of the order');
    return { url: location, order: parsed(orderSchema, answer) };
  }

  async read<T>(url: string, schema: z.ZodType<T>): Promise<T> {
    return parsed(schema, await this.#post(url, undefined));
  }

  async send(url: string, payload: unknown): Promise<void> {
    await this.#post(url, payload);
  }

  /** §7.4.2: the chain in PEM. */
  async download(url: string): Promise<string> {
    return (await this.#post(url, undefined, 'application/pem-certificate-chain')).body;
  }

  /** §7.5.1: reads until the status is another than these, at the pace the authority wishes. */
  async settled<T extends { readonly status: string }>(
    url: string,
    schema: z.ZodType<T>,
    pending: readonly string[],
  ): Promise<T> {
    const deadline = monotonic() + longestWait;
    for (;;) {
      const answer = await this.#post(url, undefined);
      const found = parsed(schema, answer);
      if (!pending.includes(found.status)) return found;
      const wait = Math.min(60_000, Math.max(1000, retryAfter(answer, wall()) ?? 2000));
      if (monotonic() + wait > deadline) throw new Error(`the authority left ${url} ${found.status}`);
      await pause(wait, undefined, { signal: this.#options.signal, ref: false });
    }
  }

  /** §7.6. `reason` as in RFC 5280 §5.3.1. */
  async revoke(der: Buffer, reason = 0): Promise<void> {
    const { revokeCert } = await this.directory();
    if (revokeCert === undefined) throw new Error('the authority revokes no certificates');
    await this.#post(revokeCert, { certificate: Buffer.from(der).toString('base64url'), reason });
  }

  /** RFC 9773 §4: when to renew, and when to ask again. Undefined if the authority does not say. */
  async renewalWindow(
    id: string,
  ): Promise<{ readonly start: number; readonly end: number; readonly askAgain: number } | undefined> {
    const { renewalInfo } = await this.directory();
    if (renewalInfo === undefined) return undefined;
    const answer = await this.#get(`${renewalInfo}/${id}`);
    const { suggestedWindow } = parsed(renewalInfoSchema, answer);
    const [start, end] = [Date.parse(suggestedWindow.start), Date.parse(suggestedWindow.end)];
    if (end <= start) return undefined; // §4.2
    // §4.3.2: bounds of what is sensible
    const again = Math.min(86_400, Math.max(60, secondsAfter(answer) ?? 21_600));
    return { start, end, askAgain: wall() + again * 1000 };
  }

  #get(url: string): Promise<Answer> {
    return this.#ask(url, 'GET');
  }

  async #ask(url: string, method: 'GET' | 'HEAD' | 'POST', body?: string, accept?: string): Promise<Answer> {
    const { ca, signal, userAgent } = this.#options;
    const answer = await ask(url, {
      method,
      ca,
      signal,
      headers: {
        'user-agent': userAgent,
        ...(accept && { accept }),
        ...(body !== undefined && { 'content-type': 'application/jose+json' }),
      },
      body,
      timeoutMs,
      mostBytes,
    });
    const nonce = answer.headers['replay-nonce'];
    if (typeof nonce === 'string') this.#nonce = nonce;
    if (answer.status >= 400 || answer.status < 200) throw refusal(url, answer);
    return answer;
  }

  async #post(url: string, payload: unknown, accept?: string): Promise<Answer> {
    const { key } = this.#options;
    const { newAccount, newNonce } = await this.directory();
    const signer = url === newAccount ? { jwk: jwkOf(key) } : { kid: this.account };
    for (let attempt = 1; ; attempt++) {
      if (this.#nonce === undefined) await this.#ask(newNonce, 'HEAD');
      const nonce = this.#nonce;
      if (nonce === undefined) throw new Error('the authority gave no nonce');
      this.#nonce = undefined;
      const body = JSON.stringify(signed(key, { ...signer, nonce, url }, payload));
      try {
        return await this.#ask(url, 'POST', body, accept);
      } catch (error) {
        const isStale = error instanceof AcmeError && error.type === 'badNonce';
        if (!isStale || attempt === nonceAttempts) throw error;
      }
    }
  }
}

function refusal(url: string, answer: Answer): Error {
  const found = problemSchema.safeParse(jsonOf(answer.body));
  if (!found.success) return new Error(`${new URL(url).host} answered with status ${answer.status}`);
  return new AcmeError(problemType(found.data), describeProblem(found.data), secondsAfter(answer));
}

function parsed<T>(schema: z.ZodType<T>, { body }: Answer): T {
  const found = schema.safeParse(jsonOf(body));
  if (found.success) return found.data;
  const [issue] = found.error.issues;
  throw new Error(`the authority sent an invalid answer: ${issue?.path.join('.')}: ${issue?.message}`);
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/** The pause that an answer asks for. */
function secondsAfter(answer: Answer): number | undefined {
  const ms = retryAfter(answer, wall());
  return ms === undefined ? undefined : ms / 1000;
}
