import type { Stanza } from '../stanza/stanza.js';

/** The outcome of one delivery, shared by the links it was sent to. Each link calls one of the two methods, once. */
export interface Receipt {
  /** The client acknowledged it (XEP-0198), or the link has no acknowledgements and wrote it out. */
  delivered(): void;
  /** The session ended without an acknowledgement. */
  lost(stanza: Stanza): void;
  /**
   * How the next process finds the delivery if the session is saved: the id of the stanza in the offline log; '' if
   * nothing depends on it any more; undefined if only the session's queue has the stanza.
   */
  readonly reference: string | undefined;
}

/** Where the router sends a stanza next: a socket, a node, or another server. */
export interface Link {
  send(stanza: Stanza, receipt?: Receipt): void;
  /** False while the peer has much unread: sources pause (outflow.ts). If undefined, it always has room. */
  readonly hasRoom?: boolean;
  /** True while the peer is disconnected with a long queue: stanzas that can be stored elsewhere are, in order. */
  readonly isBacklogged?: boolean;
  /** Whether the client says that its user does not look at it (XEP-0352). */
  readonly inactive?: boolean;
  /** Stanzas that the peer has not acknowledged, oldest first, if it acknowledges. */
  readonly unacknowledged?: Iterable<Stanza>;
}

/** A sent stanza and the receipt for its outcome. */
export interface Sent {
  readonly stanza: Stanza;
  readonly receipt: Receipt | undefined;
}
