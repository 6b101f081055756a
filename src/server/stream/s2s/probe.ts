/**
 * Tests the way to another server for an administrator: DNS, then for each place the connection, TLS, the
 * certificate, the features and the authentication, as far as a stream for stanzas would get. No stanza is sent.
 */
import { abortable } from '../../clock.js';
import { NS } from '../../stanza/ns.js';
import type { Upgradable } from '../../transport/transport.js';
import { childrenOf, type Element, el, elementOf } from '../../xml/element.js';
import type { TopLevel } from '../../xml/reader.js';
import { type DialbackKeys, domainOf } from './dialback.js';
import { type TlsFacts, tlsFacts } from './inspection.js';
import type { DnsResolver } from './lookups.js';
import { type OutgoingParts, OutgoingStream, type Pair, type Task } from './outgoing.js';
import { type Place, UnresolvedError } from './resolve.js';

/** A certificate as far as a test has to know it. */
export interface ProbedCertificate {
  readonly subject: string;
  readonly issuer: string;
  readonly names: readonly string[];
  /** ISO 8601. */
  readonly notBefore: string;
  readonly notAfter: string;
  readonly problems: readonly { readonly check: string; readonly what: string }[];
}

export interface ProbeConnection extends Upgradable {
  /** Why its TLS handshake failed. */
  readonly tlsError: Error | undefined;
}

export interface ProbeParts extends Omit<OutgoingParts, 'closed'> {
  readonly keys: DialbackKeys;
  /** Where the server is, by these answers of DNS. Rejects with UnresolvedError. */
  resolve(domain: string, dns: DnsResolver, signal: AbortSignal): Promise<readonly Place[]>;
  readonly dns: DnsResolver;
  /** Rejects soon after the signal has aborted. */
  connect(pair: Pair, place: Place, ms: number, signal: AbortSignal): Promise<ProbeConnection>;
  /** The certificate of the peer; undefined if it has none. Called before `certifies`. */
  certificate(connection: ProbeConnection, domain: string): ProbedCertificate | undefined;
  /** The monotonic clock, in ms. */
  now(): number;
}

/** A question to DNS. */
export interface Lookup {
  /** "SRV _xmpp-server._tcp.example.org", "addresses of xmpp.example.org". */
  readonly question: string;
  readonly answers: readonly string[];
  /** The code of the resolver, if there was no answer. */
  readonly error: string | null;
}

/** The step that failed. `stream`: the headers and features. `accepted`: none did, the other server takes stanzas. */
export type Stage = 'untried' | 'connection' | 'tls' | 'stream' | 'certificate' | 'authentication' | 'accepted';

/** What a place did. Each field is null until its step has been done. */
export interface PlaceReport {
  readonly address: string;
  readonly port: number;
  readonly directTls: boolean;
  /** The name in the ClientHello, if it is not the domain. */
  readonly servername: string | null;
  stage: Stage;
  connectMs: number | null;
  tls: TlsFacts | null;
  certificate: ProbedCertificate | null;
  /** Names of the features after TLS. */
  features: readonly string[] | null;
  mechanisms: readonly string[];
  dialback: boolean;
  /** How the other server refused SASL EXTERNAL. */
  externalRefused: string | null;
  /** "invalid", or the condition of the error (XEP-0220 §2.5). */
  dialbackRefused: string | null;
  authentication: 'EXTERNAL' | 'dialback' | null;
  /** A stream error of the other server. */
  streamError: string | null;
  /** Of the system or of TLS: its code, or its text. */
  error: string | null;
}

export interface ProbeReport {
  readonly domain: string;
  readonly from: string;
  readonly accepted: boolean;
  /** The policy of this server forbids streams with the domain; nothing was tried. */
  readonly denied: boolean;
  /** Whether the other server needs a valid certificate. */
  readonly requiresCertificate: boolean;
  readonly lookups: readonly Lookup[];
  /** Why there is no place to connect to. */
  readonly unresolved: { readonly reason: UnresolvedError['reason']; readonly what: string } | null;
  readonly places: readonly PlaceReport[];
}

