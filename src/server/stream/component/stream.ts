/**
 * A component's stream (XEP-0114, jabber:component:accept): the component names its domain in the header, proves with a
 * handshake that it knows the secret, and then sends stanzas from any address of its domain. Connecting to a component
 * (jabber:component:connect) is not implemented.
 */

import { createHash, timingSafeEqual } from 'node:crypto';
import { Jid, JidError } from '../../address/jid.js';
import { wall } from '../../clock.js';
import { isIn, networks } from '../../config/address.js';
import type { Maybe } from '../../maybe.js';
import type { Admission, Entrance } from '../../routing/admission.js';
import type { LocalHost } from '../../routing/host.js';
import type { Awaited, Origin } from '../../routing/passage.js';
import { StanzaError, StreamError } from '../../stanza/errors.js';
import { randomId } from '../../stanza/ids.js';
import { NS } from '../../stanza/ns.js';
import { Stanza, stanzaName } from '../../stanza/stanza.js';
import type { Transport } from '../../transport/transport.js';
import { el } from '../../xml/element.js';
import { isUnreadable, type StreamOpen, type TopLevel } from '../../xml/reader.js';
import { type Allowance, lateCloseMs, type StreamHandler, type StreamParts } from '../handler.js';
import type { PeerGateway } from '../peer-gateway.js';
import type { Throttle } from '../sasl/throttle.js';
import { XmlStream } from '../stream.js';
import type { Swept } from '../sweeper.js';
import { type Component, type Line, moved } from './component.js';

export interface ComponentStreamParts extends StreamParts {
  readonly admission: Admission;
  readonly throttle: Throttle;
  component(domain: string): Component | undefined;
  /** Any host of the server, used to send errors. */
  host(): LocalHost;
  /** Relays streams to the homes of their components in a cluster. */
  readonly membership: { readonly peers: PeerGateway } | undefined;
  /** Called once the stream has ended. */
  gone(stream: ComponentStream): void;
}

/** Allowance of an authenticated component. */
const allowance: Allowance = {
  rate: (limits) => limits.rate_component,
  elementBytes: (limits) => limits.stanza_bytes,
  isShared: true,
};

/** Delay of the answer to a handshake that is refused unchecked. */
const lockoutDelayMs = 1000;

export class ComponentStream implements StreamHandler, Swept, Entrance, Origin, Line {
  readonly ns = NS.component;
  readonly isUnversioned = true;
  readonly mayLag = 0;
  readonly sender = undefined;
  readonly session = undefined;
  readonly acknowledges = false;
  readonly needsKeepalive = true;
  readonly since = wall();
  readonly xml: XmlStream;
  readonly #parts: ComponentStreamParts;
  /** When its connection was accepted, in ms (`monotonic`). */
  readonly #connectedAt: number;
  /** The component named in its header. */
  #component: Component | undefined;
  #id = '';

  constructor(transport: Transport, parts: ComponentStreamParts, connectedAt: number) {
    this.#parts = parts;
    this.#connectedAt = connectedAt;
    this.xml = new XmlStream(transport, this, parts);
  }

  get remoteAddress(): string {
    return this.xml.transport.remoteAddress;
  }

  // --- StreamHandler ------------------------------------------------------------------------------------------------

  /** §3: the header's `to` is the component. A disallowed address gets the same error as for an unknown component. */
  opened(header: StreamOpen): void {
    const { attrs } = header;
    const to = attrs.to === undefined ? undefined : Jid.tryParse(attrs.to);
    if (to === undefined) throw new StreamError('improper-addressing', 'The stream header needs a "to" attribute.');
    const component = to.full === to.domain ? this.#parts.component(to.domain) : undefined;
    if (component === undefined) throw new StreamError('host-unknown');
    if (!isIn(networks(component.settings.allow_from), this.remoteAddress)) {
      this.#parts.log.warn(
        { component: component.domain, address: this.remoteAddress },
        'refused a component: its address is not in allow_from',
      );
      throw new StreamError('host-unknown');
    }
    const peers = this.#parts.membership?.peers;
    const { transport } = this.xml;
    const way = peers?.wayFor('component', component.domain, transport, header, this.#connectedAt);
    if (way !== undefined) {
      this.xml.handOver(peers!.open(way, transport));
      return;
    }
    this.#component = component;
    this.#id = this.xml.open(component.domain);
  }

  element(item: TopLevel): Maybe<void> {
    const component = this.#component!;
    if (this.xml.isEstablished) return this.#take(item, component);
    if (item.ns !== NS.component || item.name !== 'handshake') throw new StreamError('not-authorized');
    return this.#authenticate(item.content, component);
  }

