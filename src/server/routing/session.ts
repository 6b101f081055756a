import { wall } from '../clock.js';
import type { StreamError } from '../stanza/errors.js';
import type { Jid } from '../stanza/jid.js';
import type { Stanza } from '../stanza/stanza.js';
import type { Link, Receipt } from './link.js';

/** The connection behind a session, as far as others may know it. */
export interface Connection {
  /** 'tcp', 'tls', 'websocket' … for lists and metrics. */
  readonly kind: string;
  /** Whether what is said is encrypted on the way. */
  readonly secure: boolean;
  readonly remoteAddress: string;
  /** Tells the peer why and closes. */
  close(error?: StreamError): void;
}

/** A connected resource (RFC 6120 §7): from binding until it is gone, over however many connections (XEP-0198). */
export class Session {
  /** The last available presence that it sent; undefined while it is unavailable (RFC 6121 §4). */
  presence: Stanza | undefined;
  /** RFC 6121 §4.7.2.3; of interest only while available. */
  priority = 0;
  /** It asked for the roster and so gets roster pushes (RFC 6121 §2.1.6). */
  interested = false;
  /** XEP-0280. */
  carbons = false;
  /** Addresses that got presence directly and have not been told that it is over (RFC 6121 §4.6), by themselves. */
  readonly directed = new Map<string, Jid>();
  /** When it was bound, in ms. */
  readonly since = wall();
  /** Whether messages sent to it are acknowledged by the client (XEP-0198): if so, receipts tell the truth. */
  acknowledges = false;
  /** undefined while the session waits for its client to come back (XEP-0198). */
  connection: Connection | undefined;

  constructor(
    readonly jid: Jid,
    /** Where stanzas for it go. */
    public link: Link,
    /** How it authenticated: the SASL mechanism. */
    readonly mechanism: string = 'none',
    /** XEP-0386: the client's stable id of itself, where it gave one. */
    readonly clientId: string | undefined = undefined,
  ) {}

  /** XEP-0175: nobody has an account by this address, which is gone with the session. */
  get isPassing(): boolean {
    return this.mechanism === 'ANONYMOUS';
  }

  get available(): boolean {
    return this.presence !== undefined;
  }

  send(stanza: Stanza, receipt?: Receipt): void {
    this.link.send(stanza, receipt);
  }
}
