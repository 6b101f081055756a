/**
 * Failed logins, by address and by account: more of them make the answer slower, too many shut out for a while.
 *
 * An account is not shut out from an address at which somebody logged in to it of late, so that a stranger who guesses
 * does not keep the owner out. Attempts of one stream are counted by the stream (RFC 6120 §6.4.5).
 */
import { addressBlock } from '../../config/address.js';

export interface ThrottleOptions {
  /** Failures that slow nothing: people mistype. */
  readonly free?: number | undefined;
  /** The delay of the first failure after the free ones, in ms; it doubles with each further one. */
  readonly firstDelay?: number | undefined;
  readonly longestDelay?: number | undefined;
  /** How long it takes for one failure to be forgotten, in ms. */
  readonly decay?: number | undefined;
  /** Failures at which an address, or an account, is shut out; those of an account may come from many addresses. */
  readonly addressLimit?: number | undefined;
  readonly accountLimit?: number | undefined;
  /** For how long, in ms. */
  readonly shutOut?: number | undefined;
  /** Most addresses, most accounts and most known places that are kept; the longest untouched go first. */
  readonly size?: number | undefined;
  /** ms, never going back. */
  readonly now: () => number;
}

interface Tally {
  /** Failures not yet forgotten, at the time `at`. */
  score: number;
  at: number;
  shutUntil: number;
}

/** How long an address stays known for an account, in ms. */
const known = 30 * 86_400_000;

export class Throttle {
  readonly #addresses = new Map<string, Tally>();
  readonly #accounts = new Map<string, Tally>();
  /** When somebody last logged in, by account and address. */
  readonly #places = new Map<string, number>();
  readonly #options: { readonly [K in keyof ThrottleOptions]-?: NonNullable<ThrottleOptions[K]> };

  constructor(options: ThrottleOptions) {
    this.#options = {
      free: options.free ?? 3,
      firstDelay: options.firstDelay ?? 250,
      longestDelay: options.longestDelay ?? 10_000,
      decay: options.decay ?? 60_000,
      addressLimit: options.addressLimit ?? 30,
      accountLimit: options.accountLimit ?? 50,
      shutOut: options.shutOut ?? 900_000,
      size: options.size ?? 50_000,
      now: options.now,
    };
  }

  /**
   * For how much longer attempts are refused unseen, in ms; 0: they are not. To be asked with the address alone before
   * anything is looked at, and with the account once the client has named it (SaslContext.admit).
   */
  shutOut(address: string, account?: string): number {
    const now = this.#options.now();
    const place = addressBlock(address);
    let until = this.#addresses.get(place)?.shutUntil ?? 0;
    if (account !== undefined && !this.#isKnown(account, place)) {
      until = Math.max(until, this.#accounts.get(account)?.shutUntil ?? 0);
    }
    return Math.max(0, until - now);
  }

  /** Notes a failure; how long to wait before it is answered, in ms. `account`: where the client named one. */
  failed(address: string, account?: string): number {
    const { addressLimit, accountLimit } = this.#options;
    const place = addressBlock(address);
    const byAddress = this.#fail(this.#addresses, place, addressLimit);
    if (account === undefined || this.#isKnown(account, place)) return byAddress;
    return Math.max(byAddress, this.#fail(this.#accounts, account, accountLimit));
  }

  /** Notes a login: the account begins anew. The address does not, for its owner may have an account himself. */
  succeeded(address: string, account: string): void {
    this.#accounts.delete(account);
    this.#put(this.#places, `${account} ${addressBlock(address)}`, this.#options.now());
  }

  #isKnown(account: string, place: string): boolean {
    const at = this.#places.get(`${account} ${place}`);
    return at !== undefined && this.#options.now() - at < known;
  }

  #fail(records: Map<string, Tally>, key: string, limit: number): number {
    const { free, firstDelay, longestDelay, decay, shutOut, now: clock } = this.#options;
    const now = clock();
    const record = records.get(key) ?? { score: 0, at: now, shutUntil: 0 };
    record.score = Math.max(0, record.score - (now - record.at) / decay) + 1;
    record.at = now;
    // A little of the first is forgotten before the last: it counts all the same.
    if (Math.ceil(record.score) >= limit) {
      record.shutUntil = now + shutOut;
      // Half of it is forgiven with the time, so that the door does not fall shut again at the first mistake.
      record.score = limit / 2;
    }
    this.#put(records, key, record);
    const counted = Math.floor(record.score - free);
    return counted < 1 ? 0 : Math.min(longestDelay, firstDelay * 2 ** (counted - 1));
  }

  #put<V>(map: Map<string, V>, key: string, value: V): void {
    map.delete(key);
    map.set(key, value);
    if (map.size > this.#options.size) map.delete(map.keys().next().value ?? '');
  }
}
