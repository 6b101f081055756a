/**
 * The bounds and the policy of streams that other servers open: how many there are, in total, from a network address and
 * for a pair of domains; which are closed when the policy changes; and what is logged of those that are refused.
 */
import type { Logger } from 'pino';
import { addressBlock } from '../../config/address.js';
import type { Config } from '../../config/schema.js';
import { Portions } from '../../limits/portions.js';
import { Rates } from '../../limits/rates.js';
import type { Shares } from '../../limits/shares.js';
import { StreamError } from '../../stanza/errors.js';
import type { Transport } from '../../transport/transport.js';
import { type Allowance, lateCloseMs } from '../handler.js';
import type { XmlStream } from '../stream.js';
import { type Policy, serverAllowance } from './policy.js';

export interface VisitsParts {
  config(): Config;
  readonly policy: Policy;
  readonly shares: Shares;
  readonly log: Logger;
  limitHit(limit: string): void;
  /** Whether the peer's certificate is valid for a domain. */
  certifies(transport: Transport, domain: string): boolean;
}

/** Refused streams whose peers have not closed their half; further ones are cut at once. */
const mostTurnedAway = 200;
/** Lines in the log about one network address in ten minutes. The metrics count all refusals. */
const linesPerAddress = 20;
const minute = 60_000;

export class Visits {
  readonly parts: VisitsParts;
  readonly #all = new Set<Visit>();
  /** Those that have not proved a domain. */
  readonly #unproved = new Set<Visit>();
  /** The same by network address. */
  readonly #unprovedAt = new Map<string, Set<Visit>>();
  /** By "from to". */
  readonly #pairs = new Map<string, Set<Visit>>();
  readonly #dialbacks: Portions;
  #dialbackRates = new Rates(Number.POSITIVE_INFINITY, minute);
  readonly #lines = new Rates(linesPerAddress, 10 * minute);
  #turnedAway = 0;
  #numbered = 0;

