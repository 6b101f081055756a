/** Federation: incoming and outgoing streams of other servers. Connects the parts of stream/s2s/. */

import { isIP, type Socket } from 'node:net';
import type { ConnectionOptions, TLSSocketOptions } from 'node:tls';
import { domainToASCII } from 'node:url';
import { monotonic, wall } from './clock.js';
import { addressBlock, networks } from './config/address.js';
import { type Config, isFederated } from './config/schema.js';
import { dial, dialPlace } from './dialing.js';
import { answererAboutPeers } from './federation-nodes.js';
import { Turns } from './limits/turns.js';
import type { Membership } from './membership.js';
import type { DomainFigures, FederationFigures } from './metrics.js';
import type { Admission } from './routing/admission.js';
import { Forwarding } from './routing/forwarding.js';
import type { LocalHost } from './routing/host.js';
import { type Destination, type Router, serverOrigin } from './routing/router.js';
import { type StanzaError, StreamError } from './stanza/errors.js';
import type { Stanza } from './stanza/stanza.js';
import type { StreamParts } from './stream/handler.js';
import type { ArrivalsParts } from './stream/s2s/arrivals.js';
import { outboxBounds } from './stream/s2s/delivery.js';
import { DialbackKeys } from './stream/s2s/dialback.js';
import { DomainCounts } from './stream/s2s/domains.js';
import { readHostMeta } from './stream/s2s/host-meta.js';
import { type IncomingParts, IncomingStream } from './stream/s2s/incoming.js';
import { type Pause, remoteOf, type ServerStream, stateOf } from './stream/s2s/inspection.js';
import { type DnsResolver, dnsResolver, type OwnResolver } from './stream/s2s/lookups.js';
import type { Dialed } from './stream/s2s/openings.js';
import type { Pair } from './stream/s2s/outgoing.js';
import { Policy, type PolicyFacts } from './stream/s2s/policy.js';
import { type ProbeReport, Prober } from './stream/s2s/probe.js';
import { Remotes } from './stream/s2s/remotes.js';
import { type Place, resolve } from './stream/s2s/resolve.js';
import { ServerSessions } from './stream/s2s/sessions.js';
import { Visits } from './stream/s2s/visits.js';
import type { Certificates } from './tls/certificates.js';
import { inspectPeer } from './tls/peer.js';
import { certifiesServer } from './tls/server.js';
import type { Hello } from './transport/client-hello.js';
import { peerOf } from './transport/peer.js';
import { beforeFlush, type Transport } from './transport/transport.js';

export interface FederationParts extends StreamParts {
  config(): Config;
  readonly admission: Admission;
  readonly router: Router;
  /** The cluster that the server is a node of. */
  readonly membership: Membership | undefined;
  readonly certificates: Certificates;
  /** The host that a local domain belongs to. */
  host(domain: string): LocalHost;
  tlsFailed(): void;
}

const sweepMs = 1000;
/**
 * The shortest time between two streams that are opened, and between two TLS handshakes that are answered, in ms: each
 * takes some of CPU time, in which nothing else happens (bench/RESULTS.md).
 */
const openingPauseMs = 8;
const handshakePauseMs = 4;
/** A server that has not answered for so long makes room for others, in ms. */
const longestOpeningMs = 2000;
/** Remote domains with counts of their own. */
const namedDomains = 100;
/** Tests of other servers that may be in progress. */
const mostTests = 4;
/** The name of the other domains in metrics: not a domain. */
const otherDomains = '(others)';

/** Why the configuration has no streams to and from other servers. Returns undefined if it has. */
export function whyAlone(config: Config): string | undefined {
  if (isFederated(config)) return undefined;
  return config.s2s.enabled === 'auto'
    ? 'no host is a public domain (s2s.enabled = "auto")'
    : 'the configuration turns it off (s2s.enabled = false)';
}

export class Federation {
  readonly #parts: FederationParts;
  readonly #incomingParts: IncomingParts;
  readonly #incoming = new Set<IncomingStream>();
  readonly #sessions: ServerSessions;
  readonly #remotes: Remotes;
  /** The way to other servers: in a cluster it leads to the homes of their domains. */
  readonly #way: Destination;
  readonly #forwarding: Forwarding | undefined;
  readonly #policy: Policy;
  readonly #visits: Visits;
  readonly #timer: NodeJS.Timeout;
  readonly #before: Destination;
  readonly #prober: Prober;
  /** When streams are opened, and when those of others get their TLS handshake. */
  readonly #opening: Turns;
  readonly #dns: OwnResolver;
  #isClosed = false;
  readonly #handshakes = new Turns({ most: () => 1, pauseMs: handshakePauseMs, longestMs: handshakePauseMs });
  readonly domains = new DomainCounts(namedDomains, monotonic());

