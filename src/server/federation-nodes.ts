/** What administrators see of other servers, and do with their streams, at all nodes of the cluster. */
import { z } from 'zod';
import { defineQuestion } from './module/index.js';
import type { Answerer } from './routing/hooks.js';
import type { LocalHost } from './routing/host.js';
import type { DomainCounts } from './stream/s2s/domains.js';
import { type Pause, remoteOf, type ServerStream } from './stream/s2s/inspection.js';

/** Most streams in the answer of a node: what an administrator pages through. */
const mostStreams = 10_000;

/** The streams of this node. */
export interface PeersHere {
  /** All streams, sorted by remote domain. */
  describe(): readonly ServerStream[];
  pauses(domain: string): readonly Pause[];
  kick(domain: string): number;
  readonly domains: Pick<DomainCounts, 'named'>;
}

export interface PeersAsked {
  /** Only streams with this domain. */
  readonly domain?: string | undefined;
  /** And with its subdomains. */
  readonly withSubdomains: boolean;
  /** How many streams are wanted, the first by remote domain. */
  readonly most: number;
  /** Closes the streams with the domain, and ends its back-off. */
  readonly kicks: boolean;
}

/** The counts of a domain, which is among the busiest. */
export interface PeerCounts {
  readonly received: number;
  readonly sent: number;
  readonly failures: Readonly<Record<string, number>>;
}

export interface Peers {
  readonly streams: readonly ServerStream[];
  /** Streams in total. */
  readonly total: number;
  /** Of the domain. */
  readonly pauses: readonly Pause[];
  /** Of the domain; null if it has none of its own. */
  readonly counts: PeerCounts | null;
  /** Streams that were closed. */
  readonly closed: number;
}

const aboutPeers = defineQuestion({
  name: 's2s.peers',
  given: z.object({
    domain: z.string().optional(),
    withSubdomains: z.boolean(),
    most: z.int().min(0),
    kicks: z.boolean(),
  }),
  // Written by a node of the same program.
  answer: z.custom<Peers>(),
});

/** Answers for this node. */
export function answererAboutPeers(here: PeersHere): Answerer {
  const handler = (asked: PeersAsked): Peers => look(here, asked);
  return { question: aboutPeers as never, handler: handler as never };
}

/** Asks all nodes. Rejects with StanzaError if one does not answer. */
export async function askAboutPeers(host: Pick<LocalHost, 'askNodes'>, asked: PeersAsked): Promise<Peers> {
  const answers = await host.askNodes(aboutPeers, asked);
  return {
    streams: answers.flatMap(({ streams }) => streams).sort(byRemote),
    total: sum(answers, ({ total }) => total),
    pauses: answers.flatMap(({ pauses }) => pauses),
    counts: answers.map(({ counts }) => counts).reduce(added),
    closed: sum(answers, ({ closed }) => closed),
  };
}

function look(here: PeersHere, { domain, withSubdomains, most, kicks }: PeersAsked): Peers {
  const isWanted = (name: string) =>
    domain === undefined || name === domain || (withSubdomains && name.endsWith(`.${domain}`));
  const streams = here
    .describe()
    .filter((stream) => isWanted(remoteOf(stream)) || stream.pairs.some(({ remote }) => isWanted(remote)));
  const counts = domain === undefined ? undefined : here.domains.named.get(domain);
  return {
    streams: streams.slice(0, Math.min(most, mostStreams)),
    total: streams.length,
    pauses: domain === undefined ? [] : here.pauses(domain),
    counts: counts === undefined ? null : { ...counts, failures: Object.fromEntries(counts.failures) },
    closed: kicks && domain !== undefined ? here.kick(domain) : 0,
  };
}

function byRemote(one: ServerStream, other: ServerStream): number {
  const [a, b] = [remoteOf(one), remoteOf(other)];
  return a < b ? -1 : a > b ? 1 : 0;
}

const sum = (all: readonly Peers[], of: (one: Peers) => number): number => all.reduce((so, one) => so + of(one), 0);

/** A domain has its streams at one node, but may have had them at others. */
function added(one: PeerCounts | null, other: PeerCounts | null): PeerCounts | null {
  if (one === null || other === null) return one ?? other;
  const failures = { ...one.failures };
  for (const [step, count] of Object.entries(other.failures)) failures[step] = (failures[step] ?? 0) + count;
  return { received: one.received + other.received, sent: one.sent + other.sent, failures };
}
