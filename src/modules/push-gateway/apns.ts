/**
 * Apple Push Notification service: requests over HTTP/2, with a token of the app's maker (ES256). Apple reads what it passes
 * on, so apps get numbers, and sender and text only if the configuration says so.
 */
import { createPrivateKey, type KeyObject } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { z } from 'zod';
import { monotonic, wall } from '../../server/clock.js';
import type { Outcome } from '../../server/outbound/deliveries.js';
import { Http2Poster } from '../../server/outbound/http2.js';
import { jwt } from '../../server/outbound/jws.js';
import { type Reach, UnreachableError } from '../../server/outbound/reach.js';
import { type Answer, retryAfter } from '../../server/outbound/request.js';
import { type Backend, clearData, fitted, jsonIn, type Push, whyOf } from './backend.js';
import type { Settings } from './settings.js';

export const apnsTypes = ['alert', 'background', 'voip'] as const;

/** A device of one app. */
export interface ApnsDevice {
  /** Hexadecimal. */
  readonly token: string;
  /** How the app wants to be woken. */
  readonly type: (typeof apnsTypes)[number];
  /** The app was built for the sandbox, whose tokens the other service does not know. */
  readonly isSandbox: boolean;
}

export interface ApnsParts {
  readonly settings: () => Settings['apns'] & { readonly showsContent: boolean };
  readonly reach: Reach;
  readonly ca: readonly string[] | undefined;
  readonly atOnce: () => number;
}

/** Apple refuses tokens that are older than an hour, and makers who change theirs more than once in 20 minutes. In ms. */
const renewMs = 40 * 60_000;
const earliestRenewalMs = 20 * 60_000;
/** Bytes of a payload. */
const longestPayload = 4096;
/** Seconds. The caller does not wait longer. */
const longestVoipTtl = 30;
const refusal = z.object({ reason: z.string().default(''), timestamp: z.number().optional() });

interface ProviderToken {
  readonly text: string;
  readonly keyId: string;
  /** By the monotonic clock. */
  readonly at: number;
}

/** The key's id is in the name that Apple gives the file. */
const keyIdOf = ({ key, key_id }: Pick<Settings['apns'], 'key' | 'key_id'>): string =>
  key_id === '' ? (/^AuthKey_(\w+)\.p8$/.exec(basename(key))?.[1] ?? '') : key_id;

async function readKey(file: string): Promise<KeyObject> {
  const text = await readFile(file, 'utf8');
  try {
    const key = createPrivateKey(text);
    if (key.asymmetricKeyDetails?.namedCurve === 'prime256v1') return key;
  } catch {
    // The cause may quote the file.
  }
  throw new Error(`apns.key: ${file} is not a key of Apple`);
}

export class Apns implements Backend<ApnsDevice> {
  readonly #parts: ApnsParts;
  #token: Promise<ProviderToken> | undefined;
  #current: ProviderToken | undefined;
  /** By origin: all for the same key, as Apple demands. */
  readonly #connections = new Map<string, Http2Poster>();

  private constructor(parts: ApnsParts) {
    this.#parts = parts;
  }

  /** Rejects if the configuration is wrong. */
  static async open(parts: ApnsParts): Promise<Apns> {
    const { topic, team_id, ...rest } = parts.settings();
    if (topic === '' || team_id === '') throw new Error('apns: topic and team_id are missing');
    if (keyIdOf(rest) === '') throw new Error('apns.key_id is missing');
    await readKey(rest.key);
    return new Apns(parts);
  }

  laneOf({ isSandbox }: Pick<ApnsDevice, 'isSandbox'>): string {
    const { url, sandbox_url } = this.#parts.settings();
    return isSandbox ? sandbox_url : url;
  }

