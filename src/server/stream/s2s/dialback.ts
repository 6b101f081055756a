/** Keys of server dialback (XEP-0220 §2.1.1), made as XEP-0185 §2 recommends. */
import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { Jid } from '../../address/jid.js';
import { NS } from '../../stanza/ns.js';

/** What a key is for: a stream from one domain to another, by the id that the other end gave it. */
export interface DialbackClaim {
  /** The domain that is asked to take stanzas. */
  readonly receiving: string;
  /** The domain that claims to send them: of ours where we check the key. */
  readonly originating: string;
  readonly streamId: string;
}

export class DialbackKeys {
  readonly #secret: string;

  /** `secret`: the same on all servers that answer for a domain; '': a random one for this process. */
  constructor(secret: string) {
    const text = secret === '' ? randomBytes(32) : secret;
    this.#secret = createHash('sha256').update(text).digest('hex');
  }

  /** In hexadecimal. */
  make({ receiving, originating, streamId }: DialbackClaim): string {
    return createHmac('sha256', this.#secret).update(`${receiving} ${originating} ${streamId}`).digest('hex');
  }

  /** Whether the key is ours for this claim. White space around it does not count. */
  isValid(key: string, claim: DialbackClaim): boolean {
    const given = Buffer.from(key.trim());
    const wanted = Buffer.from(this.make(claim));
    return given.length === wanted.length && timingSafeEqual(given, wanted);
  }
}

/** What stream headers say so that the elements of dialback can be prefixed as all know it (XEP-0220 §2.4.1). */
export const declaration = { 'xmlns:db': NS.dialback };

/** The domain that a text is; undefined if it is anything else. */
export function domainOf(text: string | undefined): string | undefined {
  const jid = Jid.tryParse(text ?? '');
  return jid?.full === jid?.domain ? jid?.domain : undefined;
}
