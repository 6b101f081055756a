/** A server as a node of a cluster. */
import type { Logger } from 'pino';
import { z } from 'zod';
import { type Storage, StorageError } from '../storage/contract.js';
import type { Usages } from '../storage/usage.js';
import { around } from '../storage/wrappers.js';
import type { Accounts } from './accounts/index.js';
import { Jid } from './address/jid.js';
import { BoshGateway } from './bosh-gateway.js';
import { monotonic, poll, within } from './clock.js';
import { Door } from './cluster/door.js';
import { keyOf } from './cluster/frames.js';
import type { Handed } from './cluster/giving.js';
import { ClusterNode, usualUnreachableMs } from './cluster/node.js';
import { type RelayPeer, Relays } from './cluster/relay.js';
import { slotOf } from './cluster/slots.js';
import { type Member, ViewStore } from './cluster/view.js';
import { type Network, signsOfLife } from './cluster/wire.js';
import { movedShare, type Shares } from './limits/shares.js';
import { movedCount } from './quotas.js';
import { idsReserved } from './reserved-ids.js';
import { movedAsk } from './routing/asks.js';
import { Elsewhere, type ElsewhereParts } from './routing/elsewhere.js';
import { Forwarding } from './routing/forwarding.js';
import type { LocalHost } from './routing/host.js';
import type { Receipt } from './routing/link.js';
import type { Destination, Router } from './routing/router.js';
import { demandSharedFolder } from './shared-folder.js';
import { idsEnd, idsFrom, setNode } from './stanza/ids.js';
import type { Stanza } from './stanza/stanza.js';
import { Gateway, type GatewayParts } from './stream/c2s/gateway.js';
import type { Component } from './stream/component/component.js';
import type { StreamParts } from './stream/handler.js';
import { PeerGateway } from './stream/peer-gateway.js';
import { sharedSecret } from './stream/s2s/shared-secret.js';
import type { Sessions } from './stream/sessions/index.js';
import { SharedOrders, type SharedOrdersParts } from './tls/acme/shared.js';
import { verifiedNames } from './tls/server.js';
import type { Transport } from './transport/transport.js';

// Nodes watch each other also when a test replaces the clock.
const { setInterval } = globalThis;

export interface ClusterOptions {
  /** Unique in the cluster, and the same at each start. */
  readonly node: string;
  /** Its address in the network. */
  readonly address: string;
  readonly network: Network;
  /** Ms without a sign of life after which a member is expelled. */
  readonly unreachableMs?: number | undefined;
  /** Closes the network, after the node has left. */
  close?(): Promise<void>;
}

export interface MembershipParts {
  /** What has to be alike at all nodes, by the name of its setting. */
  readonly settings: Readonly<Record<string, string>>;
  /** Of uploaded files, if they are in one that all nodes have to share. */
  readonly folder: string | undefined;
  readonly storage: Storage;
  readonly router: Router;
  readonly hosts: ReadonlyMap<string, LocalHost>;
  readonly version: string;
  readonly log: Logger;
  sessions(): Sessions;
  accounts(): Accounts;
  usages(): Usages;
  readonly shares: Shares;
  anonymous: ElsewhereParts['anonymous'];
  /** Another node has failed: its clients return. */
  lost(): void;
  /** The members have changed. */
  viewed(): void;
  /** Addresses live here now that have not before. */
  gained(): void;
  halt(how: 'restart'): Promise<void>;
}

/**
 * How long a node that stops may take to hand over its addresses, in ms: less than a supervisor waits by default. What is here
 * afterwards is saved.
 */
const longestDrain = 60_000;
/** How long the connections of sessions that have moved may take to follow then, and leaving the cluster, in ms. */
const longestFarewell = 10_000;

/** What a home hands over. `from`: ids with earlier times may exist. */
const handedSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('node'), from: z.number() }),
  z.object({ kind: z.literal('session'), session: z.unknown() }),
  z.object({ kind: z.literal('ended'), bare: z.string(), id: z.string(), h: z.number() }),
  z.object({ kind: z.literal('share'), bare: z.string(), used: movedShare }),
  z.object({ kind: z.literal('count'), bare: z.string(), count: movedCount }),
  z.object({ kind: z.literal('ask'), host: z.string(), ask: movedAsk }),
  z.object({ kind: z.literal('memory'), host: z.string(), name: z.string(), bare: z.string(), state: z.unknown() }),
]);

