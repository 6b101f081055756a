/**
 * XEP-0175: anonymous accounts. What they stored is forgotten when their last session ends. Their addresses are persisted
 * before anything else of them, so that after a crash the next process forgets the rest.
 */
import type { DocumentStore } from '../storage/contract.js';
import { Recent } from '../storage/recent.js';
import { addressBlock } from './config/address.js';
import { Jid } from './stanza/jid.js';

export interface PassingParts {
  readonly store: DocumentStore<true>;
  /** Forgets all that belongs to the address but for the entry in `store`. */
  forget(jid: Jid): Promise<void>;
  failed(error: unknown): void;
}

/** Anonymous accounts of other nodes that are remembered. */
const heardElsewhere = 20_000;

/** Addresses that are read at a time. */
const page = 100;

export class Passing {
  readonly #parts: PassingParts;
  readonly #underWay = new Set<Promise<void>>();
  /** Network addresses (addressBlock) of those that are there, by the bare address. */
  readonly #blocks = new Map<string, string>();
  /** The same of those at other nodes of a cluster that said something here lately. Nobody gets such an address again. */
  readonly #elsewhere = new Recent<string>(heardElsewhere);

  constructor(parts: PassingParts) {
    this.#parts = parts;
  }

  /** To be called before anything is stored for it: writes of one owner become durable in their order. */
  came({ bare }: Jid, address: string): void {
    this.#blocks.set(bare, addressBlock(address));
    this.#run(this.#parts.store.set(bare, true));
  }

  /** Its last session is gone; `told`: so are all who have to hear of it. */
  left(jid: Jid, told: Promise<void> | void): void {
    this.#run(Promise.resolve(told).then(() => this.#forget(jid)));
  }

  /** The network address of an anonymous account that is there, by which its use of bounds is counted. */
  blockOf(bare: string): string | undefined {
    return this.#blocks.get(bare) ?? this.#elsewhere.get(bare);
  }

  /** An anonymous account at another node has said something. */
  heard(bare: string, block: string): void {
    this.#elsewhere.set(bare, block);
  }

  /** Forgets whoever of the process before did not come back. */
  async sweep(isThere: (jid: Jid) => boolean): Promise<void> {
    for (let after: string | undefined; ; ) {
      const owners = await this.#parts.store.owners({ after, limit: page });
      for (const owner of owners) {
        const jid = Jid.tryParse(owner);
        // A damaged key names nobody whose data could be there.
        if (jid === undefined) await this.#parts.store.delete(owner);
        else if (!isThere(jid)) await this.#forget(jid);
        // Its session was restored, and nobody knows from where: it counts by itself.
        else this.#blocks.set(owner, owner);
      }
      after = owners.at(-1);
      if (owners.length < page) return;
    }
  }

  /** Accounts whose data is being written or forgotten. */
  get underWay(): number {
    return this.#underWay.size;
  }

  /** Resolves when what is being written or forgotten now has been. */
  async settled(): Promise<void> {
    await Promise.all(this.#underWay);
  }

  async #forget(jid: Jid): Promise<void> {
    await this.#parts.forget(jid);
    await this.#parts.store.delete(jid.bare);
    this.#blocks.delete(jid.bare);
  }

  #run(work: Promise<unknown>): void {
    const done = work.catch((error: unknown) => this.#parts.failed(error)).then(() => void this.#underWay.delete(done));
    this.#underWay.add(done);
  }
}