  /** Registers itself as the router's destination for remote domains. */
  constructor(parts: FederationParts) {
    this.#parts = parts;
    const { router, certificates, host, membership } = parts;
    const { dialback_secret, dns_servers } = parts.config().s2s;
    const keys = new DialbackKeys(dialback_secret || (membership?.dialbackSecret ?? ''));
    this.#dns = dnsResolver(dns_servers);
    this.#policy = new Policy(parts);
    this.#opening = new Turns({
      most: () => parts.config().s2s.connecting_streams,
      pauseMs: openingPauseMs,
      longestMs: longestOpeningMs,
    });
    this.#visits = new Visits({ ...parts, policy: this.#policy, certifies: certifiesServer });
    const hosts = new Map<string, LocalHost>();
    /** Of a local domain, which keeps its host. */
    const hostOf = (domain: string): LocalHost => {
      let found = hosts.get(domain);
      if (found === undefined) hosts.set(domain, (found = host(domain)));
      return found;
    };
    const arrivals: ArrivalsParts = {
      ...parts,
      domains: this.domains,
      host: (domain) => (router.destination(domain) === router.remote ? undefined : hostOf(domain)),
      arrive: (stanza, origin) => router.arrive(stanza, origin),
    };
    const refuse = (stanza: Stanza, error: StanzaError) =>
      host(stanza.from!.domain).refuse(stanza, error, serverOrigin);
    this.#remotes = new Remotes({
      ...parts,
      arrivals,
      policy: this.#policy,
      keys,
      domains: this.domains,
      certifies: certifiesServer,
      dial: (pair, signal, places) => this.#dial(pair, signal, places),
      turns: this.#opening,
      beforeFlush,
      refuse,
    });
    this.#forwarding =
      membership &&
      new Forwarding({
        inner: this.#remotes,
        homeOf: (domain) => membership.node.toAsk(domain),
        departures: membership.departures,
        bounds: () => outboxBounds(parts.config()),
        budget: { most: () => parts.config().s2s.queue_bytes, used: 0 },
        limitHit: () => parts.limitHit('s2s.queue_bytes'),
        refuse,
      });
    this.#way = this.#forwarding ?? this.#remotes;
    this.#sessions = new ServerSessions({
      bounds: () => outboxBounds(parts.config()),
      limitHit: (limit) => parts.limitHit(limit),
      ended: (sm) => this.#remotes.sessionEnded(sm),
    });
    this.#incomingParts = {
      ...parts,
      ...arrivals,
      policy: this.#policy,
      carriers: this.#remotes,
      visits: this.#visits,
      sessions: this.#sessions,
      keys,
      certifies: certifiesServer,
      verify: async (claim, key) => {
        const verdict = await this.#remotes.verify(claim, key);
        if (verdict !== 'valid') this.domains.failed(claim.originating, 'verification', false);
        return verdict;
      },
      proved: (domain) => this.#remotes.isBack(domain),
      closed: (stream) => void this.#incoming.delete(stream),
      peers: membership?.peers,
    };
    membership?.peers.serve('server', (transport, at) => this.connected(transport, at));
    if (membership !== undefined)
      membership.streams = { halt: (moves) => this.#halt(moves), go: () => this.#forwarding?.go() };
    this.#prober = new Prober({
      ...parts,
      policy: this.#policy,
      keys,
      certifies: certifiesServer,
      dns: this.#dns,
      resolve: (domain, resolver, signal) => this.#resolve(domain, resolver, signal),
      connect: (pair, place, ms, signal) => dialPlace(place, this.#tlsTo(pair), ms, signal),
      certificate: (connection, domain) => inspectPeer(connection, domain, wall()),
      now: monotonic,
    });
    for (const domain of Object.keys(parts.config().hosts)) host(domain).hooks.answer(answererAboutPeers(this));
    this.#before = router.remote;
    router.remote = this.#way;
    router.isDenied = (local, remote) => this.#policy.denies(local, remote);
    router.peerStreams = () =>
      this.describe()
        .filter(({ state }) => state === 'open')
        .flatMap(({ pairs, direction }) => pairs.map((pair) => ({ ...pair, direction })));
    this.#timer = setInterval(() => this.#sweep(monotonic()), sweepMs).unref();
    this.tls = (hello) => ({
      secureContext: certificates.contextForServers(hello === 'unreadable' ? undefined : hello.servername),
      requestCert: true,
      // The stream checks the certificate: a peer without a valid one can still use dialback.
      rejectUnauthorized: false,
    });
  }

  /** TLS options for an incoming connection. */
  readonly tls: (hello: Hello) => TLSSocketOptions;

  /** When a connection's handshake may begin. The addresses take turns. */
  handshake(socket: Socket): (answer: () => void) => () => void {
    const holder = addressBlock(peerOf(socket).address);
    return (answer) =>
      this.#handshakes.take(holder, (done) => {
        done();
        answer();
      });
  }

  /** The number of incoming and outgoing streams. */
  get size(): number {
    return this.#incoming.size + this.#remotes.streams;
  }

  get figures(): FederationFigures {
    const { streams, waitingBytes } = this.#remotes;
    const { refusals } = this.#policy;
    return {
      incoming: this.#incoming.size,
      unauthenticated: this.#visits.unproved,
      outgoing: streams,
      delayed: { incoming: this.#handshakes.waiting, outgoing: this.#opening.waiting },
      waitingBytes: waitingBytes + (this.#forwarding?.waitingBytes ?? 0),
      refusals,
      domains: () => this.#domainFigures(),
    };
  }

  /** What the policy is for a remote domain, by the hosts for which it is the same. */
  policies(domain: string): (PolicyFacts & { readonly hosts: readonly string[] })[] {
    const found = new Map<string, PolicyFacts & { readonly hosts: string[] }>();
    for (const host of Object.keys(this.#parts.config().hosts)) {
      const facts = this.#policy.explain(host, domain);
      const key = JSON.stringify(facts);
      const known = found.get(key);
      if (known === undefined) found.set(key, { ...facts, hosts: [host] });
      else known.hosts.push(host);
    }
    return [...found.values()];
  }

  /** Starts an incoming stream. `at` is the time of the accept, in ms (`monotonic`). */
  connected(transport: Transport, at: number): void {
    if (this.#isClosed || this.#parts.router.remote !== this.#way) {
      transport.destroy();
      return;
    }
    const stream = new IncomingStream(transport, this.#incomingParts, at);
    this.#incoming.add(stream);
    stream.visit.enters();
  }

  async #dial(pair: Pair, signal: AbortSignal, places?: readonly Place[]): Promise<Dialed> {
    return dial(places ?? (await this.#resolve(pair.to, this.#dns, signal)), this.#tlsTo(pair), signal);
  }

  #resolve(domain: string, dns: DnsResolver, signal: AbortSignal): Promise<readonly Place[]> {
    const { s2s } = this.#parts.config();
    return resolve(domain, {
      dns,
      override: (name) => (Object.hasOwn(s2s.connect, name) ? s2s.connect[name] : undefined),
      allowed: () => networks(s2s.allow_networks),
      hostMeta: s2s.host_meta
        ? (name, addresses) =>
            readHostMeta(name, addresses, this.#parts.certificates.contextForServers(undefined), signal)
        : undefined,
    });
  }

  /** How a connection to another server becomes a TLS one. */
  #tlsTo({ from, to }: Pair): ConnectionOptions {
    const name = domainToASCII(to);
    return {
      secureContext: this.#parts.certificates.contextForServers(domainToASCII(from)),
      // RFC 6066 §3: SNI carries names only, no IP addresses.
      ...(name === '' || name.startsWith('[') || isIP(name) !== 0 ? {} : { servername: name }),
      // The stream checks the certificate.
      rejectUnauthorized: false,
    };
  }

  #sweep(now: number): void {
    for (const stream of this.#incoming) stream.sweep(now);
    this.#remotes.sweep(now);
    this.#prober.sweep(now);
    this.domains.sweep(now);
    this.#sessions.sweep(now);
  }

  #domainFigures(): DomainFigures[] {
    const { named, others } = this.domains;
    const streams = new Map<string, { incoming: number; outgoing: number }>();
    const count = (remote: string | undefined, direction: 'incoming' | 'outgoing') => {
      const domain = remote !== undefined && named.has(remote) ? remote : otherDomains;
      const counts = streams.get(domain) ?? { incoming: 0, outgoing: 0 };
      streams.set(domain, counts);
      counts[direction]++;
    };
    for (const { remote } of this.#incoming) count(remote, 'incoming');
    for (const remote of this.#remotes.remotes()) count(remote, 'outgoing');
    return [...named, [otherDomains, others] as const].map(([domain, counts]) => ({
      domain,
      ...(streams.get(domain) ?? { incoming: 0, outgoing: 0 }),
      ...counts,
    }));
  }

  /**
   * Tests the way from a local domain to a remote one. `ms`: the time limit. Returns undefined if too many tests are in
   * progress.
   */
  test(pair: Pair, ms: number, progress: (text: string) => void): Promise<ProbeReport> | undefined {
    return this.#prober.running >= mostTests ? undefined : this.#prober.probe(pair, ms, progress);
  }

  /** Whether it is a domain of a host, or of a service or component. */
  isLocal(domain: string): boolean {
    return this.#incomingParts.host(domain) !== undefined;
  }

  // --- administration ---------------------------------------------------------------------------------------------

  /** All streams, sorted by remote domain. */
  describe(): ServerStream[] {
    const all = [...[...this.#incoming].map((stream) => stream.describe()), ...this.#remotes.describe()];
    const keyed = all.map((stream) => ({ stream, key: remoteOf(stream) }));
    return keyed.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0)).map(({ stream }) => stream);
  }

  /** Local domains for which no stream to a remote domain is opened at present. */
  pauses(domain: string): Pause[] {
    return this.#remotes.pauses(domain);
  }

  /** Closes all streams with a remote domain and ends its back-off. Returns how many streams it closed. */
  kick(domain: string): number {
    const incoming = [...this.#incoming].filter((stream) => stream.isOf(domain) && stateOf(stream.xml) !== 'closing');
    for (const stream of incoming) stream.close(new StreamError('reset', 'An administrator closed the stream.'));
    return incoming.length + this.#remotes.kick(domain);
  }

  // --- ends -------------------------------------------------------------------------------------------------------

  /**
   * A port cannot be opened, and the configuration allows to start without: the router sends nothing to other servers
   * from now on. They could not answer, and dialback would fail. Returns why there is no federation.
   */
  withdraw(error: Error): string {
    this.#parts.log.error(
      { err: error },
      'a port for other servers cannot be opened, so the server starts without them',
    );
    this.#parts.router.remote = this.#before;
    this.close();
    this.abandon();
    return error.message;
  }

  /** Stops reading stanzas. Resolves once those already read have been handled. */
  async stopTaking(): Promise<void> {
    await Promise.all([
      this.#remotes.stopTaking(),
      this.#remotes.whenSent('open'),
      ...[...this.#incoming].map((stream) => stream.stopTaking()),
    ]);
    // While their senders are still connected. Other nodes would send them.
    if (this.#parts.membership?.hasOthers !== true) this.#remotes.returnUnsent();
  }

  /** Resolves once every stanza for another server was sent, and acknowledged where it is managed, or refused. */
  async whenSent(): Promise<void> {
    await this.#remotes.whenSent('all');
  }

  /**
   * The streams of some remote domains move to other nodes: what was not sent yet will go there. Incoming streams stay:
   * what they bring goes there as well.
   */
  #halt(moves: (remote: string) => boolean): void {
    this.#forwarding?.halt(moves);
    this.#forwarding?.return(this.#remotes.surrender(moves));
  }

  /** Closes all streams with `system-shutdown`. Stanzas that wait go to the nodes that take over, if there are any. */
  close(): void {
    this.#isClosed = true;
    if (this.#parts.membership?.hasOthers === true) {
      this.#forwarding?.stop();
      this.#forwarding?.return(this.#remotes.surrender(() => true));
    }
    this.#remotes.close();
    this.#dns.cancel();
    for (const stream of this.#incoming) stream.close(new StreamError('system-shutdown'));
  }

  /** Drops the remaining connections. */
  abandon(): void {
    clearInterval(this.#timer);
    for (const { xml } of this.#incoming) xml.abandon();
    this.#remotes.abandon();
    this.#prober.abandon();
  }
}
