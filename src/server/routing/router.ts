import { Jid } from '../address/jid.js';
import { keyOf } from '../cluster/frames.js';
import { type Away, everythingHere, type Homes } from '../cluster/homes.js';
import type { Maybe } from '../maybe.js';
import type { PeerStream } from '../module/index.js';
import { StanzaError } from '../stanza/errors.js';
import type { Stanza } from '../stanza/stanza.js';
import { HookError } from './hooks.js';
import type { Origin } from './passage.js';

/** Receives the stanzas of a domain: one of our hosts, a service, a component, or another server. */
export interface Destination {
  /**
   * Receives a stanza; throws or rejects with StanzaError if it is refused. The sender's stream waits for the returned
   * promise, so a destination over the network returns undefined, queues the stanza, and refuses it later if necessary
   * (outbox.ts). Stanzas of one sender stay in order.
   */
  receive(stanza: Stanza, origin: Origin): Maybe<void>;
  /**
   * Resolves once there is room for more stanzas of the server itself, such as the rest of a long answer. Returns
   * undefined if there is now.
   */
  room?(to: Jid): Promise<void> | undefined;
  /** A message for this address is coming: its data can be read ahead. */
  prefetch?(to: Jid): void;
  /** Set if the home of its domain has its streams, and gets its answers. */
  readonly isAtHome?: boolean;
  /** Whether the stanza answers a request sent from this node, whatever its address. */
  isAwaited?(stanza: Stanza): boolean;
}

/** A serialized question to another node. `domain`: of the host; `given`: JSON. */
export interface WrittenQuestion {
  readonly domain: string;
  readonly name: string;
  readonly given: string;
}

/** About a request that another node sends for a host. */
export interface AwayAsk {
  /** Of the host that asks. */
  readonly domain: string;
  readonly timeoutMs: number;
  /** It was sent before the entity moved there: only its answer is due. */
  readonly isSent: boolean;
}

/** Sends stanzas to addresses of this server whose home is another node. */
export interface Departures {
  send(away: Away, stanza: Stanza, to: readonly Jid[], origin: Origin): Maybe<void>;
  ask(away: Away, request: Stanza, to: Jid, about: AwayAsk, home?: Jid): Promise<Stanza>;
  /**
   * Hands a stanza for another server or a component over to the home of its domain. Resolves once it was sent or
   * refused there. Rejects with ParcelError.
   */
  depart(away: Away, stanza: Stanza, home: Jid, isUsers: boolean): Promise<unknown>;
  /** The same when the streams of the domain move. Resolves once the new home has it. Rejects with ParcelError. */
  move(away: Away, stanza: Stanza, home: Jid): Promise<void>;
  /**
   * Hands over a stanza that another server has sent over a stream of this node, although another node is the home of
   * its domain.
   */
  arrive(away: Away, stanza: Stanza, home: Jid, origin: Origin): Maybe<void>;
  consult(away: Away, question: WrittenQuestion, owner: Jid, timeoutMs: number): Promise<string>;
  consultOthers(homes: Homes, question: WrittenQuestion, host: Jid, timeoutMs: number): readonly Promise<string>[];
}

/** The server itself as the sender: no acknowledgement is pending. */
export const serverOrigin: Origin = {
  session: undefined,
  acknowledges: false,
  acknowledgeAfter() {},
  isByServer: true,
};

/** The same, for an error that is raised for a session which is still here. */
export const raisedOrigin: Origin = { ...serverOrigin, isRaised: true };

/** Routes by the domain of the addressee, and by its home. */
export class Router {
  readonly #local = new Map<string, Destination>();
  /** Domains of external components. */
  readonly #attached = new Map<string, Destination>();
  readonly #gates = new Map<string, (party: Jid) => boolean>();
  /** Destination of other servers. */
  remote: Destination = {
    receive() {
      throw new StanzaError('remote-server-not-found');
    },
  };

  /** Whether a local domain has no streams with the server of a remote one. */
  isDenied: (local: string, remote: string) => boolean = () => false;

