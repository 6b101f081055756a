/**
 * Delivers the stanzas of one pair of domains to another server. It authenticates with SASL EXTERNAL (XEP-0178) or server
 * dialback (XEP-0220 §2.1.1), then drains the outbox as fast as the peer reads.
 */
import type { Outbox } from '../../routing/outbox.js';
import { StanzaError } from '../../stanza/errors.js';
import { NS } from '../../stanza/ns.js';
import { type Element, el } from '../../xml/element.js';
import type { TopLevel } from '../../xml/reader.js';
import { type DialbackKeys, domainOf } from './dialback.js';
import type { OutgoingStream, Task } from './outgoing.js';

export interface DeliveryParts {
  readonly outbox: Outbox;
  readonly keys: DialbackKeys;
  /** The monotonic clock, in ms. */
  now(): number;
  /** Called once the peer accepts stanzas. */
  opened(stream: OutgoingStream): void;
  ended(reason: StanzaError): void;
}

export class Delivery implements Task {
  readonly #parts: DeliveryParts;
  /** How we authenticate, once that has begun. */
  authentication: 'EXTERNAL' | 'dialback' | undefined;
  #phase: 'new' | 'external' | 'authenticated' | 'dialback' | 'open' = 'new';
  /** When a stanza was last sent, in ms. */
  #lastSent = 0;

  constructor(parts: DeliveryParts) {
    this.#parts = parts;
  }

  ready(stream: OutgoingStream, features: Element): void {
    if (this.#phase === 'authenticated') {
      this.#open(stream);
      return;
    }
    if (this.#phase !== 'new') {
      stream.fail('The server sent its stream features at a wrong time.');
      return;
    }
    const mechanisms = features.getChild('mechanisms', NS.sasl)?.getChildren('mechanism') ?? [];
    if (!mechanisms.some((mechanism) => mechanism.getText() === 'EXTERNAL')) {
      this.#dialBack(stream);
      return;
    }
    this.#phase = 'external';
    this.authentication = 'EXTERNAL';
    // XEP-0178 §3, 10: some servers require an authorization identity.
    const identity = Buffer.from(stream.pair.from).toString('base64');
    stream.xml.writeElement(el('auth', { xmlns: NS.sasl, mechanism: 'EXTERNAL' }, identity));
  }

  #dialBack(stream: OutgoingStream): void {
    if (!stream.hasDialback) {
      stream.fail('The server offers neither SASL EXTERNAL nor dialback.');
      return;
    }
    const { from, to } = stream.pair;
    this.#phase = 'dialback';
    this.authentication = 'dialback';
    const key = this.#parts.keys.make({ receiving: to, originating: from, streamId: stream.id });
    stream.xml.writeElement(el('db:result', { from, to }, key));
  }

  element(stream: OutgoingStream, item: TopLevel): void {
    if (this.#phase === 'external' && item.ns === NS.sasl) {
      if (item.name !== 'success') {
        this.#dialBack(stream);
        return;
      }
      this.#phase = 'authenticated';
      stream.xml.restart();
      stream.begin();
    } else if (this.#phase === 'dialback' && item.ns === NS.dialback && item.name === 'result')
      this.#result(stream, item);
    // The stream is unidirectional: any other element is ignored, such as an unsolicited response.
  }

  #result(stream: OutgoingStream, { attrs }: TopLevel): void {
    const { from, to } = stream.pair;
    // §3.1: the response has to match the request of this stream.
    if (domainOf(attrs.from) !== to || domainOf(attrs.to) !== from) return;
    if (attrs.type === 'valid') this.#open(stream);
    else if (attrs.type === 'invalid') {
      const text = 'The server rejected our dialback key.';
      stream.fail(text, new StanzaError('internal-server-error', text));
    } else stream.fail('The server could not verify our dialback key.');
  }

  #open(stream: OutgoingStream): void {
    this.#phase = 'open';
    this.#lastSent = this.#parts.now();
    stream.xml.establish();
    this.#parts.opened(stream);
    this.send(stream);
  }

  /** Sends from the outbox until it is empty or the stream's output buffer is full. */
  send({ xml }: OutgoingStream): void {
    while (this.#phase === 'open' && xml.hasRoom) {
      const parcel = this.#parts.outbox.take();
      if (parcel === undefined) return;
      this.#lastSent = this.#parts.now();
      xml.writeStanza(parcel.stanza);
      parcel.sent();
    }
  }

  drained(stream: OutgoingStream): void {
    this.send(stream);
  }

  ended(reason: StanzaError): void {
    this.#parts.ended(reason);
  }

  isIdle(since: number): boolean {
    return this.#lastSent <= since && this.#parts.outbox.size === 0;
  }
}
