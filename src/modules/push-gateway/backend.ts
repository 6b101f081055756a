/** What the gateway needs of a service that wakes devices. */
import type { Outcome } from '../../server/outbound/deliveries.js';

/** What a device is told. */
export interface Notice {
  /** Messages, and pending subscription requests. */
  readonly count?: number | undefined;
  readonly pending?: number | undefined;
  /** Of the last message, if the user's server tells. */
  readonly sender?: string | undefined;
  readonly body?: string | undefined;
}

export interface Push {
  /** The account that the notice is about, bare: for devices that get it encrypted. */
  readonly account: string;
  /** By which an app knows the account, and nobody else. Undefined if the app has given the device no name. */
  readonly alias: string | undefined;
  /** When the device was registered, in ms since 1970. */
  readonly since: number;
  readonly notice: Notice;
  /** 'normal': the device need not be woken at once. */
  readonly urgency: 'high' | 'normal';
  /** How long the service keeps it for a device that is not connected. */
  readonly ttlSeconds: number;
  /** A later push with the same topic replaces one that the service still has. At most 32 characters of base64url. */
  readonly topic: string;
}

/** `Token`: what a device registered with. */
export interface Backend<Token> {
  /** What fails as a whole: the server behind the token. */
  laneOf(token: Token): string;
  /** Never rejects. */
  send(token: Token, push: Push): Promise<Outcome>;
  close(): void;
}

/** Most characters of an explanation that a service gave. */
const longestWhy = 200;

/** Why an attempt failed: without control characters, because it is shown on terminals. */
export const whyOf = (status: number, text: string): string =>
  `${status} ${text}`
    .replace(/[\p{C}\p{Z}]+/gu, ' ')
    .trim()
    .slice(0, longestWhy);

/** What an app gets through a service that can read it. `content`: with sender and text. */
export function clearData({ alias, notice }: Push, content?: Notice): Record<string, string> {
  const fields = {
    account: alias,
    'message-count': notice.count?.toString(),
    'pending-subscription-count': notice.pending?.toString(),
    'last-message-sender': content?.sender,
    'last-message-body': content?.body,
  };
  return Object.fromEntries(
    Object.entries(fields).filter((field): field is [string, string] => field[1] !== undefined),
  );
}

/** What `write` makes of a notice, whose text is cut to fit into so many bytes. If that is not enough, numbers are left. */
export function fitted(notice: Notice, mostBytes: number, write: (notice: Notice) => string): string {
  const isShort = (written: string) => Buffer.byteLength(written) <= mostBytes;
  const whole = write(notice);
  if (isShort(whole)) return whole;
  const { count, pending, body = '' } = notice;
  const characters = [...body];
  let best = write({ count, pending });
  // Characters take one byte or many. Of `low` they fit, of `high` they do not.
  for (let [low, high] = [0, characters.length]; high - low > 1; ) {
    const middle = (low + high) >> 1;
    const written = write({ ...notice, body: characters.slice(0, middle).join('') });
    if (isShort(written)) [low, best] = [middle, written];
    else high = middle;
  }
  return best;
}

export function jsonIn(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
