/** Verification of a dialback key by the authoritative server (XEP-0220 §2.1.2). */
import type { StanzaError, StanzaErrorCondition } from '../../stanza/errors.js';
import { NS } from '../../stanza/ns.js';
import { el } from '../../xml/element.js';
import type { TopLevel } from '../../xml/reader.js';
import { type DialbackClaim, domainOf } from './dialback.js';
import type { OutgoingStream, Task } from './outgoing.js';

/** The server's response, or the error condition of a failed verification (§2.5). */
export type Verdict = 'valid' | 'invalid' | StanzaErrorCondition;

export class Verification implements Task {
  readonly #claim: DialbackClaim;
  readonly #key: string;
  readonly #answered: (verdict: Verdict) => void;
  #isAsked = false;

  /** `answered` is called at least once; only the first call counts. */
  constructor(claim: DialbackClaim, key: string, answered: (verdict: Verdict) => void) {
    this.#claim = claim;
    this.#key = key;
    this.#answered = answered;
  }

  ready(stream: OutgoingStream): void {
    if (!stream.hasDialback) {
      stream.fail('The server does not support dialback.');
      return;
    }
    const { receiving, originating, streamId } = this.#claim;
    this.#isAsked = true;
    stream.xml.writeElement(el('db:verify', { from: receiving, to: originating, id: streamId }, this.#key));
  }

  element(stream: OutgoingStream, item: TopLevel): void {
    const { receiving, originating, streamId } = this.#claim;
    const { attrs } = item;
    // §3.1: the response has to match the request of this stream.
    const isAnswer = this.#isAsked && item.ns === NS.dialback && item.name === 'verify' && attrs.id === streamId;
    if (!isAnswer || domainOf(attrs.from) !== originating || domainOf(attrs.to) !== receiving) return;
    const { type } = attrs;
    this.#answered(type === 'valid' || type === 'invalid' ? type : 'remote-server-not-found');
    stream.xml.close();
  }

  drained(): void {}
  sweep(): void {}

  ended({ condition }: StanzaError): void {
    this.#answered(condition);
  }

  isIdle(): boolean {
    return true;
  }
}
