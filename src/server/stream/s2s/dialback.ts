/** Keys of server dialback (XEP-0220 §2.1.1), generated as XEP-0185 §2 recommends. */
import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { Jid } from '../../address/jid.js';
import { NS } from '../../stanza/ns.js';

/** What a key proves: that a stream, identified by the receiver's stream id, comes from the originating domain. */
export interface DialbackClaim {
  /** The domain that receives stanzas. */
  readonly receiving: string;
  /** The domain that claims to send them. It is a local one when this server checks the key. */
  readonly originating: string;
  readonly streamId: string;
}

export class DialbackKeys {
  readonly #secret: string;

  /** `secret` is shared by all servers of a domain. If it is '', this process generates one. */
  constructor(secret: string) {
    const text = secret === '' ? randomBytes(32) : secret;
    this.#secret = createHash('sha256').update(text).digest('hex');
  }

  /** Returns the key in hexadecimal. */
  make({ receiving, originating, streamId }: DialbackClaim): string {
    return createHmac('sha256', this.#secret).update(`${receiving} ${originating} ${streamId}`).digest('hex');
  }

  /** Whether the key is valid for this claim. White space around it is ignored. */
  isValid(key: string, claim: DialbackClaim): boolean {
    const given = Buffer.from(key.trim());
    const wanted = Buffer.from(this.make(claim));
    return given.length === wanted.length && timingSafeEqual(given, wanted);
  }
}

/** Declares the prefix of dialback in stream headers (XEP-0220 §2.4.1). */
export const declaration = { 'xmlns:db': NS.dialback };

/** Parses a JID that has only a domain. Returns undefined for any other text. */
export function domainOf(text: string | undefined): string | undefined {
  const jid = Jid.tryParse(text ?? '');
  return jid?.full === jid?.domain ? jid?.domain : undefined;
}
