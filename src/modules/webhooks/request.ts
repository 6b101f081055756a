/**
 * A request with an event, signed as Standard Webhooks says (https://www.standardwebhooks.com): HMAC-SHA256 over its id, the
 * time of the attempt and the body. Receivers recognize a repeated event by its id, and an old request by its time.
 */
import { createHmac } from 'node:crypto';
import { wall } from '../../server/clock.js';
import type { Outcome } from '../../server/outbound/deliveries.js';
import type { Poster } from '../../server/outbound/post.js';
import { UnreachableError } from '../../server/outbound/reach.js';
import { retryAfter } from '../../server/outbound/request.js';

/** `whsec_` is the form in which other programs write secrets: what follows is base64. */
export const keyOf = (secret: string): Buffer =>
  secret.startsWith('whsec_') ? Buffer.from(secret.slice(6), 'base64') : Buffer.from(secret);

/** `seconds`: since 1970. */
export const signatureOf = (key: Buffer, id: string, seconds: number, body: string): string =>
  `v1,${createHmac('sha256', key).update(`${id}.${seconds}.${body}`).digest('base64')}`;

export interface Sent {
  readonly url: string;
  readonly key: Buffer;
  readonly id: string;
  readonly body: string;
}

/** Never rejects. */
export async function send(poster: Poster, { url, key, id, body }: Sent): Promise<Outcome> {
  const seconds = Math.floor(wall() / 1000);
  const headers = {
    'content-type': 'application/json',
    'webhook-id': id,
    'webhook-timestamp': String(seconds),
    'webhook-signature': signatureOf(key, id, seconds, body),
  };
  try {
    const answer = await poster.post(url, headers, body);
    const { status } = answer;
    if (status >= 200 && status < 300) return { kind: 'delivered' };
    // What the receiver says is not stored: it may repeat the event.
    const why = `the receiver answered ${status}`;
    const afterMs = retryAfter(answer, wall());
    if (status === 429) return { kind: 'retry', why, isOutage: false, afterMs };
    if (status >= 500 || status === 408) return { kind: 'retry', why, isOutage: true, afterMs };
    return { kind: 'refused', why };
  } catch (error) {
    if (error instanceof UnreachableError) return { kind: 'refused', why: error.message };
    return { kind: 'retry', why: (error as Error).message, isOutage: true };
  }
}
