/** Handlers of streams: client, server and component streams are handlers on stream.ts. */

import type { Logger } from 'pino';
import { StorageError } from '../../storage/contract.js';
import { JidError } from '../address/jid.js';
import type { Config } from '../config/schema.js';
import type { Backlog } from '../limits/backlog.js';
import type { Shares } from '../limits/shares.js';
import type { Maybe } from '../maybe.js';
import { StanzaError, StreamError } from '../stanza/errors.js';
import { NS } from '../stanza/ns.js';
import { type ReaderLimits, type StreamItem, type StreamOpen, type TopLevel, XmlError } from '../xml/reader.js';
import type { StreamCounts } from './counts.js';
import type { OutputParts } from './output.js';

type Limits = Config['limits'];

/** How long a peer has to close its half of a stream that we ended before it was in use, in ms. */
export const lateCloseMs = 2000;

/** Receives the events of one stream. */
export interface StreamHandler {
  /** The content namespace (RFC 6120 §4.8.2). */
  readonly ns: string;
  /** Our header has no version: features are not negotiated (RFC 6120 §4.7.5). */
  readonly isUnversioned?: true;
  /** Declarations of further namespaces in our header, such as 'xmlns:db'. */
  readonly declares?: Readonly<Record<string, string>>;
  /** Bytes that may be unread on top of `limits.write_queue_bytes`, because the handler bounds them. */
  readonly mayLag: number;
  /** The peer's header, also after a restart; its namespaces are valid. Answers with `open` or throws StreamError. */
  opened(header: StreamOpen): Maybe<void>;
  /** An element. The next one follows once the promise settles. Any error thrown or rejected closes the stream. */
  element(item: TopLevel): Maybe<void>;
  /** Whether an element is exempt from the share's pacing and may overtake others. */
  isFree(item: TopLevel): boolean;
  /**
   * Offers an element that was read while earlier ones are paused. Returns whether it has been handled. `isHalted`: the
   * pause is longer than a turn. Called on established streams only.
   */
  ahead(item: TopLevel, isHalted: boolean): boolean;
  /** The output has room again. Called on established streams only. */
  drained(): void;
  /** The peer sent a stream error (RFC 6120 §4.9). `closed` follows. */
  blamed?(error: TopLevel): void;
  /** The peer closes an established stream: the last chance to write to it. `closed` follows. */
  closing?(): void;
  /** The stream was closed, by the peer or by us, with `error` if there was one. */
  closed(error: StreamError | undefined): void;
  /** The connection was lost before the stream was closed. */
  lost(): void;
  /** The connection is closed and everything read from it has been handled. Called once, last. */
  gone(): void;
}

/** What every stream needs of the server. */
export interface StreamParts extends OutputParts {
  readonly shares: Shares;
  readonly backlog: Backlog;
  readonly counts: Pick<StreamCounts, 'streamErrors'>;
  readonly log: Logger;
  limitHit(limit: string): void;
}

/** What a kind of peer may send (RFC 6120 §13.12). Read on each use, so that a reload takes effect at once. */
export interface Allowance {
  rate(limits: Limits): Limits['rate'];
  /** Largest element, in bytes. */
  elementBytes(limits: Limits): number;
  /**
   * The peer sends for many users: a stanza that exceeds a limit is refused, and does not end the stream of the others.
   */
  readonly isShared?: true;
}

/** An element of this many times the largest size ends a shared stream too. */
const skippedSizes = 16;

/** RFC 5646 §4.4.1, in characters. */
const longestLanguage = 35;

/** Checks the names in a header. Returns its language, unless that is too long. Throws StreamError (RFC 6120 §4.8). */
export function languageOf({ ns, name, defaultNs, attrs }: StreamOpen, contentNs: string): string | undefined {
  if (ns !== NS.stream) throw new StreamError('invalid-namespace');
  if (name !== 'stream') throw new StreamError('bad-format');
  if (defaultNs !== contentNs) throw new StreamError('invalid-namespace');
  const lang = attrs['xml:lang'];
  return lang !== undefined && lang.length <= longestLanguage ? lang : undefined;
}

/** Throws StreamError if the header has no version (RFC 6120 §4.7.5): without one nothing can be negotiated. */
export function demandVersion({ attrs: { version } }: StreamOpen): void {
  if (version === undefined || !/^\d+\.\d+$/.test(version) || Number.parseInt(version, 10) < 1)
    throw new StreamError('unsupported-version');
}

/** Allowance before authentication. */
export const unauthenticated: Allowance = {
  rate: (limits) => limits.rate_unauthenticated,
  elementBytes: (limits) => limits.stanza_bytes_unauthenticated,
};

/** One object for all streams with the same limits, since there may be very many. */
const sharedLimits = new WeakMap<Limits, Map<Allowance, ReaderLimits>>();

/** The limits of the reader of a stream to which this is allowed. */
export function readerLimits(limits: Limits, allowance: Allowance): ReaderLimits {
  let shared = sharedLimits.get(limits);
  if (shared === undefined) sharedLimits.set(limits, (shared = new Map()));
  let made = shared.get(allowance);
  if (made === undefined) shared.set(allowance, (made = makeLimits(limits, allowance)));
  return made;
}

function makeLimits(limits: Limits, allowance: Allowance): ReaderLimits {
  return {
    stanzaBytes: allowance.elementBytes(limits),
    depth: limits.stanza_depth,
    attributes: limits.stanza_attributes,
    elements: limits.stanza_elements,
    ...(allowance.isShared && { skippedBytes: skippedSizes * allowance.elementBytes(limits) }),
  };
}

/** The error that a stream is closed with: its own condition if the peer caused it, else `internal-server-error`. */
export function streamErrorOf(error: unknown, { limitHit, log }: Pick<StreamParts, 'limitHit' | 'log'>): StreamError {
  if (error instanceof StreamError) return error;
  if (error instanceof XmlError) {
    // Too large, too deep, or too many attributes.
    if (error.condition === 'policy-violation') limitHit('stanza');
    return new StreamError(error.condition, error.text);
  }
  if (error instanceof JidError) return new StreamError('improper-addressing');
  if (isForNow(error)) return new StreamError('resource-constraint');
  log.error({ err: error }, 'closed a stream after an internal error');
  return new StreamError('internal-server-error');
}

/** The storage or the home of an account does not answer: whoever watches them logs it, and peers may try again. */
export function isForNow(error: unknown): boolean {
  if (error instanceof StanzaError) return ['resource-constraint', 'remote-server-timeout'].includes(error.condition);
  return error instanceof StorageError && error.failure === 'busy';
}

/** Whether a stanza may be stored. */
export const mayStore = (item: StreamItem): boolean =>
  item.kind === 'element' && (item.name === 'message' || (item.name === 'iq' && item.attrs.type === 'set'));