type Found = { readonly places: readonly Place[] } | NonNullable<ProbeReport['unresolved']>;

/** Places that are tested at the same time. */
const mostAtOnce = 4;
/** How long a connection may take, in ms. */
const connectMs = 10_000;

export class Prober {
  readonly #parts: ProbeParts;
  readonly #streams = new Set<OutgoingStream>();
  readonly #stop = new AbortController();
  /** Tests in progress. */
  running = 0;

  constructor(parts: ProbeParts) {
    this.#parts = parts;
  }

  /** `ms`: the time limit. Never rejects for a fault of the network or of the other server. */
  async probe(pair: Pair, ms: number, progress: (text: string) => void): Promise<ProbeReport> {
    const deadline = this.#parts.now() + ms;
    this.running++;
    try {
      return await this.#probe(pair, deadline, progress);
    } finally {
      this.running--;
    }
  }

  async #probe(pair: Pair, deadline: number, progress: (text: string) => void): Promise<ProbeReport> {
    const { policy } = this.#parts;
    const denied = policy.denies(pair.from, pair.to);
    const requiresCertificate = policy.requiresCertificate(pair.from, pair.to);
    const about = { domain: pair.to, from: pair.from, denied, requiresCertificate };
    if (denied) return { ...about, accepted: false, lookups: [], unresolved: null, places: [] };
    const lookups: Lookup[] = [];
    progress(`looking up ${pair.to}`);
    const found = await this.#placesBy(deadline, pair.to, lookups);
    const places = 'places' in found ? found.places.map(newReport) : [];
    const queue = [...places];
    const work = async () => {
      for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
        if (this.#stop.signal.aborted || this.#parts.now() >= deadline) return;
        progress(`connecting to ${next.address} port ${next.port}`);
        await this.#test(pair, next, deadline);
      }
    };
    await Promise.all(Array.from({ length: mostAtOnce }, work));
    return {
      ...about,
      accepted: places.some(({ stage }) => stage === 'accepted'),
      lookups: [...lookups].sort((a, b) => (a.question < b.question ? -1 : 1)),
      unresolved: 'places' in found ? null : found,
      places,
    };
  }

  /** DNS has its own timeouts, which may add up to more than the time limit. */
  async #placesBy(deadline: number, domain: string, lookups: Lookup[]): Promise<Found> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<Found>((resolve) => {
      const give = () => resolve({ reason: 'unknown', what: 'DNS did not answer within the time limit' });
      timer = setTimeout(give, Math.max(1, deadline - this.#parts.now()));
    });
    try {
      return await Promise.race([this.#places(domain, lookups), late]);
    } finally {
      clearTimeout(timer);
    }
  }

  async #places(domain: string, lookups: Lookup[]): Promise<Found> {
    try {
      return { places: await this.#parts.resolve(domain, recorded(this.#parts.dns, lookups), this.#stop.signal) };
    } catch (error) {
      if (!(error instanceof UnresolvedError)) throw error;
      return { reason: error.reason, what: error.message };
    }
  }

  async #test(pair: Pair, report: PlaceReport, deadline: number): Promise<void> {
    const { now } = this.#parts;
    const place: Place = {
      address: report.address,
      port: report.port,
      isDirectTls: report.directTls,
      ...(report.servername !== null && { servername: report.servername }),
    };
    const startedAt = now();
    report.stage = 'connection';
    let connection: ProbeConnection;
    const ms = Math.max(1, Math.min(connectMs, deadline - startedAt));
    try {
      connection = await this.#parts.connect(pair, place, ms, this.#stop.signal);
    } catch (error) {
      report.error = codeOf(error as Error);
      return;
    }
    report.connectMs = Math.round(now() - startedAt);
    report.stage = 'tls';
    if (report.directTls && !(await this.#handshake(connection, report, deadline))) return;
    await this.#negotiate(pair, connection, report, deadline);
    report.tls ??= tlsFacts(connection);
    if (connection.tlsError !== undefined) report.error = codeOf(connection.tlsError);
  }

  /** Direct TLS (XEP-0368). Resolves with whether it succeeded. */
  async #handshake(connection: ProbeConnection, report: PlaceReport, deadline: number): Promise<boolean> {
    const left = Math.max(1, deadline - this.#parts.now());
    const error = await abortable(left, this.#stop.signal, (signal) => {
      signal.addEventListener('abort', () => connection.destroy(), { once: true });
      return new Promise<Error | undefined>((resolve) => connection.startTls(resolve));
    });
    if (error === undefined) return true;
    report.error = this.#parts.now() >= deadline ? 'no answer in time' : codeOf(error);
    connection.destroy();
    return false;
  }

  #negotiate(pair: Pair, connection: ProbeConnection, report: PlaceReport, deadline: number): Promise<void> {
    return new Promise((resolve) => {
      const task = new Attempt(this.#parts, connection, report, resolve);
      const parts: OutgoingParts = {
        ...this.#parts,
        // The attempt checks the certificate itself, to report more than that it is invalid.
        certifies: () => true,
        closed: (stream) => void this.#streams.delete(stream),
      };
      const stream = new ProbeStream(connection, parts, pair, task, { since: this.#parts.now(), settled() {} });
      stream.report = report;
      this.#streams.add(stream);
      const left = Math.max(1, deadline - this.#parts.now());
      const timer = setTimeout(() => stream.fail('no answer in time'), left).unref();
      task.finished = () => clearTimeout(timer);
    });
  }

  /** Called once a second. `now` is in ms of the monotonic clock. */
  sweep(now: number): void {
    for (const stream of this.#streams) stream.sweep(now);
  }

  /** Drops all connections, and makes none any more. */
  abandon(): void {
    this.#stop.abort();
    for (const { xml } of this.#streams) xml.abandon();
  }
}

class ProbeStream extends OutgoingStream {
  report: PlaceReport | undefined;

  /** RFC 6120 §4.9. */
  override blamed(error: TopLevel): void {
    super.blamed(error);
    const condition = childrenOf(elementOf(error)).find((child) => child.getNS() === NS.streams);
    if (this.report !== undefined) this.report.streamError = condition?.getName() ?? 'undefined-condition';
  }
}

/** Authenticates as a stream for stanzas does, and closes the stream. */
class Attempt implements Task {
  readonly #parts: ProbeParts;
  readonly #connection: ProbeConnection;
  readonly #report: PlaceReport;
  readonly #resolve: () => void;
  finished: () => void = () => {};

  constructor(parts: ProbeParts, connection: ProbeConnection, report: PlaceReport, resolve: () => void) {
    this.#parts = parts;
    this.#connection = connection;
    this.#report = report;
    this.#resolve = resolve;
  }

  ready(stream: OutgoingStream, features: Element): void {
    const report = this.#report;
    if (report.authentication === 'EXTERNAL') {
      this.#accepted(stream);
      return;
    }
    if (report.features !== null) {
      stream.fail('The server sent its stream features at a wrong time.');
      return;
    }
    report.tls = tlsFacts(this.#connection);
    report.certificate = this.#parts.certificate(this.#connection, stream.pair.to) ?? null;
    report.features = childrenOf(features).map((child) => child.getName());
    report.mechanisms = (features.getChild('mechanisms', NS.sasl)?.getChildren('mechanism') ?? []).map((one) =>
      one.getText(),
    );
    report.dialback = stream.hasDialback;
    report.stage = 'certificate';
    // An impostor could forward our key to the real server, and so impersonate us.
    const { from, to } = stream.pair;
    const isRequired = this.#parts.policy.requiresCertificate(from, to);
    if (isRequired && !this.#parts.certifies(this.#connection, to)) {
      stream.fail('The certificate of the server is not valid for its domain.');
      return;
    }
    report.stage = 'authentication';
    if (!report.mechanisms.includes('EXTERNAL')) {
      this.#dialBack(stream);
      return;
    }
    const identity = Buffer.from(from).toString('base64');
    stream.xml.writeElement(el('auth', { xmlns: NS.sasl, mechanism: 'EXTERNAL' }, identity));
  }

  #dialBack(stream: OutgoingStream): void {
    if (!stream.hasDialback) {
      stream.fail('The server offers neither SASL EXTERNAL nor dialback.');
      return;
    }
    const { from, to } = stream.pair;
    const key = this.#parts.keys.make({ receiving: to, originating: from, streamId: stream.id });
    stream.xml.writeElement(el('db:result', { from, to }, key));
  }

  element(stream: OutgoingStream, item: TopLevel): void {
    const report = this.#report;
    if (report.stage !== 'authentication') return;
    if (item.ns === NS.sasl && item.name === 'success') {
      report.authentication = 'EXTERNAL';
      stream.xml.restart();
      stream.begin();
    } else if (item.ns === NS.sasl && item.name === 'failure' && report.externalRefused === null) {
      report.externalRefused = childrenOf(elementOf(item))[0]?.getName() ?? 'unknown';
      this.#dialBack(stream);
    } else if (item.ns === NS.dialback && item.name === 'result') this.#result(stream, item);
  }

  #result(stream: OutgoingStream, item: TopLevel): void {
    const { attrs } = item;
    const { from, to } = stream.pair;
    if (domainOf(attrs.from) !== to || domainOf(attrs.to) !== from) return;
    if (attrs.type === 'valid') {
      this.#report.authentication = 'dialback';
      this.#accepted(stream);
      return;
    }
    const error = elementOf(item).getChild('error');
    const condition = error && childrenOf(error).find((child) => child.getNS() === NS.stanzas);
    this.#report.dialbackRefused = attrs.type === 'invalid' ? 'invalid' : (condition?.getName() ?? 'unknown');
    stream.fail('The server did not accept our dialback key.');
  }

  #accepted(stream: OutgoingStream): void {
    this.#report.stage = 'accepted';
    stream.xml.close();
  }

  drained(): void {}
  sweep(): void {}

  ended({ text }: { readonly text?: string | undefined }): void {
    const report = this.#report;
    if (report.stage === 'tls' && this.#connection.tlsError === undefined) report.stage = 'stream';
    if (report.stage !== 'accepted') report.error ??= text ?? null;
    this.finished();
    this.#resolve();
  }

  isIdle(): boolean {
    return true;
  }
}

const newReport = ({ address, port, isDirectTls, servername }: Place): PlaceReport => ({
  address,
  port,
  directTls: isDirectTls,
  servername: servername ?? null,
  stage: 'untried',
  connectMs: null,
  tls: null,
  certificate: null,
  features: null,
  mechanisms: [],
  dialback: false,
  externalRefused: null,
  dialbackRefused: null,
  authentication: null,
  streamError: null,
  error: null,
});

/** A resolver that notes each question and its answer. */
function recorded(dns: DnsResolver, lookups: Lookup[]): DnsResolver {
  const note = async <T>(question: string, asked: Promise<readonly T[]>, show: (one: T) => string) => {
    try {
      const answers = await asked;
      lookups.push({ question, answers: answers.map(show), error: null });
      return answers;
    } catch (error) {
      lookups.push({ question, answers: [], error: codeOf(error as Error) });
      throw error;
    }
  };
  return {
    srv: (name) =>
      note(`SRV ${name}`, dns.srv(name), ({ priority, weight, port, name: target }) =>
        [priority, weight, port, target === '' ? '.' : target].join(' '),
      ),
    addresses: (name) => note(`addresses of ${name}`, dns.addresses(name), (address) => address),
  };
}

/** The code of a system error, else its text. */
const codeOf = ({ code, message }: NodeJS.ErrnoException): string => code ?? message;
