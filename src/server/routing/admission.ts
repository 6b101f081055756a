/**
 * Where stanzas come in, whoever sends them: a client's stream, another server's, a component's. Before the router sees a
 * stanza its sender is established and its language, form and size are checked (RFC 6120 §4.9.3, §8).
 */
import type { Config } from '../config/schema.js';
import { StanzaError, StreamError } from '../stanza/errors.js';
import { Jid, JidError } from '../stanza/jid.js';
import { Stanza } from '../stanza/stanza.js';
import type { TopLevel } from '../xml/reader.js';

/** A stream that stanzas come in over. */
export interface Entrance {
  /**
   * The address that everything on it is from, stamped on each stanza. undefined: each stanza says itself whom it is from
   * and to, as between servers.
   */
  readonly sender: Jid | undefined;
  /** Whether a stanza may say that it is from this address. */
  speaksFor(from: Jid): boolean;
  /** The language of the stream, for stanzas that say none (RFC 6120 §8.1.5). */
  readonly lang: string | undefined;
  /** The stanza is not let in: its sender is told, as of any other refusal. */
  refused(stanza: Stanza, error: StanzaError): void;
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
   * The stanza that a message, presence or IQ element is; undefined: it is not let in, and the entrance was told. Throws
   * StreamError if the stream ends by it. Changes the element's `xml:lang`.
   */
  admit(item: TopLevel, entrance: Entrance): Stanza | undefined {
    const { attrs } = item;
    const { sender, lang } = entrance;
    if (lang !== undefined) attrs['xml:lang'] ??= lang;
    if (sender === undefined ? demandAddresses(attrs) : attrs.from !== undefined && attrs.from !== sender.full)
      checkFrom(attrs.from!, entrance);
    let stanza: Stanza;
    try {
      stanza = Stanza.fromTopLevel(item, sender);
    } catch (error) {
      if (!(error instanceof JidError) || sender === undefined) throw error;
      // §8.3.3.8: it is answered, and the stream goes on.
      entrance.refused(Stanza.unaddressed(item).with({ from: sender }), new StanzaError('jid-malformed'));
      return undefined;
    }
    const fault = this.#fault(stanza);
    if (fault === undefined) return stanza;
    entrance.refused(stanza, fault);
    return undefined;
  }

  #fault(stanza: Stanza): StanzaError | undefined {
    if (stanza.name === 'iq') return iqFault(stanza);
    if (stanza.name !== 'presence') return undefined;
    const { presence_bytes } = this.#parts.limits();
    // It goes to every contact and occupant, again and again.
    if (!isLonger(stanza.content, presence_bytes)) return undefined;
    this.#parts.limitHit('presence_bytes');
    return new StanzaError('policy-violation', `Presence has at most ${presence_bytes} bytes.`, {
      bare: true,
      type: 'modify',
    });
  }
}

/** Between servers a stanza has both addresses (RFC 6120 §8.1.1.2, §8.1.2.2). True, or throws StreamError. */
function demandAddresses({ from, to }: TopLevel['attrs']): true {
  if (from === undefined || to === undefined) throw new StreamError('improper-addressing');
  return true;
}

/** RFC 6120 §8.1.2: an address that is not the sender's ends the stream. */
function checkFrom(from: string, entrance: Entrance): void {
  const claimed = Jid.tryParse(from);
  if (claimed === undefined && entrance.sender === undefined) throw new StreamError('improper-addressing'); // §4.9.3.8
  if (claimed === undefined || !entrance.speaksFor(claimed)) throw new StreamError('invalid-from');
}

/** RFC 6120 §8.2.3: an id, a known type, and one child for requests, at most one for results. */
function iqFault(stanza: Stanza): StanzaError | undefined {
  if (stanza.id === undefined) return new StanzaError('bad-request', 'An IQ needs an id.');
  switch (stanza.type) {
    case 'get':
    case 'set':
      return stanza.childCount === 1 ? undefined : new StanzaError('bad-request', 'A request has exactly one child.');
    case 'result':
      return stanza.childCount <= 1 ? undefined : new StanzaError('bad-request', 'A result has at most one child.');
    case 'error':
      return undefined;
    default:
      return new StanzaError('bad-request', 'An IQ is of type get, set, result or error.');
  }
}

/** Whether a text has more bytes of UTF-8 than that. */
export function isLonger(text: string, bytes: number): boolean {
  // A UTF-16 unit is three bytes of UTF-8 at most.
  return text.length * 3 > bytes && Buffer.byteLength(text) > bytes;
}