  constructor(parts: VisitsParts) {
    this.parts = parts;
    this.#dialbacks = new Portions(() => {
      const { dialbacks } = parts.config().s2s;
      return { all: dialbacks, each: dialbacks };
    });
  }

  /** Numbers a new stream. */
  count(): number {
    return ++this.#numbered;
  }

  get unproved(): number {
    return this.#unproved.size;
  }

  /** The stream has begun. Refuses it, or closes another, if there are too many. */
  entered(visit: Visit): void {
    const { s2s } = this.parts.config();
    const { block } = visit;
    this.#all.add(visit);
    this.#unproved.add(visit);
    let same = this.#unprovedAt.get(block);
    if (same === undefined) this.#unprovedAt.set(block, (same = new Set()));
    same.add(visit);
    const isShared = this.parts.shares.isSharedAddress(visit.address);
    if (this.#all.size > s2s.incoming_streams) this.#turnAway(visit, 's2s.incoming_streams');
    else if (!isShared && same.size > s2s.unauthenticated_streams_per_address)
      this.#turnAway(visit, 's2s.unauthenticated_streams_per_address');
    else if (this.#unproved.size > s2s.unauthenticated_streams)
      this.#turnAway(this.#mostExpendable ?? visit, 's2s.unauthenticated_streams');
  }

  /** The oldest of the network address with the most streams, so that a server with few of them is not affected. */
  get #mostExpendable(): Visit | undefined {
    let found: Visit | undefined;
    let most = 0;
    for (const visits of this.#unprovedAt.values()) {
      if (visits.size < most) continue;
      for (const visit of visits) {
        if (visit.isTurnedAway) continue;
        if (visits.size > most || found === undefined || visit.number < found.number) found = visit;
        most = visits.size;
        break;
      }
    }
    return found;
  }

  #turnAway(visit: Visit, limit: string): void {
    this.parts.limitHit(limit);
    if (visit.isTurnedAway || this.#turnedAway >= mostTurnedAway) {
      visit.xml.abandon();
      return;
    }
    visit.isTurnedAway = true;
    this.#turnedAway++;
    visit.xml.close(new StreamError('resource-constraint', 'There are too many streams.'), lateCloseMs);
  }

  proved(visit: Visit, pair: string): void {
    this.#isProved(visit);
    let same = this.#pairs.get(pair);
    if (same === undefined) this.#pairs.set(pair, (same = new Set()));
    same.add(visit);
    const open = [...same].filter(({ xml }) => xml.state === 'open');
    if (open.length <= this.parts.config().s2s.incoming_streams_per_pair) return;
    const silent = open
      .filter((one) => one !== visit)
      .sort((a, b) => a.xml.silence.lastRead - b.xml.silence.lastRead)[0];
    if (silent !== undefined) this.#turnAway(silent, 's2s.incoming_streams_per_pair');
  }

  #isProved(visit: Visit): void {
    if (!this.#unproved.delete(visit)) return;
    const same = this.#unprovedAt.get(visit.block)!;
    same.delete(visit);
    if (same.size === 0) this.#unprovedAt.delete(visit.block);
  }

  /** Whether the peer may have one more domain looked at. */
  startsDialback({ block }: Visit): boolean {
    if (this.#dialbacks.take(block) !== undefined) {
      this.parts.limitHit('s2s.dialbacks');
      return false;
    }
    const { dialbacks_per_minute } = this.parts.config().s2s;
    if (this.#dialbackRates.limit !== dialbacks_per_minute)
      this.#dialbackRates = new Rates(dialbacks_per_minute, minute);
    if (this.#dialbackRates.take(block)) return true;
    this.parts.limitHit('s2s.dialbacks_per_minute');
    this.#dialbacks.give(block);
    return false;
  }

  endsDialback({ block }: Visit): void {
    this.#dialbacks.give(block);
  }

  /** Whether another line about the address may be logged. */
  takeLine({ block }: Visit): boolean {
    return this.#lines.take(block);
  }

  left(visit: Visit, pairs: Iterable<string>): void {
    this.#all.delete(visit);
    this.#isProved(visit);
    if (visit.isTurnedAway) this.#turnedAway--;
    for (const pair of pairs) {
      const same = this.#pairs.get(pair);
      if (same?.delete(visit) && same.size === 0) this.#pairs.delete(pair);
    }
  }
}

interface ProvedPair {
  readonly from: string;
  readonly to: string;
  /** Whether it was authenticated with a valid certificate, of the peer or of the authoritative server. */
  readonly isCertified: boolean;
}

/** One stream of another server, as the policy sees it. */
export class Visit {
  readonly xml: XmlStream;
  readonly address: string;
  /** What its address is counted under. */
  readonly block: string;
  /** In the order of arrival. */
  readonly number: number;
  /** It was refused or closed, because there were too many. */
  isTurnedAway = false;
  readonly #visits: Visits;
  readonly #proved = new Map<string, ProvedPair>();
  /** Dialbacks under way, with whether a certificate was required when they began. */
  readonly #dialbacks = new Map<string, boolean>();
  /** The domain that the peer claims to be, for the log. */
  #claimed: string | undefined;
  /** What `check` last saw. */
  #config: Config | undefined;

  constructor(visits: Visits, xml: XmlStream) {
    this.#visits = visits;
    this.xml = xml;
    this.address = xml.transport.remoteAddress;
    this.block = addressBlock(this.address);
    this.number = visits.count();
  }

  /** To be called once the stream can be closed. */
  enters(): void {
    this.#visits.entered(this);
  }

  /** The peer has sent its header. Throws StreamError if the policy denies its domain. */
  claims(from: string | undefined, to: string): void {
    this.#claimed = from;
    if (from !== undefined && this.denies(from, to)) throw denied();
  }

  denies(from: string, to: string): boolean {
    return this.#visits.parts.policy.denies(to, from);
  }

  /** Whether a dialback may begin; then it must be ended. */
  startsDialback(from: string, to: string): boolean {
    if (!this.#visits.startsDialback(this)) return false;
    this.#dialbacks.set(`${from} ${to}`, this.#visits.parts.policy.requiresCertificate(to, from));
    return true;
  }

  endsDialback(from: string, to: string): void {
    this.#visits.endsDialback(this);
    // The proof that it may be follows in the same turn.
    queueMicrotask(() => this.#dialbacks.delete(`${from} ${to}`));
  }

  /** Stanzas may go from the one to the other. Sets the limits of the stream with the first pair. */
  proved(from: string, to: string): void {
    const { policy, certifies } = this.#visits.parts;
    const pair = `${from} ${to}`;
    if (this.#proved.has(pair)) return;
    const wasRequired = this.#dialbacks.get(pair) === true && policy.requiresCertificate(to, from);
    const isCertified = wasRequired || certifies(this.xml.transport, from);
    const isFirst = this.#proved.size === 0;
    this.#proved.set(pair, { from, to, isCertified });
    // The policy may have changed since the peer asked.
    this.#config = undefined;
    this.#visits.proved(this, pair);
    if (!isFirst) return;
    const { allowance, share } = policy.terms(to, from);
    this.xml.admit(allowance, share());
  }

  /** What the peer may send once it has proved a domain; if it names none, what servers may send usually. */
  allowance(to: string, from: string | undefined): Allowance {
    return from === undefined ? serverAllowance : this.#visits.parts.policy.terms(to, from).allowance;
  }

  /** Something that the peer wanted is refused. Counted, and logged unless too much is. */
  refused(condition: string, message: string, fields: Readonly<Record<string, unknown>> = {}): void {
    const { policy, log } = this.#visits.parts;
    policy.refused('incoming', condition);
    if (!this.#visits.takeLine(this)) return;
    log.warn({ domain: this.#claimed, ...fields, condition, address: this.address }, message);
  }

  /** The stream was closed, with `error` if there was one. */
  closed(error: StreamError | undefined): void {
    if (error === undefined || error.condition === 'system-shutdown') return;
    // Silence is no fault.
    if (this.#proved.size > 0 && error.condition === 'connection-timeout') return;
    this.refused(error.condition, 'closed a stream of another server', { text: error.text });
  }

  /** Called once a second. Returns the error if the policy no longer accepts the authentication. */
  check(): StreamError | undefined {
    const { parts } = this.#visits;
    const config = parts.config();
    const isChanged = this.#config !== config;
    this.#config = config;
    for (const { from, to, isCertified } of this.#proved.values()) {
      if (!isChanged && !parts.policy.hasLists(to)) continue;
      if (parts.policy.denies(to, from)) return denied();
      if (!isCertified && parts.policy.requiresCertificate(to, from))
        return new StreamError('policy-violation', 'A valid certificate is required from now on.');
    }
    return undefined;
  }

  /** The connection is closed. */
  left(): void {
    this.#visits.left(this, this.#proved.keys());
  }
}

const denied = () => new StreamError('policy-violation', 'This server has no streams with your domain.');
