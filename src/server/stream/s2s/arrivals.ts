/**
 * The stanzas that another server sends over one stream: each is of a pair of a remote and a local domain that the peer
 * has proved, and is counted for stream management (XEP-0198) if that is enabled.
 */
import { Jid } from '../../address/jid.js';
import { monotonic } from '../../clock.js';
import type { Maybe } from '../../maybe.js';
import type { Addresses, Admission, Entrance } from '../../routing/admission.js';
import type { LocalHost } from '../../routing/host.js';
import type { Awaited, Origin } from '../../routing/passage.js';
import { type StanzaError, StreamError } from '../../stanza/errors.js';
import { NS } from '../../stanza/ns.js';
import { type Stanza, stanzaName } from '../../stanza/stanza.js';
import { isUnreadable, type TopLevel } from '../../xml/reader.js';
import type { XmlStream } from '../stream.js';
import type { DomainCounts } from './domains.js';
import type { ServerSm } from './sm.js';

export interface ArrivalsParts {
  readonly admission: Admission;
  readonly domains: Pick<DomainCounts, 'received'>;
  /** The host of a local domain, which may be that of a service or component. Undefined if the domain is not local. */
  host(domain: string): LocalHost | undefined;
  /** Hands a stanza over to another node if that is the home of the remote domain: its stanzas go on from there. */
  arrive(stanza: Stanza, origin: Origin): Maybe<void> | 'here';
}

export class Arrivals implements Entrance, Origin {
  readonly sender = undefined;
  readonly session = undefined;
  /** Stream management. Undefined until it is enabled. */
  sm: ServerSm | undefined;
  /** Counts the present stanza, also after the stream has left the session. */
  #counting: ServerSm | undefined;
  /** How many stanzas were admitted. */
  count = 0;
  /** When the last stanza arrived, in ms; 0 before the first. */
  lastAt = 0;
  #isStopped = false;
  /** The present stanza is being handled. */
  #handling: Promise<void> | undefined;
  readonly #parts: ArrivalsParts;
  readonly #xml: XmlStream;
  /** The authenticated pairs, as "from to". */
  readonly #pairs = new Set<string>();
  /** The authenticated remote domains, each with the local ones that it may send to. */
  readonly #domains = new Map<string, Set<string>>();

  constructor(parts: ArrivalsParts, xml: XmlStream) {
    this.#parts = parts;
    this.#xml = xml;
  }

  /** The authenticated pairs, as "from to". */
  get pairs(): ReadonlySet<string> {
    return this.#pairs;
  }

  /** From now on, stanzas from the one domain to the other are accepted. */
  prove(from: string, to: string): void {
    this.#pairs.add(`${from} ${to}`);
    const locals = this.#domains.get(from);
    if (locals === undefined) this.#domains.set(from, new Set([to]));
    else locals.add(to);
  }

  /** Whether a remote domain is authenticated. */
  hasDomain(domain: string): boolean {
    return this.#domains.has(domain);
  }

  has(from: string, to: string): boolean {
    return this.#domains.get(from)?.has(to) === true;
  }

  /** Handles a stanza. Throws StreamError. */
  take(item: TopLevel): Maybe<void> {
    if (isUnreadable(item)) {
      this.#parts.admission.unreadable();
      // The peer has counted it.
      this.sm?.received.begin();
      this.sm?.received.handled();
      return;
    }
    if (item.ns !== NS.server || stanzaName(item.name) === undefined) throw new StreamError('unsupported-stanza-type');
    const { attrs } = item;
    const addresses = { from: Jid.tryParse(attrs.from ?? ''), to: Jid.tryParse(attrs.to ?? '') };
    const { from, to } = addresses;
    // Missing and malformed addresses, and senders that are not proved, are rejected by admission.
    const locals = from && this.#domains.get(from.domain);
    if (locals !== undefined && to !== undefined && !locals.has(to.domain))
      throw new StreamError('not-authorized', 'The pair of domains is not authenticated.');
    if (this.#isStopped) return;
    const { sm } = this;
    this.lastAt = monotonic();
    this.#counting = sm;
    sm?.received.begin();
    const stanza = this.#admit(item, addresses);
    if (stanza !== undefined) {
      this.count++;
      this.#parts.domains.received(stanza.from!.domain);
    }
    const routed = stanza && this.#route(stanza);
    if (routed === undefined) {
      sm?.received.handled();
      return;
    }
    const handled = routed.then(() => {
      this.#handling = undefined;
      sm?.received.handled();
    });
    this.#handling = handled;
    return handled;
  }

  #route(stanza: Stanza): Maybe<void> {
    const host = this.#parts.host(stanza.to!.domain);
    if (host === undefined) return;
    const gone = this.#parts.arrive(stanza, this);
    return gone === 'here' ? host.route(stanza, this) : gone;
  }

  /** Drops further stanzas uncounted. Resolves once those before are handled and can be acknowledged. */
  async stopTaking(): Promise<void> {
    this.#isStopped = true;
    await this.#handling;
    await this.#counting?.received.whenCaughtUp();
  }

  #admit(item: TopLevel, addresses: Addresses): Stanza | undefined {
    try {
      return this.#parts.admission.admit(item, this, addresses);
    } catch (error) {
      this.#counting?.received.rejected();
      throw error;
    }
  }

  // --- Entrance, Origin -------------------------------------------------------------------------------------------

  get lang(): string | undefined {
    return this.#xml.lang;
  }

  speaksFor(from: Jid): boolean {
    return this.#domains.has(from.domain);
  }

  refused(stanza: Stanza, error: StanzaError): void {
    this.#parts.host(stanza.to!.domain)?.refuse(stanza, error, this);
  }

  get acknowledges(): boolean {
    return this.#counting !== undefined;
  }

  acknowledgeAfter(done: Promise<unknown>, what: Awaited = 'disk'): void {
    if (what === 'disk') this.#xml.waitsForDisk(done);
    this.#counting?.received.waitFor(done);
  }
}
