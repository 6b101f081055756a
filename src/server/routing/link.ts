import type { Stanza } from '../stanza/stanza.js';

/** What became of one delivery; shared by the links that it went to. Each link calls one of the two, once. */
export interface Receipt {
  /** The client acknowledged it (XEP-0198), or the link has no acknowledgements and wrote it out. */
  delivered(): void;
  /** The session ended, and nobody acknowledged it. */
  lost(stanza: Stanza): void;
  /**
   * By what the next process finds it again where the session is written down: the id of the stanza in the offline log, ''
   * where nothing depends on it any more, undefined where the session's queue alone has the stanza.
   */
  readonly reference: string | undefined;
}

/** The only thing the router knows of where a stanza goes next: this socket, that node, that server. */
export interface Link {
  send(stanza: Stanza, receipt?: Receipt): void;
  /** False while the peer has much to take: sources wait (outflow.ts). A link that does not say so always has room. */
  readonly hasRoom?: boolean;
  /** True while the peer is away and much waits for it already: what can wait elsewhere does, in order. */
  readonly isBacklogged?: boolean;
}

/** A stanza that was sent, and who hears what becomes of it. */
export interface Sent {
  readonly stanza: Stanza;
  readonly receipt: Receipt | undefined;
}
