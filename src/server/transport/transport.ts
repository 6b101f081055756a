/** A connection in the view of a stream: text in, text out. Hides TLS, WebSocket frames and flow control. */
import type { TLSSocket } from 'node:tls';
import type { XmlError } from '../xml/errors.js';

/** Callbacks from a transport to its stream. */
export interface TransportReader {
  /** Bytes as received; unless the framing is `stream`, one whole element at a time. */
  received(chunk: Buffer): void;
  /** The peer has closed its half and may still read. Not called if the whole connection closes at once. */
  ended(): void;
  /** Everything written has been passed to the system. */
  drained(): void;
  /** The connection is closed. The last call, made once. */
  closed(): void;
  /**
   * What comes next cannot be read, and the transport has stopped reading. To be answered by `end`, after what was received
   * has been handled.
   */
  unreadable?(error: XmlError): void;
  /** The peer has shown that it is there, and sent nothing. */
  alive?(): void;
  /** It has paused the transport and not resumed it yet. */
  readonly hasPaused?: boolean;
  /** Whether the peer is authenticated. */
  readonly isAdmitted?: boolean;
}

/** The TLS connection of another server, which ends at another node. */
export interface RelayedPeer {
  readonly protocol: string;
  readonly cipher: string;
  /** The names in the peer's certificate. Undefined if it is not valid, or there is none. */
  readonly names: Readonly<Record<'xmppAddr' | 'dns' | 'srv', readonly string[]>> | undefined;
}

export interface Transport {
  readonly kind: 'tcp' | 'tls' | 'websocket' | 'bosh';
  /**
   * Framing of the stream (stream/framing.ts): bytes (RFC 6120), or one element per message (RFC 7395; `bosh`: the
   * transport makes these elements of XEP-0206's).
   */
  readonly framing: 'stream' | 'websocket' | 'bosh';
  /** Whether the connection is encrypted. */
  readonly secure: boolean;
  readonly remoteAddress: string;
  /** Whether both ends are on this machine. */
  readonly loopback: boolean;
  /** The underlying TLS connection, if it ends in this process. */
  readonly tls: TLSSocket | undefined;
  /** What the node at which the TLS connection of another server ends has found out about it. */
  readonly relayedPeer?: RelayedPeer | undefined;
  reader: TransportReader;
  /**
   * Queues text; everything written in one turn of the event loop is sent together. Other framings than `stream`: one
   * element per call. `patience` allows a delay of so many ms, to be sent with later text (docs/decisions/0006-deferred-notifications.md).
   */
  write(text: string, patience?: number): void;
  /** Approximate bytes queued that the peer has not accepted. */
  readonly queued: number;
  pause(): void;
  resume(): void;
  /** Sends the queue and closes our half. */
  end(): void;
  /** Closes at once and discards the queue. */
  destroy(): void;
}

/** A transport that supports STARTTLS (RFC 6120 §5). */
export interface Upgradable extends Transport {
  /**
   * Sends the queue, then starts TLS. Calls `ready` with the error if the handshake fails. `servername`: what the peer
   * asks for if its ClientHello has no server name.
   */
  startTls(ready: (error: Error | undefined) => void, servername?: string): void;
}

/** The reader of a transport that has no stream. */
export const silent: TransportReader = { received() {}, ended() {}, drained() {}, closed() {} };

/** A longer queue, in characters, is passed to the system before the turn ends. */
export const flushAbove = 65_536;

interface Flushable {
  isDueSoon: boolean;
  isDueLater: boolean;
  flush(): void;
}

/** Work that may write, and is done before the next flush. */
let first: (() => void)[] = [];
let soon: Flushable[] = [];
let later: Flushable[] = [];

let isFlushSet = false;

/**
 * Schedules the flush of this turn. Call it before reading from a connection, so that the flush precedes other work
 * deferred to the end of the turn, in particular commits.
 */
export function setFlush(): void {
  if (isFlushSet) return;
  isFlushSet = true;
  setImmediate(flushAllSoon);
}

/** Calls `go` right before the flush of this turn, so that what it writes is sent with it. */
export function beforeFlush(go: () => void): void {
  first.push(go);
  setFlush();
}

function flushAllSoon(): void {
  const going = first;
  first = [];
  let at = 0;
  try {
    while (at < going.length) going[at++]!();
  } finally {
    isFlushSet = false;
    // One has thrown.
    for (; at < going.length; at++) beforeFlush(going[at]!);
    const flushing = soon;
    soon = [];
    for (const one of flushing) {
      one.isDueSoon = false;
      one.flush();
    }
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

/** Calls `flush` at the end of this turn of the event loop, after all readable sockets have been read. */
function flushSoon(one: Flushable): void {
  if (one.isDueSoon) return;
  one.isDueSoon = true;
  soon.push(one);
  setFlush();
}

/** Calls `flush` within `ms` at the latest; 0 means at the end of this turn. All share one timer. */
export function flushWithin(ms: number, one: Flushable): void {
  if (ms === 0) flushSoon(one);
  else if (!one.isDueSoon && !one.isDueLater) {
    one.isDueLater = true;
    if (later.push(one) === 1) setTimeout(flushAllLater, ms);
  }
}
