import { type Away, everythingHere, type Homes } from '../cluster/homes.js';
import { StanzaError } from '../stanza/errors.js';
import type { Jid } from '../stanza/jid.js';
import type { Stanza } from '../stanza/stanza.js';
import { HookError } from './hooks.js';
import type { Origin } from './passage.js';

/** Whoever answers for a domain: a host of ours, a service of one, a component, another server. */
export interface Destination {
  /**
   * Takes a stanza; throws or rejects with StanzaError if it is refused. The sender's stream waits for what this returns, so
   * whoever has to wait for a network returns nothing, keeps the stanza in a bounded queue, and refuses it later if it
   * must (outbox.ts). What one sender says is taken in its order.
   */
  receive(stanza: Stanza, origin: Origin): void | Promise<void>;
  /**
   * Resolves when there is room for more of what the server says of its own accord, such as the rest of a long answer;
   * undefined: there is.
   */
  room?(to: Jid): Promise<void> | undefined;
  /** A message for this address is on its way: what it needs can be read meanwhile. */
  prefetch?(to: Jid): void;
  /** Whether the stanza answers a request that was sent from this node, whoever it is addressed to. */
  isAwaited?(stanza: Stanza): boolean;
}

/** A question as it goes to another node: `domain` is that of the host, `given` is JSON. */
export interface WrittenQuestion {
  readonly domain: string;
  readonly name: string;
  readonly given: string;
}

/** Takes what is for addresses of this server that live at another node. */
export interface Departures {
  send(away: Away, stanza: Stanza, to: readonly Jid[], origin: Origin): void | Promise<void>;
  ask(away: Away, request: Stanza, to: Jid, domain: string, timeoutMs: number): Promise<Stanza>;
  consult(away: Away, question: WrittenQuestion, owner: Jid, timeoutMs: number): Promise<string>;
  consultOthers(homes: Homes, question: WrittenQuestion, host: Jid, timeoutMs: number): readonly Promise<string>[];
}

/** The server itself as a sender: nobody waits for an acknowledgement. */
export const serverOrigin: Origin = {
  session: undefined,
  acknowledges: false,
  acknowledgeAfter() {},
};

/** Decides by the addressee's domain, and by where the addressee lives. */
export class Router {
  readonly #local = new Map<string, Destination>();
  /** Domains that programs outside this one answer for, over streams to it. */
  readonly #attached = new Map<string, Destination>();
  readonly #gates = new Map<string, (party: Jid) => boolean>();
  /** Takes what is for other servers. */
  remote: Destination = {
    receive() {
      throw new StanzaError('remote-server-not-found');
    },
  };

  #homes: Homes = everythingHere;
  #departures: Departures | undefined;

  /** From now on some addresses live at other nodes. */
  share(homes: Homes, departures: Departures): void {
    this.#homes = homes;
    this.#departures = departures;
  }

  add(domain: string, destination: Destination): void {
    this.#demandFree(domain);
    this.#local.set(domain, destination);
  }

  /**
   * From now on an external component answers for the domain. Its addresses are as those of another server: not local, and
   * at home at no node. Throws HookError where something answers for it already.
   */
  attach(domain: string, destination: Destination): void {
    this.#demandFree(domain);
    this.#attached.set(domain, destination);
  }

  #demandFree(domain: string): void {
    if (this.#local.has(domain) || this.#attached.has(domain))
      throw new HookError(`two things answer for ${domain}: a host, a service of a host or a component, and another`);
  }

  /** From now on nothing passes between a domain of ours and the addresses that it is closed to. */
  guard(domain: string, isClosed: (party: Jid) => boolean): void {
    const before = this.#gates.get(domain);
    // Every stanza asks: mostly there is one gate, and it allocates nothing.
    this.#gates.set(domain, before === undefined ? isClosed : (party) => before(party) || isClosed(party));
  }

  isLocal(domain: string): boolean {
    return this.#local.has(domain);
  }