/** Streams with other servers, while the homes of their domains move. */
export interface MovingStreams {
  /** What was not sent for these domains waits, from now on until `go`. */
  halt(moves: (domain: string) => boolean): void;
  /** It goes to the homes of its domains. */
  go(): void;
}

export class Membership {
  /** The node's storage: detects when other nodes have fenced it off. */
  readonly storage: Storage;
  readonly node: ClusterNode;
  /** Hands clients' streams over to the homes of their accounts, and takes those that other nodes hand over. */
  readonly gateway: Gateway;
  /** The same for streams of other servers and components. */
  readonly peers: PeerGateway;

  /** Forwards requests for BOSH sessions. */
  readonly bosh: BoshGateway;

  readonly #options: ClusterOptions;
  readonly #door: Door;
  readonly #relays: Relays;
  readonly #ticking: NodeJS.Timeout | undefined;
  readonly #components: Component[] = [];
  /** From which the keys of server dialback are derived, unless the configuration has one. */
  dialbackSecret = '';
  /** Streams with other servers. */
  streams: MovingStreams | undefined;
  /** Begins a stream that another node hands over. Undefined until the server has started. */
  #serve: GatewayParts['connected'] | undefined;
  readonly #parts: MembershipParts;
  #isStopping = false;
  /** The names of the members of the last view. */
  #members: readonly string[] = [];
  #hasNumber = false;
  /** Restores sessions, one call at a time. */
  #restoring: Promise<void> = Promise.resolve();
  #restores = 0;