  /** Streams with other servers. */
  peerStreams: () => readonly PeerStream[] = () => [];

  #homes: Homes = everythingHere;
  #departures: Departures | undefined;

  /** Starts sharing addresses with other nodes. */
  share(homes: Homes, departures: Departures): void {
    this.#homes = homes;
    this.#departures = departures;
  }

  add(domain: string, destination: Destination): void {
    this.#demandFree(domain);
    this.#local.set(domain, destination);
  }

  /**
   * Adds the domain of an external component. Its addresses are treated as those of another server: not local, and
   * without a home. Throws HookError if the domain is already used.
   */
  attach(domain: string, destination: Destination): void {
    this.#demandFree(domain);
    this.#attached.set(domain, destination);
  }

  #demandFree(domain: string): void {
    if (this.#local.has(domain) || this.#attached.has(domain))
      throw new HookError(`${domain} is used twice: by a host, service or component, and by another`);
  }

  /** From now on, drops stanzas between one of our domains and the addresses it is closed to. */
  guard(domain: string, isClosed: (party: Jid) => boolean): void {
    const before = this.#gates.get(domain);
    // Called for every stanza: usually there is one gate, and no allocation.
    this.#gates.set(domain, before === undefined ? isClosed : (party) => before(party) || isClosed(party));
  }

  isLocal(domain: string): boolean {
    return this.#local.has(domain);
  }

  /** The destination of a domain. */
  destination(domain: string): Destination {
    return this.#local.get(domain) ?? this.#attached.get(domain) ?? this.remote;
  }

