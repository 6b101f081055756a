/**
 * Counts wrong passwords in three ways:
 *
 * - An account at an address: failures slow the answers down, and too many lock the account out at that address.
 * - An address: the accounts it failed at, each counted once. Too many lock the address out.
 * - An account over all addresses: this only slows answers down, so that nobody can lock out the owner.
 *
 * A pair of account and address is known if the account has logged in from there recently. A known pair is never locked
 * out: a forgotten device may retry an old password for days, and the owner at the same address still gets in. Its
 * failures count neither against the address nor against the account. Guesses at a known pair are bounded by the number
 * of failures whose delayed answers may be pending at once.
 *
 * The stream decides what counts as one failure (login.ts). Only passwords count: tokens and certificates cannot be
 * guessed.
 */
import { addressBlock } from '../../config/address.js';
import type { Config } from '../../config/schema.js';
import { Holdings } from '../../limits/holdings.js';

export interface ThrottleLimits {
  /** Accounts at which an address may fail before it is locked out. Infinity: addresses are not counted. */
  readonly addressLimit: number;
  /** Failures of an account at an address before it is locked out there. Infinity: neither counted nor slowed. */
  readonly accountLimit: number;
  /** How long a lockout lasts, in ms. */
  readonly lockout: number;
  /** Most addresses, accounts, pairs and known pairs to remember. The least recently used are evicted. */
  readonly size: number;
}

export const throttleLimits = (auth: Config['auth']): ThrottleLimits => ({
  addressLimit: auth.failures_per_address,
  accountLimit: auth.failures_per_account,
  lockout: auth.failure_window_seconds * 1000,
  size: auth.failures_remembered,
});

export interface ThrottleOptions {
  /** Read on each use: a reload may change them. */
  readonly limits: () => ThrottleLimits;
  /** ms, monotonic. */
  readonly now: () => number;
  /** A failure has been counted against an address, given as the block that it is counted under. */
  readonly addressFailed?: (block: string) => void;
}

/** The limit that refused an attempt. */
export type Refusal = 'failures_per_address' | 'failures_per_account';

export interface Failure {
  /** How long to delay the answer, in ms. */
  readonly delay: number;
  /** To be called once the answer has been sent. */
  readonly answered: () => void;
}

/** Failures without a delay, for typing errors. */
const free = 3;
const firstDelay = 250;
/** Well below the login timeout, so that the client gets its answer. */
const longestDelay = 10_000;
/** How long until one failure decays, in ms. */
const decay = 60_000;
/** How long an address stays known for an account, in ms. */
const known = 30 * 86_400_000;
/** Delayed answers of a known pair over its limit; further attempts are refused meanwhile. */
const mostDelayed = 4;
/** Accounts remembered per address, and addresses known per account. */
const mostPerAddress = 1000;
const mostPerAccount = 32;

interface Tally {
  /** Failures not yet decayed, at the time `at`. */
  score: number;
  at: number;
  lockedUntil: number;
  /** Answers that are being delayed. */
  delayed: number;
}

export class Throttle {
  readonly #options: ThrottleOptions;
  readonly #pairs = new Holdings<Tally>(mostPerAddress);
  readonly #addresses = new Holdings<Tally>(1);
  readonly #accounts = new Holdings<Tally>(1);
  /** Time of the last login, by account and address. */
  readonly #logins = new Holdings<number>(mostPerAccount);

  constructor(options: ThrottleOptions) {
    this.#options = options;
  }

  /**
   * The limit that refuses a password of the account unchecked; undefined if none does. Call it before the check, and
   * again before the result is sent: many connections may be checking passwords in parallel.
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
    if (addressLimit !== Number.POSITIVE_INFINITY && isLocked(this.#addresses.get(block, ''), now))
      return 'failures_per_address';
    return accountLimit !== Number.POSITIVE_INFINITY && isLocked(pair, now) ? 'failures_per_account' : undefined;
  }

  /** Counts a wrong password, in the same way whether or not the account exists. */
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
      if (isFirst && addressLimit !== Number.POSITIVE_INFINITY) {
        delays.push(this.#count(this.#tally(this.#addresses, block, ''), addressLimit, true));
        this.#options.addressFailed?.(block);
      }
    }
    const delay = Math.max(...delays);
    if (delay === 0) return { delay, answered: () => {} };
    pair.delayed++;
    return { delay, answered: () => void pair.delayed-- };
  }

  /** An address has failed at accounts that live at another node. */
  addressFailedElsewhere(block: string, times: number): void {
    const { addressLimit } = this.#options.limits();
    if (addressLimit === Number.POSITIVE_INFINITY) return;
    for (let left = Math.min(times, addressLimit); left > 0; left--)
      this.#count(this.#tally(this.#addresses, block, ''), addressLimit, true);
  }

  /** Records a login: resets the account's count, and makes the address known. */
  succeeded(address: string, account: string): void {
    const block = addressBlock(address);
    this.#accounts.delete(account, '');
    const pair = this.#pairs.get(block, account);
    if (pair !== undefined) Object.assign(pair, { score: 0, lockedUntil: 0 });
    this.#logins.set(account, block, this.#options.now(), this.#options.limits().size);
  }

  #isKnown(account: string, block: string): boolean {
    const at = this.#logins.get(account, block);
    return at !== undefined && this.#options.now() - at < known;
  }

  #score(tally: Tally): number {
    return Math.max(0, tally.score - (this.#options.now() - tally.at) / decay);
  }

  /** The tally, with its score decayed to now. */
  #tally(tallies: Holdings<Tally>, owner: string, key: string): Tally {
    const now = this.#options.now();
    const tally = tallies.get(owner, key) ?? { score: 0, at: now, lockedUntil: 0, delayed: 0 };
    tally.score = this.#score(tally);
    tally.at = now;
    tallies.set(owner, key, tally, this.#options.limits().size);
    return tally;
  }

  /** Counts a failure. Returns the delay of its answer, in ms. */
  #count(tally: Tally, limit: number, locks: boolean): number {
    tally.score++;
    if (limit === Number.POSITIVE_INFINITY) return 0;
    const counted = Math.floor(tally.score - free);
    // Rounded up: the first failure has decayed slightly before the last.
    if (locks && Math.ceil(tally.score) >= limit) {
      tally.lockedUntil = tally.at + this.#options.limits().lockout;
      // Half remains afterwards, so that the next mistake does not lock out again.
      tally.score = limit / 2;
    } else if (!locks) {
      // Capped, so that a device that failed for days decays as fast as any other.
      tally.score = Math.min(tally.score, Math.max(limit, free + 7));
    }
    return counted < 1 ? 0 : Math.min(longestDelay, firstDelay * 2 ** (counted - 1));
  }
}

function isLocked(tally: Tally | undefined, now: number): boolean {
  return tally !== undefined && tally.lockedUntil > now;
}
