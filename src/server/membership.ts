/** A server as a node of a cluster. */
import type { Logger } from 'pino';
import { type Storage, StorageError } from '../storage/contract.js';
import { around } from '../storage/wrappers.js';
import type { Jid } from './address/jid.js';
import { ClusterNode } from './cluster/node.js';
import { type RelayPeer, Relays } from './cluster/relay.js';
import type { Network } from './cluster/wire.js';
import { Elsewhere, type ElsewhereParts } from './routing/elsewhere.js';
import type { LocalHost } from './routing/host.js';
import type { Router } from './routing/router.js';
import type { Session } from './routing/session.js';
import { StreamError } from './stanza/errors.js';
import { setNode } from './stanza/ids.js';
import { Gateway, type GatewayParts } from './stream/c2s/gateway.js';

export interface ClusterOptions {
  /** Unique in the cluster, and the same at each start. */
  readonly node: string;
  /** Its address in the network. */
  readonly address: string;
  readonly network: Network;
}

export interface MembershipParts {
  readonly storage: Storage;
  readonly router: Router;
  readonly hosts: ReadonlyMap<string, LocalHost>;
  readonly version: string;
  readonly log: Logger;
  sessions(): Iterable<Session>;
  anonymous: ElsewhereParts['anonymous'];
  /** Restores saved sessions of accounts whose home is here, except those already restored. */
  restore(): Promise<void>;
  /** The server is stopping: its sessions are saved, not ended. */
  isStopping(): boolean;
  /** Ends a session, with an error for its client. */
  end(session: Session, error: StreamError): void;
  halt(how: 'restart'): Promise<void>;
}

export class Membership {
  /** The node's storage: detects when other nodes have fenced it off. */
  readonly storage: Storage;
  readonly node: ClusterNode;
  /** Hands clients' streams over to the homes of their accounts, and takes those that other nodes hand over. */
  readonly gateway: Gateway;

  readonly #relays: Relays;
  /** Begins a stream that another node hands over. Undefined until the server has started. */
  #serve: GatewayParts['connected'] | undefined;
  readonly #parts: MembershipParts;
  /** Restores sessions, one call at a time. */
  #restoring: Promise<void> = Promise.resolve();

  private constructor(
    node: ClusterNode,
    storage: Storage,
    parts: MembershipParts,
    { address, network }: ClusterOptions,
  ) {
    this.node = node;
    this.storage = storage;
    this.#parts = parts;
    this.gateway = new Gateway({
      homeOf: (jid) => this.#peerFor(jid),
      open: (peer, opening, events) => this.#relays.open(peer, opening, events),
      connected: (transport, at, continued) => {
        if (this.#serve === undefined) throw new Error('a stream was handed over before the server has started');
        this.#serve(transport, at, continued);
      },
    });
    this.#relays = new Relays({
      self: node.name,
      address,
      network,
      isMember: ({ id, epoch }) => node.view.members.some((one) => one.id === id && one.epoch === epoch),
      accept: (opening, relay) => this.gateway.accept(opening, relay),
      failed: (error) => parts.log.warn({ err: error }, 'a stream from another node could not be taken'),
    });
  }

  /** Joins, before anything is written. Rejects with StorageError. */
  static async join({ node: id, address, network }: ClusterOptions, parts: MembershipParts): Promise<Membership> {
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
      storage: parts.storage,
      receiver: elsewhere,
      leaving: async (slots) => membership?.endSessions((jid) => slots.has(node.slotOf(jid))),
      gained: () => membership?.restore(),
      viewed: () => membership?.viewed(),
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
    membership = new Membership(node, storage, parts, { node: id, address, network });
    return membership;
  }

  /** Takes streams that other nodes hand over from now on. */
  serve(connected: GatewayParts['connected']): void {
    this.#serve = connected;
  }

  /** Streams of nodes that are gone end. */
  viewed(): void {
    this.#relays.part();
  }

  #peerFor(jid: Jid): RelayPeer | undefined {
    const member = this.node.of(jid) === undefined ? undefined : this.node.memberOf(jid);
    return member === undefined || member.id === this.node.name.id ? undefined : member;
  }

  /** Becomes a member and takes its share of the addresses; modules must be started. Rejects with StorageError. */
  async enter(): Promise<void> {
    await this.node.enter();
    setNode(this.node.number);
    await this.#restoring;
  }

  /** Hands over its addresses and leaves. Never rejects. */
  async leave(): Promise<void> {
    await this.node.leave().catch((error: unknown) => {
      this.#parts.log.error({ err: error }, 'could not leave the cluster cleanly; the other nodes will detect it');
      this.node.kill();
    });
    this.#relays.close();
  }

  restore(): void {
    const failed = (error: unknown) => this.#parts.log.error({ err: error }, 'could not restore sessions');
    this.#restoring = this.#restoring.then(() => this.#parts.restore()).catch(failed);
  }

  /** Ends the sessions of accounts that move to another node. */
  endSessions(moves: (jid: Jid) => boolean): void {
    if (this.#parts.isStopping()) return;
    const reason = new StreamError('reset', 'The account moves to another node. Connect again.');
    for (const session of [...this.#parts.sessions()]) if (moves(session.jid)) this.#parts.end(session, reason);
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
