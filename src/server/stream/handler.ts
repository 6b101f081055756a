/** What a stream is for: streams of clients, servers and components are handlers on stream.ts. */
import type { Logger } from 'pino';
import type { Config } from '../config/schema.js';
import type { Shares } from '../shares.js';
import { StreamError } from '../stanza/errors.js';
import type { StreamOpen, TopLevel } from '../xml/reader.js';
import type { Backlog } from './backlog.js';
import type { StreamCounts } from './counts.js';
import type { OutputParts } from './output.js';

type Limits = Config['limits'];

/** What a stream is for: told of all that happens on it. */
export interface StreamHandler {
  /** The content namespace (RFC 6120 §4.8.2). */
  readonly ns: string;
  /** Bytes that may be unread besides `limits.write_queue_bytes`, since the handler bounds them. */
  readonly mayLag: number;
  /**
   * The peer's header, first or after a restart; the namespaces are checked. Answers with `open` or throws StreamError.
   */
  opened(header: StreamOpen): void | Promise<void>;
  /** An element. The next one comes when this is settled. Whatever it throws or rejects with closes the stream. */
  element(item: TopLevel): void | Promise<void>;
  /** Whether an element costs nothing, so that it neither waits for the peer's share nor is overtaken. */
  isFree(item: TopLevel): boolean;
  /**
   * An element is read while those before it wait. True: it has been handled. `isHalted`: they wait for longer than a turn.
   * Called on established streams alone.
   */
  ahead(item: TopLevel, isHalted: boolean): boolean;
  /** There is room for more. Called on established streams alone. */
  drained(): void;
  /** One side has closed the stream: the peer, or we, with this error if there is one. */
  closed(error: StreamError | undefined): void;
  /** The peer is gone, and nobody has closed the stream. */
  lost(): void;
  /** The connection is gone, and all that came over it has been handled. Called once, last. */
  gone(): void;
}

/** What every stream needs of the server around it. */
export interface StreamParts extends OutputParts {
  readonly shares: Shares;
  readonly backlog: Backlog;
  readonly counts: Pick<StreamCounts, 'streamErrors'>;
  readonly log: Logger;
  limitHit(limit: string): void;
}

/** What a peer of some kind may send (RFC 6120 §13.12). Read when it is needed, so that a reload holds at once. */
export interface Allowance {
  rate(limits: Limits): Limits['rate'];
  /** Bytes of one element. */
  elementBytes(limits: Limits): number;
}

/** Throws StreamError if the header has no version (RFC 6120 §4.7.5): nothing can be negotiated with such a peer. */
export function demandVersion({ attrs: { version } }: StreamOpen): void {
  if (version === undefined || !/^\d+\.\d+$/.test(version) || Number.parseInt(version, 10) < 1)
    throw new StreamError('unsupported-version');
}
