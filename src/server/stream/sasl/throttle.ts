/**
 * Wrong passwords, counted in three ways.
 *
 * - An account at an address: more failures make the answer slower, and too many shut that account out at that address.
 * - An address: the accounts at which it failed, each once. Too many shut the address out.
 * - An account over all addresses: this only slows failures down, so that nobody can shut out the owner.
 *
 * A pair of account and address is known once the account has logged in from there recently. A known pair is never shut
 * out: a forgotten device may retry an old password for days, and the owner at the same address still gets in. Its
 * failures count neither against the address nor against the account. What bounds the guesses at a known pair is the
 * number of failures that may wait for their delayed answer at the same time.
 *
 * The stream decides what counts as one failure (login.ts). Only passwords count: tokens and certificates cannot be guessed.
 */
import { addressBlock } from '../../config/address.js';
import type { Config } from '../../config/schema.js';
import { Holdings } from '../../holdings.js';

export interface ThrottleLimits {
  /** Accounts at which an address fails before it is shut out. Infinity: addresses are not counted. */
  readonly addressLimit: number;
  /** Failures of an account at an address before it is shut out there. Infinity: accounts are neither counted nor slowed. */
  readonly accountLimit: number;
  /** How long a shut-out lasts, in ms. */
  readonly shutOut: number;
  /** Most addresses, accounts, pairs and known pairs that are remembered. The least recently used are evicted. */
  readonly size: number;
}

export const throttleLimits = (auth: Config['auth']): ThrottleLimits => ({
  addressLimit: auth.failures_per_address,
  accountLimit: auth.failures_per_account,
  shutOut: auth.failure_window_seconds * 1000,
  size: auth.failures_remembered,
});

export interface ThrottleOptions {
  /** Read each time: a reload may change them. */
  readonly limits: () => ThrottleLimits;
  /** ms, monotonic. */
  readonly now: () => number;
}

/** The limit that refuses an attempt. */
export type Refusal = 'failures_per_address' | 'failures_per_account';

export interface Failure {
  /** How long the answer has to wait, in ms. */
  readonly delay: number;
  /** To be called once the answer was sent. */
  readonly answered: () => void;
}

/** Failures without any delay: people mistype. */
const free = 3;
const firstDelay = 250;
/** Well below the login deadline, so that the client gets its answer. */
const longestDelay = 10_000;
/** How long it takes until one failure is forgotten, in ms. */
const decay = 60_000;
/** How long an address stays known for an account, in ms. */
const known = 30 * 86_400_000;
/** Delayed answers of a known pair that is past its limit; further attempts are refused meanwhile. */
const mostDelayed = 4;
/** Accounts remembered for one address, and addresses known for one account. */
const mostPerAddress = 1000;
const mostPerAccount = 32;

interface Tally {
  /** Failures not yet forgotten, at the time `at`. */
  score: number;
  at: number;
  shutUntil: number;
  /** Answers that wait for their delay. */
  delayed: number;
}

export class Throttle {
  readonly #options: ThrottleOptions;
  readonly #pairs = new Holdings<Tally>(mostPerAddress);
  readonly #addresses = new Holdings<Tally>(1);
  readonly #accounts = new Holdings<Tally>(1);
  /** When somebody last logged in, by account and address. */
  readonly #places = new Holdings<number>(mostPerAccount);

  constructor(options: ThrottleOptions) {
    this.#options = options;
  }

  /**
   * Whether a password of the account is refused unseen. To be asked before a password is checked and again before the
   * result is told: many connections may have had theirs checked at the same time.
   */
  refusal(address: string, account: string): Refusal | undefined {
    const { accountLimit, addressLimit } = this.#options.limits();
    const now = this.#options.now();
    const block = addressBlock(address);
    const pair = this.#pairs.get(block, account);
    if (this.#isKnown(account, block)) {
      const isBusy = pair !== undefined && Math.ceil(this.#score(pair)) >= accountLimit && pair.delayed >= mostDelayed;
      return isBusy ? 'failures_per_account' : undefined;
    }
    if (addressLimit !== Number.POSITIVE_INFINITY && isAhead(this.#addresses.get(block, ''), now))
      return 'failures_per_address';
    return accountLimit !== Number.POSITIVE_INFINITY && isAhead(pair, now) ? 'failures_per_account' : undefined;
  }

  /** Counts a wrong password. The same for accounts that exist and those that do not. */
  failed(address: string, account: string): Failure {
    const { accountLimit, addressLimit } = this.#options.limits();
    const block = addressBlock(address);
    const isKnown = this.#isKnown(account, block);
    const pair = this.#tally(this.#pairs, block, account);
    const isFirst = pair.score === 0;
    const delays = [this.#count(pair, accountLimit, !isKnown)];
    if (!isKnown) {
      if (accountLimit !== Number.POSITIVE_INFINITY)
        delays.push(this.#count(this.#tally(this.#accounts, account, ''), accountLimit, false));
      if (isFirst && addressLimit !== Number.POSITIVE_INFINITY)
        delays.push(this.#count(this.#tally(this.#addresses, block, ''), addressLimit, true));
    }
    const delay = Math.max(...delays);
    if (delay === 0) return { delay, answered: () => {} };
    pair.delayed++;
    return { delay, answered: () => void pair.delayed-- };
  }

  /** Notes a login: the account starts afresh, and is known at the address. */
  succeeded(address: string, account: string): void {
    const block = addressBlock(address);
    this.#accounts.delete(account, '');
    const pair = this.#pairs.get(block, account);
    if (pair !== undefined) Object.assign(pair, { score: 0, shutUntil: 0 });
    this.#places.set(account, block, this.#options.now(), this.#options.limits().size);
  }

  #isKnown(account: string, block: string): boolean {
    const at = this.#places.get(account, block);
    return at !== undefined && this.#options.now() - at < known;
  }

  #score(tally: Tally): number {
    return Math.max(0, tally.score - (this.#options.now() - tally.at) / decay);
  }

  /** The tally with its score of now. */
  #tally(tallies: Holdings<Tally>, owner: string, key: string): Tally {
    const now = this.#options.now();
    const tally = tallies.get(owner, key) ?? { score: 0, at: now, shutUntil: 0, delayed: 0 };
    tally.score = this.#score(tally);
    tally.at = now;
    tallies.set(owner, key, tally, this.#options.limits().size);
    return tally;
  }

  /** One failure more. Returns the delay of its answer. */
  #count(tally: Tally, limit: number, shuts: boolean): number {
    tally.score++;
    if (limit === Number.POSITIVE_INFINITY) return 0;
    const counted = Math.floor(tally.score - free);
    // A little of the first failure is forgotten before the last: it counts in full.
    if (shuts && Math.ceil(tally.score) >= limit) {
      tally.shutUntil = tally.at + this.#options.limits().shutOut;
      // Half is forgiven afterwards, so that the next mistake does not shut out again.
      tally.score = limit / 2;
    } else if (!shuts) {
      // More would only make the tally last longer: a device that failed for days is forgotten as soon as any other.
      tally.score = Math.min(tally.score, Math.max(limit, free + 7));
    }
    return counted < 1 ? 0 : Math.min(longestDelay, firstDelay * 2 ** (counted - 1));
  }
}

function isAhead(tally: Tally | undefined, now: number): boolean {
  return tally !== undefined && tally.shutUntil > now;
}