  /** Who answers for a domain. */
  destination(domain: string): Destination {
    return this.#local.get(domain) ?? this.#attached.get(domain) ?? this.remote;
  }

  /** A message for this address is on its way. */
  prefetch(to: Jid): void {
    if (this.#homes.of(to) === undefined) this.#local.get(to.domain)?.prefetch?.(to);
  }

  /** `Destination.room` of whoever answers for an address. */
  room(to: Jid): Promise<void> | undefined {
    return this.destination(to.domain).room?.(to);
  }

  /**
   * Hands a stanza to whoever answers for its `to`. Throws or rejects with StanzaError where it is refused; what is
   * said of that to the sender is the caller's.
   */
  route(stanza: Stanza, origin: Origin): void | Promise<void> {
    const { to } = stanza;
    if (to === undefined) throw new Error('a stanza without an address cannot be routed');
    if (this.isStopped(stanza, to, origin)) return;
    const destination = this.#local.get(to.domain);
    if (destination === undefined) return this.destination(to.domain).receive(stanza, origin);
    // What a session says to its own host is handled at the session's home.
    if (to.local === undefined && to.domain === origin.session?.jid.domain) return destination.receive(stanza, origin);
    const away = this.#homes.of(to);
    if (away === undefined || destination.isAwaited?.(stanza) === true) return destination.receive(stanza, origin);
    return this.#departures!.send(away, stanza, [to], origin);
  }

  /** The same for an address that lives here, as another node or its own sender knows. */
  routeHere(stanza: Stanza, origin: Origin): void | Promise<void> {
    const to = stanza.to!;
    if (!this.isStopped(stanza, to, origin)) return this.destination(to.domain).receive(stanza, origin);
  }

  /** The way to an address of this server that does not live here. */
  wayTo(to: Jid): Away | undefined {
    return this.isLocal(to.domain) ? this.#homes.of(to) : undefined;
  }

  /** Sends what is for several full addresses of one account that lives elsewhere. */
  sendAway(away: Away, stanza: Stanza, to: readonly Jid[], origin: Origin): void | Promise<void> {
    return this.#departures!.send(away, stanza, to, origin);
  }

  /** Asks at the home of `to`, for a host here. Rejects with StanzaError. */
  askAway(away: Away, request: Stanza, to: Jid, domain: string, timeoutMs: number): Promise<Stanza> {
    return this.#departures!.ask(away, request, to, domain, timeoutMs);
  }

  /** Asks modules at the home of `owner`. Rejects with StanzaError. */
  consult(away: Away, question: WrittenQuestion, owner: Jid, timeoutMs: number): Promise<string> {
    return this.#departures!.consult(away, question, owner, timeoutMs);
  }

  /** Asks modules at every other node. Each rejects with StanzaError. */
  consultOthers(question: () => WrittenQuestion, host: Jid, timeoutMs: number): readonly Promise<string>[] {
    return this.#departures?.consultOthers(this.#homes, question(), host, timeoutMs) ?? [];
  }

  /** Whether work that the whole cluster does once is this node's. */
  hasJob(name: string): boolean {
    return this.#homes.hasJob(name);
  }

  /**
   * Whether a gate drops the stanza. Throws StanzaError where its sender waits for an answer. Errors of ours go out, so
   * that those who are shut out are told.
   */
  isStopped({ name, type, from }: Stanza, to: Jid, { session }: Origin): boolean {
    if (this.#gates.size === 0 || from === undefined) return false;
    const isShutOut = this.#gates.get(to.domain)?.(from) === true;
    if (!isShutOut && (type === 'error' || this.#gates.get(from.domain)?.(to) !== true)) return false;
    const isAnswered =
      name === 'message'
        ? type !== 'error' && type !== 'headline'
        : name === 'iq' && (type === 'get' || type === 'set');
    // Nobody waits for what the server itself sends to those who are shut out.
    if (isAnswered && (isShutOut || session !== undefined))
      throw new StanzaError('forbidden', 'The administrators of this server allow no communication between the two.');
    return true;
  }
}