  /** A message for this address is coming. */
  prefetch(to: Jid): void {
    if (this.#homes.of(to) === undefined) this.#local.get(to.domain)?.prefetch?.(to);
  }

  /** `Destination.room` for an address. */
  room(to: Jid): Promise<void> | undefined {
    return this.destination(to.domain).room?.(to);
  }

  /**
   * Passes a stanza to the destination of its `to`. Throws or rejects with StanzaError if it is refused; the caller
   * answers the sender.
   */
  route(stanza: Stanza, origin: Origin): Maybe<void> {
    const { to } = stanza;
    if (to === undefined) throw new Error('a stanza without an address cannot be routed');
    if (this.isStopped(stanza, to, origin)) return;
    const destination = this.#local.get(to.domain);
    if (destination === undefined) return this.destination(to.domain).receive(stanza, origin);
    // A session's stanzas to its own host are handled at the session's home.
    if (to.local === undefined && to.domain === origin.session?.jid.domain) return destination.receive(stanza, origin);
    const away = this.#homes.of(to);
    if (away === undefined || destination.isAwaited?.(stanza) === true)
      return this.during(to, destination.receive(stanza, origin));
    return this.#departures!.send(away, stanza, [to], origin);
  }

  /** The same for an address whose home is here, as another node or the sender has determined. */
  routeHere(stanza: Stanza, origin: Origin): Maybe<void> {
    const to = stanza.to!;
    if (!this.isStopped(stanza, to, origin)) return this.destination(to.domain).receive(stanza, origin);
  }

  /**
   * The node that asks this entity, and gets its answer: the home of its address, or the one that has the streams with
   * its domain. Returns undefined if it is this node.
   */
  askingWay(to: Jid): Away | undefined {
    if (this.isLocal(to.domain)) return this.#homes.toAsk(to);
    return this.destination(to.domain).isAtHome === true ? this.#homes.toAsk(domainOf(to)) : undefined;
  }

  /**
   * The way to an address of this server whose home is another node, or where older stanzas have to be handled first.
   * Returns undefined otherwise.
   */
  wayTo(to: Jid): Away | undefined {
    return this.isLocal(to.domain) ? this.#homes.of(to) : undefined;
  }

  /** Whether this node is the home of an address of this server, which is not about to move. */
  isHome(jid: Jid): boolean {
    return !this.isLocal(jid.domain) || this.#homes.isHere(jid);
  }

  /** The same for questions. */
  wayToAsk(to: Jid): Away | undefined {
    return this.isLocal(to.domain) ? this.#homes.toAsk(to) : undefined;
  }

  /** Sends a stanza to several full addresses of one account whose home is another node. */
  sendAway(away: Away, stanza: Stanza, to: readonly Jid[], origin: Origin): Maybe<void> {
    return this.#departures!.send(away, stanza, to, origin);
  }

  /** Asks at the home of `to`, for a host here. Rejects with StanzaError. */
  askAway(away: Away, request: Stanza, to: Jid, about: AwayAsk): Promise<Stanza> {
    const home = this.isLocal(to.domain) ? undefined : domainOf(to);
    return this.#departures!.ask(away, request, to, about, home);
  }

  /** A stanza of another server has arrived; it goes on from the home of that server's domain. */
  arrive(stanza: Stanza, origin: Origin): Maybe<void> | 'here' {
    if (this.#departures === undefined) return 'here';
    const home = domainOf(stanza.from!);
    const away = this.#homes.toAsk(home);
    return away === undefined ? 'here' : this.#departures.arrive(away, stanza, home, origin);
  }

  /** Asks modules at the home of `owner`. Rejects with StanzaError. */
  consult(away: Away, question: WrittenQuestion, owner: Jid, timeoutMs: number): Promise<string> {
    return this.#departures!.consult(away, question, owner, timeoutMs);
  }

  /** Asks modules at every other node. Each rejects with StanzaError. */
  consultOthers(question: () => WrittenQuestion, host: Jid, timeoutMs: number): readonly Promise<string>[] {
    return this.#departures?.consultOthers(this.#homes, question(), host, timeoutMs) ?? [];
  }

  /** Work for an address whose home is here: returns it. */
  during(jid: Jid, work: void | Promise<void>): void | Promise<void> {
    if (work instanceof Promise) this.#homes.during(jid, work);
    return work;
  }

  /** This node, during this run; undefined in a single process. */
  get node(): string | undefined {
    return this.#homes.name && keyOf(this.#homes.name);
  }

  /** Whether the node of a name is a member of the cluster. */
  isMember(name: string): boolean {
    return this.#homes.view?.members.some((member) => keyOf(member) === name) ?? false;
  }

  /** Whether this node runs the job that one node of the cluster runs. */
  hasJob(name: string): boolean {
    return this.#homes.hasJob(name);
  }

  /**
   * Whether a gate drops the stanza. Throws StanzaError if its sender expects an answer. Errors of ours pass, so that
   * blocked parties get them.
   */
  isStopped({ name, type, from }: Stanza, to: Jid, { session }: Origin): boolean {
    if (this.#gates.size === 0 || from === undefined) return false;
    const isShutOut = this.#gates.get(to.domain)?.(from) === true;
    if (!isShutOut && (type === 'error' || this.#gates.get(from.domain)?.(to) !== true)) return false;
    const isAnswered =
      name === 'message'
        ? type !== 'error' && type !== 'headline'
        : name === 'iq' && (type === 'get' || type === 'set');
    // The server's own stanzas to blocked parties expect no answer.
    if (isAnswered && (isShutOut || session !== undefined)) throw blocked();
    return true;
  }

  /** Why a gate stops a request of the server itself, which waits for an answer. */
  refusalOf({ from }: Stanza, to: Jid): StanzaError | undefined {
    if (from === undefined) return undefined;
    const isClosed = this.#gates.get(to.domain)?.(from) === true || this.#gates.get(from.domain)?.(to) === true;
    return isClosed ? blocked() : undefined;
  }
}

const blocked = (): StanzaError =>
  new StanzaError('forbidden', 'Communication between these addresses is blocked by the server.');

/** The address of the domain: where streams with another server or a component live. */
export function domainOf(jid: Jid): Jid {
  return jid.local === undefined && jid.resource === undefined ? jid : Jid.parse(jid.domain);
}
