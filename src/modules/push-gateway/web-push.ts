/**
 * Web Push (RFC 8030), and UnifiedPush, whose endpoints take the same requests. A device without keys gets no more than
 * numbers, because everybody on the way can read them.
 */
import { wall } from '../../server/clock.js';
import type { Outcome } from '../../server/outbound/deliveries.js';
import type { Poster } from '../../server/outbound/post.js';
import { UnreachableError } from '../../server/outbound/reach.js';
import { type Answer, retryAfter } from '../../server/outbound/request.js';
import { type Backend, clearData, fitted, type Push, whyOf } from './backend.js';
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

  async send({ url, keys }: Endpoint, push: Push): Promise<Outcome> {
    const { account, notice, urgency, ttlSeconds, topic } = push;
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
          ? await this.#poster.post(url, headers, JSON.stringify(clearData(push)))
          : await this.#poster.post(
              url,
              { ...headers, 'content-encoding': 'aes128gcm' },
              encrypt(
                fitted(notice, longestText, (part) => JSON.stringify({ account, ...part })),
                keys,
              ),
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
