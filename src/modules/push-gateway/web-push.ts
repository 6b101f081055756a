/**
 * Web Push (RFC 8030), and UnifiedPush, whose endpoints take the same requests. A device without keys gets no more than
 * numbers, because everybody on the way can read them.
 */
import { wall } from '../../server/clock.js';
import type { Outcome } from '../../server/outbound/deliveries.js';
import type { Poster } from '../../server/outbound/post.js';
import { UnreachableError } from '../../server/outbound/reach.js';
import { type Answer, retryAfter } from '../../server/outbound/request.js';
import { type Backend, type Notice, type Push, whyOf } from './backend.js';
import { type DeviceKeys, encrypt, longestText } from './rfc-8291-encryption.js';
import type { Vapid } from './rfc-8292-vapid.js';

export interface Endpoint {
  readonly url: string;
  readonly keys?: DeviceKeys | undefined;
}

export class WebPush implements Backend<Endpoint> {
  readonly #poster: Poster;
  readonly #vapid: Vapid;

  constructor(poster: Poster, vapid: Vapid) {
    this.#poster = poster;
    this.#vapid = vapid;
  }

  laneOf({ url }: Endpoint): string {
    return new URL(url).origin;
  }

  async send({ url, keys }: Endpoint, { account, notice, urgency, ttlSeconds, topic }: Push): Promise<Outcome> {
    const headers = {
      authorization: this.#vapid.header(new URL(url).origin),
      ttl: String(ttlSeconds),
      urgency,
      topic,
      'content-type': 'application/octet-stream',
    };
    try {
      const answer =
        keys === undefined
          ? await this.#poster.post(url, headers, textOf(account, { count: notice.count, pending: notice.pending }))
          : await this.#poster.post(
              url,
              { ...headers, 'content-encoding': 'aes128gcm' },
              encrypt(textOf(account, notice), keys),
            );
      return outcomeOf(answer);
    } catch (error) {
      if (error instanceof UnreachableError) return { kind: 'gone' };
      return { kind: 'retry', why: (error as Error).message, isOutage: true };
    }
  }

  close(): void {
    this.#poster.close();
  }
}

/** JSON. A text that is too long is cut. */
function textOf(account: string, notice: Notice): string {
  const text = JSON.stringify({ account, ...notice });
  const excess = Buffer.byteLength(text) - longestText;
  if (excess <= 0) return text;
  // Each character has at least one byte.
  const body = notice.body ?? '';
  const characters = [...body];
  const left = characters.slice(0, Math.max(0, characters.length - excess)).join('');
  const shorter = { ...notice, body: left === '' ? undefined : left };
  const written = JSON.stringify({ account, ...shorter });
  return Buffer.byteLength(written) <= longestText ? written : JSON.stringify({ account, count: notice.count });
}

/** RFC 8030 §5, §6.2, §8.4. */
function outcomeOf(answer: Answer): Outcome {
  const { status, body } = answer;
  if (status >= 200 && status < 300) return { kind: 'delivered' };
  if (status === 404 || status === 410) return { kind: 'gone' };
  const why = whyOf(status, body);
  const afterMs = retryAfter(answer, wall());
  if (status === 429) return { kind: 'retry', why, isOutage: false, afterMs };
  if (status >= 500 || status === 408) return { kind: 'retry', why, isOutage: true, afterMs };
  return { kind: 'refused', why };
}
