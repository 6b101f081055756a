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
  /** The account that the notice is about, bare. */
  readonly account: string;
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