  /** §3: the handshake is a hash of the stream id and the secret. */
  #authenticate(given: string, component: Component): Maybe<void> {
    const { throttle, shares, log, limitHit } = this.#parts;
    const address = this.remoteAddress;
    const limit = throttle.refusal(address, throttleKey(component));
    if (limit !== undefined) {
      limitHit(`auth.${limit}`);
      return this.#refuse(component, lockoutDelayMs, 'Too many failed logins. Try again later.');
    }
    if (!isSame(given.trim(), createHash('sha1').update(this.#id).update(component.secret).digest('hex'))) {
      const { delay, answered } = throttle.failed(address, throttleKey(component));
      log.warn({ component: component.domain, address }, 'refused a component: wrong secret');
      const refused = this.#refuse(component, delay);
      return refused.finally(answered);
    }
    throttle.succeeded(address, throttleKey(component));
    // Since the header.
    if (this.#parts.membership?.peers.isElsewhere(component.domain) === true) throw moved();
    this.xml.admit(allowance, shares.ofComponent(component.domain));
    this.xml.establish();
    this.xml.writeElement(el('handshake'));
    component.enter(this);
  }

  async #refuse(component: Component, delayMs: number, text?: string): Promise<void> {
    component.counts.refusedLogins++;
    if (delayMs > 0)
      await new Promise<void>((resolve) => {
        setTimeout(resolve, delayMs).unref();
      });
    throw new StreamError('not-authorized', text);
  }

  isFree(): boolean {
    return false;
  }

  ahead(): boolean {
    return false;
  }

  drained(): void {
    this.#component!.drained(this);
  }

  closed(): void {
    this.#component?.leave(this);
  }

  lost(): void {
    this.#component?.leave(this);
  }

  gone(): void {
    this.#parts.gone(this);
  }

  // --- stanzas ------------------------------------------------------------------------------------------------------

  #take(item: TopLevel, component: Component): Maybe<void> {
    if (isUnreadable(item)) return this.#parts.admission.unreadable();
    if (stanzaName(item.name) === undefined) throw new StreamError('unsupported-stanza-type');
    if (item.ns !== NS.component) throw new StreamError('invalid-namespace');
    component.counts.received++;
    const stanza = this.#admit(item);
    if (stanza === undefined) return;
    // An IQ does not report its writes; a message does, through acknowledgeAfter.
    if (stanza.name === 'iq' && stanza.type === 'set') this.xml.share.wrote(item.content.length);
    return this.#parts.host().route(stanza, this);
  }

  /**
   * Admits a stanza. An invalid `from` closes the stream; an invalid `to`, which a user of the component may have
   * entered, is only refused, because it must not disconnect the others (RFC 6120 §8.3.3.8).
   */
  #admit(item: TopLevel): Stanza | undefined {
    try {
      return this.#parts.admission.admit(item, this);
    } catch (error) {
      if (!(error instanceof JidError)) throw error;
      const host = this.#parts.host();
      const stanza = Stanza.unaddressed(item).with({ from: Jid.parse(item.attrs.from!) });
      const answer = host.refusalOf(stanza, new StanzaError('jid-malformed'));
      if (answer !== undefined) this.xml.writeStanza(answer.with({ from: host.jid }));
      return undefined;
    }
  }

  // --- Line ---------------------------------------------------------------------------------------------------------

  get hasRoom(): boolean {
    return this.xml.hasRoom;
  }

  send(stanza: Stanza): void {
    this.xml.writeStanza(stanza);
  }

  close(error?: StreamError): void {
    this.xml.close(error);
  }

  // --- Entrance, Origin ---------------------------------------------------------------------------------------------

  get lang(): string | undefined {
    return this.xml.lang;
  }

  /** §3: any address at the component's domain. */
  speaksFor(from: Jid): boolean {
    return from.domain === this.#component!.domain;
  }

  refused(stanza: Stanza, error: StanzaError): void {
    this.#parts.host().refuse(stanza, error, this);
  }

  acknowledgeAfter(done: Promise<unknown>, what: Awaited = 'disk'): void {
    if (what === 'disk') this.xml.waitsForDisk(done);
  }

  // --- Swept --------------------------------------------------------------------------------------------------------

  isLate(now: number): boolean {
    return now - this.#connectedAt >= this.#parts.config().limits.login_deadline_seconds * 1000;
  }

  expire(): void {
    this.#parts.limitHit('login_deadline_seconds');
    this.xml.close(new StreamError('connection-timeout'), lateCloseMs);
  }

  /**
   * A component that does not read pending stanzas is disconnected, so that they move to another connection or are
   * refused.
   */
  checkPace(now: number): void {
    this.xml.checkPace(now);
    const patience = this.#parts.config().limits.ping_timeout_seconds * 1000;
    if (this.#component!.isAwaiting(this) && this.xml.isStuck(now, patience)) this.xml.tooSlow();
  }

  /** XEP-0199 §4.1; every entity has to answer an IQ (RFC 6120 §8.2.3). */
  askAlive(): void {
    const { jid: to } = this.#component!;
    const header = { type: 'get', id: randomId(), from: this.#parts.host().jid, to };
    this.xml.writeStanza(Stanza.build('iq', header, el('ping', { xmlns: NS.ping })));
  }
}

/** Key for counting failures; never the address of an account. */
const throttleKey = ({ domain }: Component): string => `component ${domain}`;

/** Compares in constant time. */
function isSame(given: string, wanted: string): boolean {
  const bytes = Buffer.from(given);
  const secret = Buffer.from(wanted);
  return bytes.length === secret.length && timingSafeEqual(bytes, secret);
}
