/** A connection as a stream sees it: text in, text out. TLS, WebSocket frames and flow control end here. */
import type { TLSSocket } from 'node:tls';

/** What a transport tells its stream. */
export interface TransportReader {
  /** Bytes as they came; where the framing is not `stream`, one whole element at a time. */
  received(chunk: Buffer): void;
  /** The peer sends no more, and may still read. Not told where the whole connection goes at once. */
  ended(): void;
  /** What was written has gone to the system: there is room for more. */
  drained(): void;
  /** The connection is gone. Told once, last. */
  closed(): void;
}

export interface Transport {
  readonly kind: 'tcp' | 'tls' | 'websocket';
  /** How a stream looks on it (stream/framing.ts): bytes (RFC 6120), or messages of one element each (RFC 7395). */
  readonly framing: 'stream' | 'websocket';
  /** Nobody on the way can read along. */
  readonly secure: boolean;
  readonly remoteAddress: string;
  /** Both ends are on this machine. */
  readonly loopback: boolean;
  /** The TLS connection below, where it ends in this process. */
  readonly tls: TLSSocket | undefined;
  reader: TransportReader;
  /**
   * Queues; what is written in one turn of the event loop goes out together. Framing `websocket`: one element a call. `patience`: so
   * many ms it may stay, and go out with what is written meanwhile (docs/decisions/0006-news-waits.md).
   */
  write(text: string, patience?: number): void;
  /** Bytes (about) that the peer has not taken yet. */
  readonly queued: number;
  pause(): void;
  resume(): void;
  /** Sends what is queued and closes our half. */
  end(): void;
  /** Closes at once; what is queued is lost. */
  destroy(): void;
}

/** A transport that can become a TLS one (RFC 6120 §5). */
export interface Upgradable extends Transport {
  /** Sends what is queued, then starts TLS; calls `ready` with whether it was agreed upon. */
  startTls(ready: (error: Error | undefined) => void): void;
}

/** The reader of a transport that has no stream yet. */
export const silent: TransportReader = { received() {}, ended() {}, drained() {}, closed() {} };

/** What is queued in one turn and is more than this, in characters, goes to the system at once. */
export const flushAbove = 65_536;

interface Flushable {
  isDueSoon: boolean;
  isDueLater: boolean;
  flush(): void;
}

let soon: Flushable[] = [];
let later: Flushable[] = [];

let isFlushSet = false;

/**
 * Sets the flush of this turn, to be called before anything is taken from a connection: so it goes before the other work
 * that what is taken leaves for the end of the turn, a commit above all.
 */
export function setFlush(): void {
  if (isFlushSet) return;
  isFlushSet = true;
  setImmediate(flushAllSoon);
}

function flushAllSoon(): void {
  isFlushSet = false;
  const flushing = soon;
  soon = [];
  for (const one of flushing) {
    one.isDueSoon = false;
    one.flush();
  }
}

function flushAllLater(): void {
  const flushing = later;
  later = [];
  for (const one of flushing) {
    one.isDueLater = false;
    one.flush();
  }
}

/** Has `flush` called once the turn of the event loop is over: after all sockets that were readable have been read. */
function flushSoon(one: Flushable): void {
  if (one.isDueSoon) return;
  one.isDueSoon = true;
  soon.push(one);
  setFlush();
}

/** Has `flush` called in so many ms at the latest; 0: once the turn is over. One timer serves all. */
export function flushWithin(ms: number, one: Flushable): void {
  if (ms === 0) flushSoon(one);
  else if (!one.isDueSoon && !one.isDueLater) {
    one.isDueLater = true;
    if (later.push(one) === 1) setTimeout(flushAllLater, ms);
  }
}
