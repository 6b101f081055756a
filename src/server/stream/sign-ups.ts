/**
 * Streams of people who fill in a registration form (XEP-0077): they may take longer than the login deadline. There are
 * only so many of them, in all and at one address, because nobody knows them yet.
 */
import { addressBlock } from '../config/address.js';
import type { Config } from '../config/schema.js';

export class SignUps {
  readonly #config: () => Config;
  readonly #perBlock = new Map<string, number>();
  #all = 0;

  constructor(config: () => Config) {
    this.#config = config;
  }

  /** Whether one more may take its time; it has to leave afterwards. */
  enter(address: string): boolean {
    const { registrations, registrations_per_address } = this.#config().limits;
    const block = addressBlock(address);
    const count = this.#perBlock.get(block) ?? 0;
    if (this.#all >= registrations || count >= registrations_per_address) return false;
    this.#perBlock.set(block, count + 1);
    this.#all++;
    return true;
  }

  leave(address: string): void {
    const block = addressBlock(address);
    const left = (this.#perBlock.get(block) ?? 1) - 1;
    if (left === 0) this.#perBlock.delete(block);
    else this.#perBlock.set(block, left);
    this.#all--;
  }
}
