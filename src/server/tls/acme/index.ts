/**
 * Certificates by ACME (RFC 8555) for the hosts that have no files of their own: ordered, renewed in time, and replaced
 * without a restart. The certificate in use stays until the new one has been checked. Orders run one after the other.
 *
 * The private key of a host stays the same, as for self-signed certificates: so a new certificate is one file, which is
 * replaced atomically, and DANE records and pins of the key remain valid. Of a cluster, shared.ts has what its nodes share.
 */
import { X509Certificate } from 'node:crypto';
import { domainToASCII } from 'node:url';
import { isDeepStrictEqual } from 'node:util';
import type { Logger } from 'pino';
import { monotonic, wall } from '../../clock.js';
import { isPrivateName } from '../../config/public-names.js';
import { type Config, orderedHosts } from '../../config/schema.js';
import type { Answerer } from '../../routing/hooks.js';
import { dnsResolver } from '../../stream/s2s/lookups.js';
import { readIfExists } from '../files.js';
import { coversDomain, xmppAddresses } from '../names.js';
import { certificatesIn, filesOf, isSelfSigned, newKey, type PairFiles, writePair } from '../self-signed.js';
import { publicName } from '../served.js';
import type { Authority } from './authority.js';
import type { Challenges } from './challenges.js';
import { AcmeError, UnverifiedError } from './protocol.js';
import { type Failure, FileRecords, noFailure, RecordError, type Records } from './records.js';
import { longestPause, pauseAfter, renewalTime } from './renewal.js';
import type { SharedOrders } from './shared.js';
import type { AcmeStatus } from './status.js';

export interface AcmeParts {
  config(): Config;
  readonly version: string;
  readonly log: Logger;
  /** By host: the domains that its certificate has to prove besides. */
  readonly domains: ReadonlyMap<string, readonly string[]>;
  /** What the nodes of a cluster share; undefined for a single server. */
  readonly shared: SharedOrders | undefined;
  readonly challenges: Challenges;
  /** Runs `write`, which replaces the files of a host, and puts them to use. Rejects if `write` does. */
  replace(write: () => Promise<void>): Promise<void>;
}

const minute = 60_000;
const hour = 60 * minute;
const day = 24 * hour;
/** How often is checked what is due. */
const interval = hour;
/** Let's Encrypt allows 100 names. */
const mostDomains = 100;

/** Whether the time is to come. One further ahead than it can be was written while the clock was wrong. */
const isAhead = (time: number, most: number): boolean => time > wall() && time - wall() <= most;

/** What the next order of a host would be for. */
interface Need {
  readonly domains: readonly string[];
  readonly leftOut: readonly { readonly domain: string; readonly why: string }[];
  /** Undefined if there is none, or a self-signed one. */
  readonly current: X509Certificate | undefined;
  readonly renewAt: number;
}

export class Acme {
  readonly #parts: AcmeParts;
  readonly #records: Records;
  readonly #stopped = new AbortController();
  #failures: Map<string, Failure> | undefined;
  /** By host: the last known need. */
  readonly #needs = new Map<string, Need>();
  /** By host: when the authority would renew the certificate, by its serial number. */
  readonly #windows = new Map<string, { readonly serial: string; start: number; end: number; askAgain: number }>();
  /** By host: when the same failure was last logged, by the monotonic clock. */
  readonly #logged = new Map<string, { readonly error: string; readonly at: number }>();
  /** Orders that were requested and are not done, by host and whether the key is to be new. */
  readonly #requested = new Map<string, Promise<void>>();
  #authority: { readonly config: Config['tls']['acme']; readonly authority: Authority } | undefined;
  /** As of the start or the last reload. */
  #settings: Config['tls']['acme'] | undefined;
  #timer: NodeJS.Timeout | undefined;
  #queue: Promise<void> = Promise.resolve();
  #isStarted = false;
  #pendingLooks = 0;
  /** An order of another node was open when this one looked. */
  #isElsewhere = false;
  /** The next look tries at once what has failed. */
  #isForgiving = false;

