/**
 * Streams of people who fill in a registration form (XEP-0077): they may take longer than the login deadline. There are
 * only so many of them, in all and at one address, because nobody knows them yet.
 */
import { addressBlock } from '../../config/address.js';
import type { Config } from '../../config/schema.js';
import { Portions } from '../../portions.js';

export class SignUps {
  readonly #places: Portions;

  constructor(config: () => Config) {
    this.#places = new Portions(() => {
      const { registrations, registrations_per_address } = config().limits;
      return { all: registrations, each: registrations_per_address };
    });
  }

  /** Whether one more may take its time; it has to leave afterwards. */
  enter(address: string): boolean {
    return this.#places.take(addressBlock(address)) === undefined;
  }

  leave(address: string): void {
    this.#places.give(addressBlock(address));
  }
}
