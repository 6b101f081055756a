/**
 * Checks incoming stanzas of every kind of stream: client, server, component. Validates the sender, language, form and
 * size of a stanza before it reaches the router (RFC 6120 §4.9.3, §8).
 */

import { Jid, JidError } from '../address/jid.js';
import type { Config } from '../config/schema.js';
import { StanzaError, StreamError } from '../stanza/errors.js';
import { Stanza } from '../stanza/stanza.js';
import type { TopLevel } from '../xml/reader.js';

/** A stream that receives stanzas. */
export interface Entrance {
  /**
   * The address of the peer, set as `from` of each stanza. Undefined between servers: each stanza has its own `from`
   * and `to`.
   */
  readonly sender: Jid | undefined;
  /** Whether the peer may send from this address. */
  speaksFor(from: Jid): boolean;
  /** Language of the stream, the default for its stanzas (RFC 6120 §8.1.5). */
  readonly lang: string | undefined;
  /** The stanza was not admitted: sends the error to its sender. */
  refused(stanza: Stanza, error: StanzaError): void;
}

/** The addresses of a stanza; undefined where there is none, or an invalid one. */
export interface Addresses {
  readonly from: Jid | undefined;
  readonly to: Jid | undefined;
}

export interface AdmissionParts {
  limits(): Pick<Config['limits'], 'presence_bytes'>;
  limitHit(limit: string): void;
}

export class Admission {
  readonly #parts: AdmissionParts;

  constructor(parts: AdmissionParts) {
    this.#parts = parts;
  }

  /**
   * Returns the stanza of a message, presence or IQ element. Returns undefined if it is not admitted; the entrance has
   * then been called. Throws StreamError if it closes the stream. Changes the element's `xml:lang`. `parsed`: its valid
   * addresses, if the entrance has looked at them.
   */
  admit(item: TopLevel, entrance: Entrance, parsed?: Addresses): Stanza | undefined {
    const { attrs } = item;
    const { sender, lang } = entrance;
    if (lang !== undefined) attrs['xml:lang'] ??= lang;
    if (sender === undefined ? demandAddresses(attrs) : attrs.from !== undefined && attrs.from !== sender.full)
      checkFrom(parsed?.from ?? Jid.tryParse(attrs.from!), entrance);
    let stanza: Stanza;
    try {
      stanza = Stanza.fromTopLevel(item, sender ?? parsed?.from, parsed?.to);
    } catch (error) {
      if (!(error instanceof JidError) || sender === undefined) throw error;
      // §8.3.3.8: answered with an error; the stream continues.
      entrance.refused(Stanza.unaddressed(item).with({ from: sender }), new StanzaError('jid-malformed'));
      return undefined;
    }
    const fault = this.#excess(item) ?? this.#fault(stanza);
    if (fault === undefined) return stanza;
    entrance.refused(stanza, fault);
    return undefined;
  }

  /** A stanza was skipped, and nothing is known of its sender. */
  unreadable(): void {
    this.#parts.limitHit('stanza');
  }

  /** The content of the stanza was skipped. */
  #excess({ excess }: TopLevel): StanzaError | undefined {
    if (excess === undefined) return undefined;
    this.#parts.limitHit('stanza');
    return new StanzaError('policy-violation', `The stanza was not read: ${excess}.`);
  }

  #fault(stanza: Stanza): StanzaError | undefined {
    if (stanza.name === 'iq') return iqFault(stanza);
    if (stanza.name !== 'presence') return undefined;
    const { presence_bytes } = this.#parts.limits();
    // Presence is sent to every contact and occupant, repeatedly.
    if (!isLonger(stanza.content, presence_bytes)) return undefined;
    this.#parts.limitHit('presence_bytes');
    return new StanzaError('policy-violation', `Presence may have at most ${presence_bytes} bytes.`, {
      bare: true,
      type: 'modify',
    });
  }
}

/** Between servers a stanza needs both addresses (RFC 6120 §8.1.1.2, §8.1.2.2). Returns true or throws StreamError. */
function demandAddresses({ from, to }: TopLevel['attrs']): true {
  if (from === undefined || to === undefined) throw new StreamError('improper-addressing');
  return true;
}

/** RFC 6120 §8.1.2: throws StreamError if the sender may not use this address. */
function checkFrom(claimed: Jid | undefined, entrance: Entrance): void {
  if (claimed === undefined && entrance.sender === undefined) throw new StreamError('improper-addressing'); // §4.9.3.8
  if (claimed === undefined || !entrance.speaksFor(claimed)) throw new StreamError('invalid-from');
}

/** RFC 6120 §8.2.3: an id, a valid type, one child in requests, at most one in results. */
function iqFault(stanza: Stanza): StanzaError | undefined {
  if (stanza.id === undefined) return new StanzaError('bad-request', 'An IQ needs an id.');
  switch (stanza.type) {
    case 'get':
    case 'set':
      return stanza.childCount === 1
        ? undefined
        : new StanzaError('bad-request', 'An IQ request must have exactly one child.');
    case 'result':
      return stanza.childCount <= 1
        ? undefined
        : new StanzaError('bad-request', 'An IQ result may have at most one child.');
    case 'error':
      return undefined;
    default:
      return new StanzaError('bad-request', 'The type of an IQ must be get, set, result or error.');
  }
}

/** Whether a text has more than `bytes` bytes in UTF-8. */
export function isLonger(text: string, bytes: number): boolean {
  // A UTF-16 unit takes at most three bytes.
  return text.length * 3 > bytes && Buffer.byteLength(text) > bytes;
}
