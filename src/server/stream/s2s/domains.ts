/**
 * What is counted for each remote domain, for metrics and lists. Only a bounded number of domains have counts of their
 * own, the busiest; events of the others are counted together. Each event is counted once, at the time it happens, so
 * that no count ever decreases.
 */
import { Recent } from '../../../storage/recent.js';

/**
 * The step at which a stream failed. `acknowledgement`: the peer did not acknowledge stanzas in time. `verification`: a
 * dialback key that a peer sent us was not confirmed.
 */
export type Step = 'dns' | 'connection' | 'tls' | 'certificate' | 'authentication' | 'acknowledgement' | 'verification';

export interface Counts {
  /** Stanzas. */
  readonly received: number;
  readonly sent: number;
  readonly failures: ReadonlyMap<Step, number>;
}

interface Entry extends Counts {
  received: number;
  sent: number;
  readonly failures: Map<Step, number>;
  /** Recent events. */
  weight: number;
}

/** Domains whose events are counted until they may displace a named one. */
const mostCandidates = 1000;
/** How much busier a domain has to be than the least busy named one, so that the names do not alternate. */
const displaces = (weight: number, least: number): boolean => weight > 2 * least + 10;
/** Weights are halved after this time, in ms. */
const halfLife = 3_600_000;

const newEntry = (): Entry => ({ received: 0, sent: 0, failures: new Map(), weight: 0 });

export class DomainCounts {
  readonly #most: number;
  readonly #named = new Map<string, Entry>();
  readonly #others = newEntry();
  /** No named domain has a smaller weight. */
  #least = 0;
  /** Weights of domains without a name. */
  readonly #candidates = new Recent<number>(mostCandidates);
  #agedAt: number;

  /** `most`: domains with counts of their own. `now` is in ms of the monotonic clock. */
  constructor(most: number, now: number) {
    this.#most = most;
    this.#agedAt = now;
  }

  /** Counts of the named domains. */
  get named(): ReadonlyMap<string, Counts> {
    return this.#named;
  }

  /** Counts of all domains while they had no name. */
  get others(): Counts {
    return this.#others;
  }

  received(domain: string): void {
    this.#entry(domain).received++;
  }

  sent(domain: string): void {
    this.#entry(domain).sent++;
  }

  /** `isProved`: the domain is not just claimed by an unauthenticated peer, who could otherwise displace others. */
  failed(domain: string, step: Step, isProved: boolean): void {
    const { failures } = isProved ? this.#entry(domain) : (this.#named.get(domain) ?? this.#others);
    failures.set(step, (failures.get(step) ?? 0) + 1);
  }

  /** Called once a second. `now` is in ms of the monotonic clock. */
  sweep(now: number): void {
    if (now - this.#agedAt < halfLife) return;
    this.#agedAt = now;
    for (const entry of this.#named.values()) entry.weight /= 2;
    this.#least = 0;
    this.#candidates.clear();
  }

  #entry(domain: string): Entry {
    const known = this.#named.get(domain);
    if (known !== undefined) {
      known.weight++;
      return known;
    }
    if (this.#named.size < this.#most) return this.#name(domain, 1);
    const weight = (this.#candidates.get(domain) ?? 0) + 1;
    this.#candidates.set(domain, weight);
    // Without looking at all named domains for each event.
    if (!displaces(weight, this.#least)) return this.#others;
    const [least, { weight: leastWeight }] = [...this.#named].reduce((one, other) =>
      other[1].weight < one[1].weight ? other : one,
    );
    this.#least = leastWeight;
    if (!displaces(weight, leastWeight)) return this.#others;
    this.#named.delete(least);
    this.#candidates.set(least, leastWeight);
    this.#candidates.delete(domain);
    return this.#name(domain, weight);
  }

  #name(domain: string, weight: number): Entry {
    const entry = { ...newEntry(), weight };
    this.#named.set(domain, entry);
    return entry;
  }
}
