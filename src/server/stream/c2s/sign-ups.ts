/**
 * Streams of users who are filling in a registration form (XEP-0077). They may exceed the login timeout. Bounded in
 * total and per address, because they are unauthenticated.
 */
import { addressBlock } from '../../config/address.js';
import type { Config } from '../../config/schema.js';
import { Portions } from '../../limits/portions.js';

export class SignUps {
  readonly #places: Portions;

  constructor(config: () => Config) {
    this.#places = new Portions(() => {
      const { registrations, registrations_per_address } = config().limits;
      return { all: registrations, each: registrations_per_address };
    });
  }

  /** Takes a place. Returns whether there was one; if so, call `leave` afterwards. */
  enter(address: string): boolean {
    return this.#places.take(addressBlock(address)) === undefined;
  }

  leave(address: string): void {
    this.#places.give(addressBlock(address));
  }
}
