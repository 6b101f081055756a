/** What sessions need of the server. */
import type { Logger } from 'pino';
import type { Jid } from '../../address/jid.js';
import type { Config } from '../../config/schema.js';
import type { Queues } from '../../limits/queues.js';
import type { Returns } from '../../limits/returns.js';
import type { SessionDirectory } from '../../routing/directory.js';
import type { LocalHost } from '../../routing/host.js';
import type { Receipt } from '../../routing/link.js';
import type { Session } from '../../routing/session.js';
import { StreamError } from '../../stanza/errors.js';
import type { Stanza } from '../../stanza/stanza.js';
import type { Transport, TransportReader } from '../../transport/transport.js';
import type { FollowedSession } from '../c2s/stream.js';
import type { StreamCounts } from '../counts.js';
import type { NextHome } from '../relayed.js';
import type { Resumables } from '../xep-0198-resumables.js';

export interface SessionsCluster {
  /** The name of this process, which another one of this node does not have. */
  readonly nodeName: string;
  /** Whether the process of a name is a member of the cluster. */
  isMember(node: string): boolean;
  /**
   * Whether stanzas that were sent to an account before it came to this node are still being handled: its sessions say
   * nothing before, because answers to that must not come earlier.
   */
  isBehind(account: Jid): boolean;
  readonly gateway: {
    /** The connection of a session goes on at another node: see `Gateway.follow`. */
    follow(transport: Transport, to: NextHome, handOver: (reader: TransportReader) => void): void;
  };
  /** Sends a stanza to a session that is moving to another node. */
  forward(to: Jid, stanza: Stanza, receipt: Receipt | undefined): void;
}

export interface SessionsParts {
  config(): Config;
  host(domain: string): LocalHost | undefined;
  /** Whether this node is the home of the account. */
  isHere(jid: Jid): boolean;
  /** Pending while saved sessions of accounts that have come to this node are read. Never rejects. */
  restoring(): Promise<void> | undefined;
  /** To be called only if this process is a node of a cluster. */
  cluster(): SessionsCluster;
  readonly directory: SessionDirectory;
  readonly resumables: Resumables;
  readonly counts: StreamCounts;
  readonly log: Logger;
  /** Notified when an anonymous session starts, and when the last one of an address has ended. */
  readonly anonymous: {
    started(jid: Jid, address: string): void;
    ended(jid: Jid, notified: Promise<void> | void): void;
    blockOf(bare: string): string | undefined;
    /** The account has moved to another node, or from one. */
    left(bare: string): void;
    arrived(bare: string, block: string): void;
  };
  /** Begins a stream for a session whose connection has followed it. */
  continues(transport: Transport, connectedAt: number, followed: FollowedSession): void;
  /** A session has ended. */
  ended(session: Session): void;
  /** A stored state cannot be read: the owner of the record, and the name of the state. */
  damaged(owner: string, state: string): void;
  /** The pace of new sessions after another node has failed. */
  readonly returns: Returns;
  readonly queues: Queues;
  limitHit(limit: string): void;
}

/** Throws StreamError if another node is the home of the account, or is about to be. */
export function demandHome({ isHere }: Pick<SessionsParts, 'isHere'>, account: Jid): void {
  if (isHere(account)) return;
  throw new StreamError('resource-constraint', 'The account is served by another node. Connect again.');
}