  constructor(parts: AcmeParts) {
    this.#parts = parts;
    this.#records = parts.shared?.records ?? new FileRecords(parts.config().data);
  }

  /** Begins to order and renew; the ports are open. */
  start(): void {
    this.#isStarted = true;
    this.#parts.shared?.start();
    this.#settings = this.#parts.config().tls.acme;
    this.#look();
  }

  /** The configuration may have changed: what failed under another one is tried again at once. */
  reload(): void {
    if (!this.#isStarted) return;
    const settings = this.#parts.config().tls.acme;
    this.#isForgiving ||= !isDeepStrictEqual(this.#settings, settings);
    this.#settings = settings;
    this.#look();
  }

  /** Addresses have moved to this node, perhaps those of hosts. */
  gained(): void {
    if (this.#isStarted && this.#pendingLooks < 2) this.#look();
  }

  /** Resolves once nothing is under way. An order that is not done is given up; its account and files stay valid. */
  async close(): Promise<void> {
    this.#isStarted = false;
    clearTimeout(this.#timer);
    this.#stopped.abort();
    await Promise.all([this.#queue, this.#parts.shared?.close()]);
  }

  /** Answers the other nodes. */
  get answerers(): readonly Answerer[] {
    return this.#parts.shared?.answerers(this) ?? [];
  }

  /** Of all hosts, as far as this node knows. */
  get status(): readonly AcmeStatus[] {
    const iso = (ms: number) => new Date(ms).toISOString();
    return orderedHosts(this.#parts.config()).map((host) => {
      const { failures, error, nextAt } = this.#failures?.get(host) ?? noFailure;
      const need = this.#needs.get(host);
      return {
        host,
        renewAt: need === undefined ? null : iso(need.renewAt),
        failures,
        error: error === '' ? null : error,
        nextAttempt: failures === 0 ? null : iso(nextAt),
        leftOut: need?.leftOut ?? [],
      };
    });
  }

  /** Of all hosts, from the nodes that order their certificates. */
  async statuses(): Promise<readonly AcmeStatus[]> {
    return this.#parts.shared?.statuses(this.status) ?? this.status;
  }

  /**
   * Orders a certificate now, due or not; in a cluster at the home of the host. A second call like a pending one waits for
   * that. Rejects with the cause if that fails; the certificate in use stays.
   */
  renew(host: string, { newKey: withNewKey = false }: { readonly newKey?: boolean } = {}): Promise<void> {
    const { shared } = this.#parts;
    const isHere = shared === undefined || shared.isHome(host);
    return isHere ? this.renewHere(host, withNewKey) : shared.renew(host, withNewKey);
  }

  /** The same at this node, wherever the host lives. */
  renewHere(host: string, withNewKey: boolean): Promise<void> {
    const key = `${host} ${withNewKey}`;
    const known = this.#requested.get(key);
    if (known !== undefined) return known;
    if (!this.#isStarted) return Promise.reject(new Error('this server orders no certificates: it does not run'));
    const renewed = this.#inTurn(async () => {
      this.#stopped.signal.throwIfAborted();
      await this.#order(host, true, withNewKey);
    }).finally(() => this.#requested.delete(key));
    this.#requested.set(key, renewed);
    return renewed;
  }

  /** Revokes the certificate in use (RFC 8555 §7.6). `reason` as in RFC 5280 §5.3.1. */
  async revoke(host: string, reason?: number): Promise<void> {
    const current = await this.#current(host);
    if (current === undefined) throw new Error(`${host} has no certificate of an authority`);
    await (await this.#authorityOf()).revoke(current, reason);
  }

  /** One order at a time. The result rejects if the work does; the queue goes on. */
  #inTurn(work: () => Promise<void>): Promise<void> {
    const done = this.#queue.then(work);
    this.#queue = done.catch(() => {}); // whoever called gets the error
    return done;
  }

  #look(): void {
    clearTimeout(this.#timer);
    void this.#lookInTurn();
  }

  /** Never rejects. */
  async #lookInTurn(): Promise<void> {
    this.#pendingLooks++;
    try {
      await this.#inTurn(() => this.#lookAtAll()).finally(() => this.#pendingLooks--);
    } catch (error) {
      this.#parts.log.error({ err: error }, 'could not look after certificates');
    }
    clearTimeout(this.#timer);
    if (this.#isStarted) this.#timer = setTimeout(() => this.#look(), this.#untilNext()).unref();
  }

  /** Ms: an hour, or less if an order is due before, or one of another node is open. */
  #untilNext(): number {
    if (this.#isElsewhere) return minute;
    const now = wall();
    const due = [...this.#needs].map(([host, { renewAt }]) =>
      Math.max(renewAt, this.#failures?.get(host)?.nextAt ?? 0),
    );
    return Math.min(interval, Math.max(minute, Math.min(...due, Number.POSITIVE_INFINITY) - now));
  }

  async #lookAtAll(): Promise<void> {
    const { shared, config } = this.#parts;
    const hosts = orderedHosts(config()).filter((host) => shared?.isHome(host) !== false);
    for (const known of this.#needs.keys()) if (!hosts.includes(known)) this.#needs.delete(known);
    // Another node may have failed since.
    if (shared !== undefined) this.#failures = undefined;
    if (this.#isForgiving) {
      this.#isForgiving = false;
      const failures = await this.#readFailures();
      for (const [host, failure] of failures) failures.set(host, { ...failure, nextAt: 0, leftOut: {} });
    }
    this.#isElsewhere = false;
    for (const host of hosts) {
      if (this.#stopped.signal.aborted) return;
      // A failure is logged, and the next host's turn comes.
      await this.#order(host, false).catch((error: unknown) => this.#logFailure(host, error as Error));
    }
  }

  /** Orders a certificate if one is due, or in any case; in a cluster unless another node does. */
  async #order(host: string, isForced: boolean, withNewKey = false): Promise<void> {
    const { shared } = this.#parts;
    if (shared === undefined) {
      await this.#orderHere(host, isForced, withNewKey);
      return;
    }
    if (!(await shared.begin(host))) {
      this.#isElsewhere = true;
      if (isForced) throw new Error(`another node is ordering a certificate for ${host}`);
      return;
    }
    try {
      await this.#orderHere(host, isForced, withNewKey);
    } finally {
      await shared.end(host);
    }
  }

  async #orderHere(host: string, isForced: boolean, withNewKey: boolean): Promise<void> {
    const failures = await this.#readFailures();
    const known = () => failures.get(host) ?? noFailure;
    if (!isForced && isAhead(known().nextAt, longestPause)) {
      if (!this.#needs.has(host)) this.#needs.set(host, await this.#need(host));
      return;
    }
    try {
      let isDone = false;
      // Each further round leaves out at least one more domain.
      while (!isDone) isDone = await this.#orderOnce(host, isForced, withNewKey);
      this.#logged.delete(host);
      if (known().failures > 0) await this.#setFailure(host, { ...noFailure, leftOut: known().leftOut });
    } catch (caught) {
      const error = caught as Error;
      if (this.#stopped.signal.aborted) throw error;
      const count = known().failures + 1;
      const asked = error instanceof AcmeError ? error.retryAfter : undefined;
      const nextAt = wall() + pauseAfter(count, asked);
      await this.#setFailure(host, { ...known(), failures: count, error: error.message, failedAt: wall(), nextAt });
      throw error;
    }
  }

  /** Returns false if domains were left out, and the rest is still to be looked at: it may be in the certificate in use. */
  async #orderOnce(host: string, isForced: boolean, withNewKey: boolean): Promise<boolean> {
    const need = await this.#need(host);
    this.#needs.set(host, need);
    if (!isForced && need.renewAt > wall()) {
      await this.#parts.shared?.offer(host);
      return true;
    }
    try {
      await this.#replace(host, need, withNewKey);
    } catch (error) {
      if (this.#stopped.signal.aborted || !(await this.#leaveOut(host, need, error as Error))) throw error;
      return false;
    }
    this.#needs.set(host, await this.#needFor(host, need));
    return true;
  }

  /** Leaves out, for a day, domains of services that the authority could not verify. Returns whether that helps. */
  async #leaveOut(host: string, { domains }: Need, error: Error): Promise<boolean> {
    if (!(error instanceof UnverifiedError) || error.domains.length === 0) return false;
    // Of a service, and one that we asked for: otherwise the next order would be the same.
    const [own, ...services] = domains;
    if (!error.domains.every((domain) => domain !== own && services.includes(domain))) return false;
    const known = (await this.#readFailures()).get(host) ?? noFailure;
    const added = error.domains.map((domain) => [domain, { until: wall() + day, why: error.message }] as const);
    this.#parts.log.warn({ host, err: error }, 'domains are left out of a certificate');
    await this.#setFailure(host, { ...known, leftOut: { ...known.leftOut, ...Object.fromEntries(added) } });
    return true;
  }

  async #replace(host: string, { domains, current }: Need, withNewKey: boolean): Promise<void> {
    const { log, shared, config } = this.#parts;
    log.info({ host, domains }, 'orders a certificate');
    const files = this.#files(host);
    const known = withNewKey ? undefined : await readIfExists(files.key);
    const key = known ?? newKey().export({ type: 'pkcs8', format: 'pem' }).toString();
    const { challenge } = config().tls.acme;
    // Records in DNS are the same wherever they are set.
    const responder = challenge === 'dns-01' ? undefined : shared?.responder(host, challenge);
    const authority = await this.#authorityOf();
    const certificate = await authority.certify({ domains, key, replaces: current, responder });
    if (shared === undefined) await this.#parts.replace(() => writePair(files, { certificate, key }));
    else await shared.publish(host, { certificate, key });
    log.info({ host, domains }, 'has a new certificate');
  }

  async #need(host: string): Promise<Need> {
    return this.#needFor(host, await this.#domains(host));
  }

  async #needFor(host: string, { domains, leftOut }: Pick<Need, 'domains' | 'leftOut'>): Promise<Need> {
    const current = await this.#current(host);
    const names = current && xmppAddresses(current.raw);
    const lacks = (domain: string) =>
      domain.startsWith('*.') ? !names!.dns.includes(domain) : !coversDomain(names!, domain);
    if (current === undefined || domains.some(lacks)) return { domains, leftOut, current, renewAt: 0 };
    return { domains, leftOut, current, renewAt: renewalTime(current, await this.#window(host, current)) };
  }

  /** The certificate of an authority in the host's file. Undefined if there is none. */
  async #current(host: string): Promise<X509Certificate | undefined> {
    const text = await readIfExists(this.#files(host).certificate);
    if (text === undefined) return undefined;
    const certificate = new X509Certificate(text);
    return isSelfSigned(certificate) ? undefined : certificate;
  }

  /** The authority's own wish for the renewal. Without an answer the life of the certificate decides. */
  async #window(host: string, current: X509Certificate) {
    const known = this.#windows.get(host);
    const isKnown = known?.serial === current.serialNumber;
    if (isKnown && known.askAgain > wall()) return known.end > 0 ? known : undefined;
    try {
      const window = await (await this.#authorityOf()).renewalWindow(current);
      const found = window ?? { start: 0, end: 0, askAgain: wall() + day };
      this.#windows.set(host, { serial: current.serialNumber, ...found });
      return window;
    } catch (error) {
      // The authority may be down for hours without any need to renew.
      this.#parts.log.debug({ err: error, host }, 'the authority does not say when to renew');
      const earlier = isKnown && known.end > 0 ? known : undefined;
      this.#windows.set(host, {
        ...(earlier ?? { start: 0, end: 0 }),
        serial: current.serialNumber,
        askAgain: wall() + 6 * hour,
      });
      return earlier;
    }
  }

  /** The host, first, and the domains of its services, as A-labels, without those that lead nowhere. */
  async #domains(host: string): Promise<Pick<Need, 'domains' | 'leftOut'>> {
    const own = domainToASCII(host);
    const served = [publicName(host, this.#parts.config()) ?? '', ...(this.#parts.domains.get(host) ?? [])];
    const all = [...new Set(served.map((domain) => domainToASCII(domain)))];
    const others = all.filter((domain) => domain !== '' && domain !== own && !isPrivateName(domain));
    const { s2s, tls } = this.#parts.config();
    const known = (await this.#readFailures()).get(host)?.leftOut ?? {};
    const refusal = (domain: string) => (isAhead(known[domain]?.until ?? 0, day) ? known[domain]!.why : undefined);
    const isDns = tls.acme.challenge === 'dns-01';
    const resolver = dnsResolver(s2s.dns_servers);
    const leadsHere = async (domain: string) => isDns || (await resolver.addresses(domain)).length > 0;
    const look = async (domain: string) => {
      const why = refusal(domain) ?? ((await leadsHere(domain)) ? '' : 'has no address in DNS');
      return { domain, why };
    };
    // A wildcard covers one label.
    const isCovered = (domain: string) => isDns && domain.slice(domain.indexOf('.') + 1) === own;
    const found = await this.#unlessStopped(Promise.all(others.filter((domain) => !isCovered(domain)).map(look)));
    const leftOut = found.filter(({ why }) => why !== '');
    const domains = [
      own,
      ...(isDns ? [`*.${own}`] : []),
      ...found.filter(({ why }) => why === '').map(({ domain }) => domain),
    ];
    const excess = domains.splice(mostDomains).map((domain) => ({ domain, why: `only ${mostDomains} fit` }));
    return { domains, leftOut: [...leftOut, ...excess] };
  }

  /** DNS takes its time to give up. */
  async #unlessStopped<T>(work: Promise<T>): Promise<T> {
    const { signal } = this.#stopped;
    let stopped = () => {};
    const end = new Promise<never>((_, reject) => {
      stopped = () => reject(signal.reason);
    });
    signal.addEventListener('abort', stopped, { once: true });
    if (signal.aborted) stopped();
    try {
      return await Promise.race([work, end]);
    } finally {
      signal.removeEventListener('abort', stopped);
    }
  }

  /** Damaged records only say how long to wait, so they are replaced. */
  async #readFailures(): Promise<Map<string, Failure>> {
    this.#failures ??= await this.#records.failures(orderedHosts(this.#parts.config())).catch((error: unknown) => {
      if (!(error instanceof RecordError)) throw error;
      this.#parts.log.error({ err: error }, 'the records of failed orders are replaced');
      return new Map<string, Failure>();
    });
    return this.#failures;
  }

  async #setFailure(host: string, failure: Failure): Promise<void> {
    const failures = await this.#readFailures();
    const leftOut = Object.fromEntries(Object.entries(failure.leftOut).filter(([, { until }]) => until > wall()));
    failures.set(host, { ...failure, leftOut });
    for (const known of failures.keys()) if (!Object.hasOwn(this.#parts.config().hosts, known)) failures.delete(known);
    await this.#records.setFailure(host, failures);
  }

  /** A failure that stays the same is logged once a day. */
  #logFailure(host: string, error: Error): void {
    if (this.#stopped.signal.aborted) return;
    const known = this.#logged.get(host);
    if (known?.error === error.message && monotonic() - known.at < day) return;
    this.#logged.set(host, { error: error.message, at: monotonic() });
    this.#parts.log.error({ err: error, host }, 'could not get a certificate; it is tried again');
  }

  /** Loaded when it is needed: many servers order nothing. */
  async #authorityOf(): Promise<Authority> {
    const config = this.#parts.config().tls.acme;
    if (this.#authority !== undefined && isDeepStrictEqual(this.#authority.config, config))
      return this.#authority.authority;
    const { Authority } = await import('./authority.js');
    const { log, version } = this.#parts;
    const authority = new Authority({
      config,
      version,
      records: this.#records,
      challenges: this.#parts.challenges,
      signal: this.#stopped.signal,
      leftBehind: (error) => log.warn({ err: error }, 'could not remove the proof of a domain'),
    });
    this.#authority = { config, authority };
    return authority;
  }

  #files(host: string): PairFiles {
    return filesOf(certificatesIn(this.#parts.config().data), host);
  }
}