  private constructor(
    node: ClusterNode,
    storage: Storage,
    parts: MembershipParts,
    readonly departures: Elsewhere,
    options: ClusterOptions,
    door: Door,
  ) {
    const { address, network } = options;
    this.#options = options;
    this.#door = door;
    this.node = node;
    this.storage = storage;
    this.#parts = parts;
    const ways = {
      homeOf: (jid: Jid) => this.#peerFor(jid),
      open: (...args: Parameters<GatewayParts['open']>) => this.#relays.open(...args),
    };
    this.peers = new PeerGateway({ ...ways, verifiedNames });
    this.bosh = new BoshGateway({
      open: ways.open,
      member: (number) =>
        number === node.number ? undefined : node.view.members.find((member) => member.number === number),
      failed: (error) => parts.log.error({ err: error }, 'a BOSH request from another node could not be answered'),
    });
    this.gateway = new Gateway({
      ...ways,
      connected: (transport, at, continued) => {
        if (this.#serve === undefined) throw new Error('a stream was handed over before the server has started');
        this.#serve(transport, at, continued);
      },
      arrived: (transport, ticket) => parts.sessions().moving.follow(transport, ticket),
      isSelf: ({ id, epoch }) => id === node.name.id && epoch === node.name.epoch,
    });
    this.#relays = new Relays({
      self: node.name,
      address,
      network,
      isMember: ({ id, epoch }) => node.view.members.some((one) => one.id === id && one.epoch === epoch),
      accept: (opening, relay) =>
        this.bosh.accept(opening, relay) ?? this.peers.accept(opening, relay) ?? this.gateway.accept(opening, relay),
      failed: (error) => parts.log.warn({ err: error }, 'a stream from another node could not be taken'),
    });
    const { unreachableMs = usualUnreachableMs } = options;
    if (unreachableMs > 0) this.#ticking = setInterval(() => this.#relays.tick(), unreachableMs / signsOfLife).unref();
  }

  /** Joins, before anything is written. Rejects with StorageError or JoinError. */
  static async join(options: ClusterOptions, parts: MembershipParts): Promise<Membership> {
    const door = new Door({ ...options, ...parts });
    try {
      // Before the storage ends the epoch of a node of this name.
      await door.check(await new ViewStore(parts.storage).read());
      if (parts.folder !== undefined) await demandSharedFolder(parts.folder, parts.storage);
      return await Membership.#join(options, parts, door);
    } catch (error) {
      door.close();
      await options.close?.();
      throw error;
    }
  }

  static async #join(options: ClusterOptions, parts: MembershipParts, door: Door): Promise<Membership> {
    const { node: id, address, network } = options;
    const { router, hosts, log, version } = parts;
    const elsewhere = new Elsewhere({
      router,
      host: (domain) => hostOf(hosts, domain),
      anonymous: parts.anonymous,
    });
    let membership: Membership | undefined;
    const node: ClusterNode = await ClusterNode.join({
      id,
      address,
      version,
      network,
      unreachableMs: options.unreachableMs,
      storage: parts.storage,
      receiver: elsewhere,
      pausing: async (slots) => membership?.pause(slots),
      finishing: async (slots) => membership?.finish(slots),
      state: (slots) => membership!.describe(slots),
      left: (homes) => membership?.left(homes),
      stayed: (slots) => membership?.stayed(slots),
      gained: (slots, states) => membership?.gained(slots, states),
      caughtUp: () => membership?.caughtUp(),
      check: (view) => door.check(view),
      viewed: () => membership?.viewed(),
      lost: () => parts.lost(),
      idsReserved: () => idsReserved(parts.storage),
      idsFrom,
      expelled: () => {
        log.fatal('the other nodes have fenced this node off');
        parts.halt('restart').catch((error: unknown) => log.error({ err: error }, 'could not stop the server cleanly'));
      },
      warn: (message, error) => log.warn({ err: error }, message),
    });
    router.share(node, elsewhere);
    const storage = around(parts.storage, (_, run) =>
      run().catch((error: unknown) => {
        if (error instanceof StorageError && error.failure === 'fenced') node.shutOut();
        throw error;
      }),
    );
    membership = new Membership(node, storage, parts, elsewhere, options, door);
    return membership;
  }

  /** Takes streams that other nodes hand over from now on. */
  serve(connected: GatewayParts['connected'], componentConnected: (transport: Transport, at: number) => void): void {
    this.#serve = connected;
    this.peers.serve('component', componentConnected);
  }

  /** Whether other nodes can take over what this one has. */
  get hasOthers(): boolean {
    return this.node.view.members.some(({ id, isLeaving }) => id !== this.node.name.id && !isLeaving);
  }

  /** How many nodes the cluster has, this one included. */
  get nodeCount(): number {
    return Math.max(1, this.node.view.members.length);
  }

  /** The name of this process, which another one of this node does not have. */
  get nodeName(): string {
    return keyOf(this.node.name);
  }

  /** Whether the process of a name is a member of the cluster. */
  isMember(name: string): boolean {
    return this.node.view.members.some((member) => keyOf(member) === name);
  }

  /** Whether stanzas that were sent to an account before it came to this node are still being handled. */
  isBehind(account: Jid): boolean {
    return this.node.isBehind(account);
  }

  /** The way to a component: to the home of its domain. */
  wayTo(component: Component, { config, limitHit }: Pick<StreamParts, 'config' | 'limitHit'>): Destination {
    this.#components.push(component);
    return new Forwarding({
      inner: component,
      homeOf: (domain) => this.node.toAsk(domain),
      departures: this.departures,
      bounds: () => component.bounds,
      budget: { most: () => config().limits.component_queue_bytes, used: 0 },
      limitHit: () => limitHit('component_queue_bytes'),
      refuse: (stanza, error) => component.refuse(stanza, error),
    });
  }

  /** Orders of certificates that all nodes share. */
  shareOrders(parts: Omit<SharedOrdersParts, 'self' | 'isMember' | 'knowsAll' | 'host' | 'isHome'>): SharedOrders {
    const { hosts, router } = this.#parts;
    return new SharedOrders({
      ...parts,
      self: this.nodeName,
      isMember: (name) => this.isMember(name),
      knowsAll: () => this.node.knowsAll(),
      host: (domain) => hosts.get(domain),
      isHome: ({ jid }) => router.wayToAsk(jid) === undefined,
    });
  }

  /** Streams of clients and peers that are relayed to other nodes, until their connections are closed. */
  get size(): number {
    return this.gateway.size + this.peers.size;
  }

  /**
   * This node is about to stop: its addresses move to the other nodes, with the sessions that they have. Resolves when
   * none is here, or there is no other node. Never rejects.
   */
  async drain(): Promise<void> {
    if (!this.hasOthers) return;
    const drained = this.node.drain().catch((error: unknown) => {
      this.#parts.log.error({ err: error }, 'could not hand over to the other nodes');
    });
    if (!(await within(drained, longestDrain)))
      this.#parts.log.warn('handing over to the other nodes takes too long: sessions that are still here are saved');
    // Their gateways have still to be told where the streams go on.
    await poll(() => this.gateway.leaving === 0, monotonic() + longestFarewell);
    await new Promise(setImmediate);
  }

  /**
   * This node stops: closes relayed streams, so that their peers connect to another node. Sessions that are still here are
   * saved, and do not move.
   */
  stop(): void {
    this.#isStopping = true;
    this.gateway.stop();
    this.peers.stop();
    this.bosh.stop();
  }

  /** Streams of nodes that are gone end, and those of components that have moved. */
  viewed(): void {
    this.#door.cluster = this.node.view.cluster;
    this.#relays.part();
    this.#parts.sessions().moving.late.viewed();
    this.#parts.viewed();
    const { members } = this.node.view;
    if (this.#members.some((name) => !this.isMember(name)))
      for (const host of this.#parts.hosts.values()) void host.emit('nodesGone', {});
    this.#members = members.map(keyOf);
    for (const component of this.#components) if (this.peers.isElsewhere(component.domain)) component.leaves();
  }

  #peerFor(jid: Jid): RelayPeer | undefined {
    const member = this.node.of(jid) === undefined ? undefined : this.node.memberOf(jid);
    return member === undefined || member.id === this.node.name.id ? undefined : member;
  }

  /** Reads what all nodes share. Rejects with StorageError. */
  async prepare(): Promise<void> {
    this.dialbackSecret = await sharedSecret(this.storage);
  }

  /**
   * Becomes a member and takes its share of the addresses: modules must be started, and streams must be served. Rejects with
   * StorageError.
   */
  async enter(): Promise<void> {
    await this.node.enter();
    await this.#restoring;
  }

  /** Hands over its addresses and leaves. Never rejects. */
  async leave(): Promise<void> {
    const left = this.node.leave().then(
      () => undefined,
      (error: unknown) => error,
    );
    let problem: unknown = 'it takes too long';
    await within(
      left.then((error) => (problem = error)),
      longestFarewell,
    );
    if (problem !== undefined) {
      this.#parts.log.error({ err: problem }, 'could not leave the cluster cleanly; the other nodes will detect it');
      this.node.kill();
    }
    clearInterval(this.#ticking);
    this.#relays.close();
    this.#door.close();
    await this.#options.close?.();
  }

  /** Pending while saved sessions are read. Never rejects. */
  get restoring(): Promise<void> | undefined {
    return this.#restores === 0 ? undefined : this.#restoring;
  }

  restore(): void {
    const failed = (error: unknown) => this.#parts.log.error({ err: error }, 'could not restore sessions');
    this.#restores++;
    this.#restoring = this.#restoring
      .then(() => this.#parts.sessions().snapshots.load())
      .catch(failed)
      .then(() => void this.#restores--);
  }

  // --- moves --------------------------------------------------------------------------------------------------------

  #in(slots: ReadonlySet<number>): (jid: Jid) => boolean {
    return (jid) => slots.has(this.node.slotOf(jid));
  }

  /** Finishes the work that clients of these slots have asked for. */
  async pause(slots: ReadonlySet<number>): Promise<void> {
    // A server that stops saves its sessions.
    if (!this.#isStopping) await this.#parts.sessions().moving.pause(this.#in(slots));
  }

  /** Persists what is to be written later. */
  async finish(slots: ReadonlySet<number>): Promise<void> {
    const event = { concerns: (bare: string) => slots.has(slotOf(bare)) };
    for (const host of this.#parts.hosts.values()) await host.emit('leaving', event);
    await this.#parts.accounts().writeLogins();
    const moves = this.#in(slots);
    this.streams?.halt((domain) => moves(Jid.parse(domain)));
  }

  /** Describes what is in memory for these slots. */
  async *describe(slots: ReadonlySet<number>): AsyncGenerator<Handed> {
    const written = (handed: z.input<typeof handedSchema>): string => JSON.stringify(handed);
    // Nothing of a domain that moves arises here any more.
    this.streams?.go();
    yield { slot: undefined, state: written({ kind: 'node', from: idsEnd() }) };
    if (this.#isStopping) return;
    for await (const { jid, session } of this.#parts.sessions().moving.describe(this.#in(slots)))
      yield { slot: this.node.slotOf(jid), state: written({ kind: 'session', session }) };
    const concerns = (bare: string): boolean => slots.has(slotOf(bare));
    for (const { bare, id, h } of this.#parts.sessions().moving.endedOf(concerns))
      yield { slot: slotOf(bare), state: written({ kind: 'ended', bare, id, h }) };
    for (const [bare, used] of this.#parts.shares.describe(concerns))
      yield { slot: slotOf(bare), state: written({ kind: 'share', bare, used }) };
    for (const [bare, count] of this.#parts.usages().describe(concerns))
      yield { slot: slotOf(bare), state: written({ kind: 'count', bare, count }) };
    for (const [host, { asks }] of this.#parts.hosts)
      for (const [to, ask] of asks.describe((jid) => slots.has(slotOf(this.#askedAt(jid)))))
        yield { slot: slotOf(this.#askedAt(to)), state: written({ kind: 'ask', host, ask }) };
    for (const [host, { hooks }] of this.#parts.hosts)
      for (const { name, schema, describe } of hooks.memories.values())
        for (const [bare, state] of describe(concerns))
          yield {
            slot: slotOf(bare),
            state: written({ kind: 'memory', host, name, bare, state: schema.encode(state) }),
          };
  }

  /** The address whose home waits for the answer of an entity. */
  #askedAt({ bare, domain }: Jid): string {
    return this.#parts.router.isLocal(domain) ? bare : domain;
  }

  /** These slots live at other members now. */
  left(homes: ReadonlyMap<number, Member>): void {
    for (const { asks } of this.#parts.hosts.values()) asks.moved((jid) => homes.has(slotOf(this.#askedAt(jid))));
    if (!this.#isStopping) this.#parts.sessions().moving.left((jid) => homes.get(this.node.slotOf(jid)));
    this.#invalidate((slot) => homes.has(slot));
  }

  stayed(slots: ReadonlySet<number>): void {
    this.streams?.go();
    this.#parts.sessions().moving.stayed(this.#in(slots));
  }

  /** This node acts for these slots from now on. */
  gained(slots: ReadonlySet<number>, states: readonly string[]): void {
    // Before the first id.
    if (!this.#hasNumber) setNode(this.node.number);
    this.#hasNumber = true;
    this.#invalidate((slot) => slots.has(slot));
    const moving = this.#parts.sessions().moving;
    for (const state of states) {
      try {
        const handed = handedSchema.parse(JSON.parse(state));
        if (handed.kind === 'node') idsFrom(handed.from);
        else if (handed.kind === 'session') moving.arrive(handed.session);
        else if (handed.kind === 'ended') moving.ended(handed);
        else if (handed.kind === 'share') this.#parts.shares.restore(handed.bare, handed.used);
        else if (handed.kind === 'count') this.#parts.usages().restore(handed.bare, handed.count);
        else if (handed.kind === 'ask') this.#parts.hosts.get(handed.host)?.asks.expect(handed.ask);
        else {
          const memory = this.#parts.hosts.get(handed.host)?.hooks.memories.get(handed.name);
          memory?.restore(handed.bare, memory.schema.decode(handed.state));
        }
      } catch (error) {
        this.#parts.log.error({ err: error }, 'something that another node has handed over could not be taken over');
      }
    }
    moving.arrived();
    this.restore();
    this.#parts.gained();
  }

  /** What was sent to some address before it came here has been handled. */
  caughtUp(): void {
    this.#parts.sessions().moving.caughtUp();
  }

  /** Nothing in memory about these slots is valid. */
  #invalidate(concerns: (slot: number) => boolean): void {
    const event = { concerns: (bare: string) => concerns(slotOf(bare)) };
    this.#parts.accounts().deleteIf(event.concerns);
    this.#parts.usages().deleteIf(event.concerns);
    this.storage.moved?.(event.concerns);
    this.#parts.shares.moved(event.concerns);
    for (const host of this.#parts.hosts.values()) void host.emit('moved', event);
  }

  /** Sends a stanza to a session that is moving, or has moved. */
  forward(to: Jid, stanza: Stanza, receipt: Receipt | undefined): void {
    // A message that is stored is sent by its new home.
    if (receipt?.reference !== undefined && receipt.reference !== '') return;
    this.departures.forward(this.node.of(to), stanza, to);
  }
}

/** The host of a domain or of a service's domain; any host if there is none. */
function hostOf(hosts: ReadonlyMap<string, LocalHost>, domain: string): LocalHost {
  for (let rest = domain; rest !== ''; rest = rest.slice(rest.indexOf('.') + 1)) {
    const host = hosts.get(rest);
    if (host !== undefined) return host;
    if (!rest.includes('.')) break;
  }
  const [first] = hosts.values();
  return first!;
}
