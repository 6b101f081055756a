/** What administrators see and do at all nodes of the cluster; of a single server at this one. */
import { z } from 'zod';
import type { Jid } from './address/jid.js';
import { monotonic } from './clock.js';
import type { ClusterNode } from './cluster/node.js';
import { defineQuestion } from './module/index.js';
import type { SessionDirectory } from './routing/directory.js';
import { type Answerer, answererOf } from './routing/hooks.js';
import type { LocalHost } from './routing/host.js';
import type { Session } from './routing/session.js';

export interface SessionData {
  readonly jid: string;
  /** ISO 8601. */
  readonly since: string;
  /** False if it hibernates (XEP-0198). */
  readonly connected: boolean;
  readonly transport: string | null;
  readonly secure: boolean | null;
  readonly address: string | null;
  /** The SASL mechanism. */
  readonly mechanism: string;
  /** Null if unavailable. */
  readonly priority: number | null;
  /** The node where its account lives; null without a cluster. */
  readonly node: string | null;
}

/** What a node says about itself. */
export interface NodeState {
  readonly node: string;
  readonly pid: number;
  readonly version: string;
  readonly uptimeSeconds: number;
  readonly sessions: number;
  readonly hibernating: number;
  /** Connections of clients. */
  readonly connections: number;
  /** Bytes. */
  readonly rss: number;
  /** Frames that other nodes have not confirmed. */
  readonly unconfirmed: number;
}

/** A member of the cluster. */
export interface MemberData {
  readonly node: string;
  readonly address: string;
  readonly version: string;
  /** How many of the slots live there. */
  readonly slots: number;
  /** `unreachable`: this node gets no sign of life. `drained`: it has handed over everything. */
  readonly state: 'serving' | 'draining' | 'drained' | 'unreachable';
  /** Null if it does not answer: a node without slots is not asked. */
  readonly about: NodeState | null;
}

const aboutNodes = defineQuestion({
  name: 'cluster.nodes',
  given: z.null(),
  // Written by a node of the same program.
  answer: z.custom<NodeState>(),
});

const aboutSessions = defineQuestion({
  name: 'cluster.sessions',
  given: z.object({ bare: z.string().optional(), limit: z.int().min(0) }),
  answer: z.custom<readonly SessionData[]>(),
});

const ending = defineQuestion({
  name: 'cluster.end-sessions',
  /** `full`: one session. */
  given: z.object({ full: z.string().optional(), reason: z.string().optional() }),
  answer: z.array(z.string()),
});

/** This server. */
interface Here {
  readonly sessions: Pick<SessionDirectory, 'all' | 'of' | 'size'>;
  readonly connections: Readonly<Record<string, number>>;
  readonly hibernating: number;
  readonly version: string;
  readonly started: number;
  readonly node: ClusterNode | undefined;
  kick(session: Session, text?: string): void;
}

export class Nodes {
  readonly #here: Here;
  readonly #hosts: ReadonlyMap<string, LocalHost>;
  /** Answers the other nodes. */
  readonly answerers: readonly Answerer[];

  constructor(here: Here, hosts: ReadonlyMap<string, LocalHost>) {
    this.#here = here;
    this.#hosts = hosts;
    this.answerers = [
      answererOf(aboutNodes, () => this.#state),
      answererOf(aboutSessions, (asked) => this.#sessions(asked)),
      answererOf(ending, (asked, owner) => this.#end(asked, owner)),
    ];
  }

  /** The members of the cluster, by name; none of a single server. */
  async members(): Promise<readonly MemberData[]> {
    const { node } = this.#here;
    if (node === undefined) return [];
    // A node that does not answer is shown without its state.
    const states = await Promise.resolve(this.#host.askNodes(aboutNodes, null)).catch(() => [this.#state]);
    const { members, slots } = node.view;
    const described = members.map((member): MemberData => {
      const has = slots.filter((number) => number === member.number).length;
      const going = has > 0 ? 'draining' : 'drained';
      return {
        node: member.id,
        address: member.address,
        version: member.version,
        slots: has,
        state: !node.hears(member) ? 'unreachable' : member.isLeaving ? going : 'serving',
        about: states.find((one) => one.node === member.id) ?? null,
      };
    });
    return described.sort((one, other) => (one.node < other.node ? -1 : 1));
  }

  /** Sessions of an account, or all; at most `limit`. Rejects with StanzaError if a node does not answer. */
  async sessions(jid: Jid | undefined, limit: number): Promise<readonly SessionData[]> {
    if (jid !== undefined) return this.#host.askHome(aboutSessions, jid.toBare(), { bare: jid.bare, limit });
    const answers = await this.#host.askNodes(aboutSessions, { limit });
    return answers.flat().slice(0, limit);
  }

  /** Ends a session, or all of an account. Resolves with their full JIDs. Rejects with StanzaError. */
  async end(jid: Jid, reason: string | undefined): Promise<readonly string[]> {
    return this.#host.askHome(ending, jid.toBare(), { full: jid.isBare ? undefined : jid.full, reason });
  }

  /** Questions are asked in the name of a host, whichever. */
  get #host(): LocalHost {
    const [host] = this.#hosts.values();
    return host!;
  }

  get #state(): NodeState {
    const { node, version, started, sessions, hibernating, connections } = this.#here;
    return {
      node: node?.name.id ?? '',
      pid: process.pid,
      version,
      uptimeSeconds: Math.floor((monotonic() - started) / 1000),
      sessions: sessions.size,
      hibernating,
      connections: Object.values(connections).reduce((sum, count) => sum + count, 0),
      rss: process.memoryUsage.rss(),
      unconfirmed: node?.inspection.unconfirmed ?? 0,
    };
  }

  #sessions({ bare, limit }: z.output<typeof aboutSessions.given>): readonly SessionData[] {
    const { sessions, node } = this.#here;
    const found: SessionData[] = [];
    for (const session of bare === undefined ? sessions.all() : sessions.of(bare)) {
      if (found.length >= limit) break;
      found.push(describeSession(session, node?.name.id ?? null));
    }
    return found;
  }

  #end({ full, reason }: z.output<typeof ending.given>, owner: Jid): string[] {
    const ended = [...this.#here.sessions.of(owner.bare)].filter(({ jid }) => full === undefined || jid.full === full);
    for (const session of ended) this.#here.kick(session, reason);
    return ended.map(({ jid }) => jid.full);
  }
}

function describeSession(session: Session, node: string | null): SessionData {
  const { jid, since, connection, mechanism } = session;
  return {
    jid: jid.full,
    since: new Date(since).toISOString(),
    connected: connection !== undefined,
    transport: connection?.kind ?? null,
    secure: connection?.secure ?? null,
    address: connection?.remoteAddress ?? null,
    mechanism,
    priority: session.available ? session.priority : null,
    node,
  };
}