  async send(device: ApnsDevice, push: Push): Promise<Outcome> {
    try {
      for (let isLast = false; ; isLast = true) {
        const token = await this.#providerToken();
        const answer = await this.#post(device, push, token);
        const outcome = outcomeOf(answer, push);
        if (outcome !== 'renew') return outcome;
        // If it is young, another one is refused too: the clock of this machine is wrong.
        const isOld = monotonic() - token.at >= earliestRenewalMs;
        if (isLast || !isOld) return { kind: 'retry', why: whyOf(answer.status, answer.body), isOutage: true };
        if (this.#current === token) this.#current = undefined;
      }
    } catch (error) {
      const why = (error as Error).message;
      return error instanceof UnreachableError ? { kind: 'refused', why } : { kind: 'retry', why, isOutage: true };
    }
  }

  close(): void {
    for (const connection of this.#connections.values()) connection.close();
  }

  #post(device: ApnsDevice, push: Push, token: ProviderToken): Promise<Answer> {
    const { topic, alert, showsContent } = this.#parts.settings();
    // Nothing has come that should be shown at once.
    const type = device.type === 'alert' && push.urgency === 'normal' ? 'background' : device.type;
    const ttl = type === 'voip' ? Math.min(longestVoipTtl, push.ttlSeconds) : push.ttlSeconds;
    const headers = {
      authorization: `bearer ${token.text}`,
      'content-type': 'application/json',
      'apns-topic': type === 'voip' ? `${topic}.voip` : topic,
      'apns-push-type': type,
      // Apple refuses others of background notifications.
      'apns-priority': type === 'background' ? '5' : '10',
      'apns-expiration': String(Math.floor(wall() / 1000) + ttl),
      'apns-collapse-id': push.topic,
    };
    const content = fitted(push.notice, longestPayload, (notice) => {
      const content = showsContent ? notice : undefined;
      if (type !== 'alert') {
        const aps = type === 'background' ? { 'content-available': 1 } : {};
        return JSON.stringify({ aps, ...clearData(push, content) });
      }
      const shown = { title: content?.sender, body: content?.body ?? alert };
      const aps = { alert: shown, sound: 'default', 'mutable-content': 1 };
      return JSON.stringify({ aps, ...clearData(push) });
    });
    return this.#connection(this.laneOf(device)).post(`/3/device/${device.token}`, headers, content);
  }

  #connection(origin: string): Http2Poster {
    let connection = this.#connections.get(origin);
    if (connection === undefined) {
      const { reach, ca, atOnce } = this.#parts;
      connection = new Http2Poster({ origin, reach, ca, atOnce: atOnce() });
      this.#connections.set(origin, connection);
    }
    return connection;
  }

  /** Apple's: renewed in time, and when the administrator has named another key. One for all that ask for it. */
  async #providerToken(): Promise<ProviderToken> {
    const keyId = keyIdOf(this.#parts.settings());
    const current = this.#current;
    if (current?.keyId === keyId && monotonic() - current.at < renewMs) return current;
    this.#token ??= this.#renew(keyId).finally(() => {
      this.#token = undefined;
    });
    return this.#token;
  }

  async #renew(keyId: string): Promise<ProviderToken> {
    const { key, team_id } = this.#parts.settings();
    const claims = { iss: team_id, iat: Math.floor(wall() / 1000) };
    const text = jwt(await readKey(key), { kid: keyId }, claims);
    if (this.#current !== undefined && this.#current.keyId !== keyId) {
      for (const connection of this.#connections.values()) connection.retire();
      this.#connections.clear();
    }
    this.#current = { text, keyId, at: monotonic() };
    return this.#current;
  }
}

/** The published answers. 'renew': the token of the app's maker is too old. */
function outcomeOf(answer: Answer, { since }: Push): Outcome | 'renew' {
  const { status, body } = answer;
  if (status === 200) return { kind: 'delivered' };
  const read = refusal.safeParse(jsonIn(body));
  const { reason = '', timestamp } = read.success ? read.data : {};
  const why = whyOf(status, reason);
  const afterMs = retryAfter(answer, wall());
  if (status === 410) {
    // The app may have registered again since then.
    const isOld = timestamp !== undefined && timestamp < since;
    return isOld ? { kind: 'retry', why, isOutage: false, afterMs } : { kind: 'gone' };
  }
  if (reason === 'BadDeviceToken') return { kind: 'gone' };
  if (reason === 'ExpiredProviderToken') return 'renew';
  if (reason === 'TooManyRequests') return { kind: 'retry', why, isOutage: false, afterMs };
  // The key, or the service: nobody gets anything.
  if (status === 403 || status === 429 || status >= 500) return { kind: 'retry', why, isOutage: true, afterMs };
  return { kind: 'refused', why };
}
