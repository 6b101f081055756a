/**
 * XEP-0175: anonymous accounts. Their data is deleted when their last session ends. Their addresses are persisted
 * before any other data, so that after a crash the next process deletes the rest.
 */
import type { DocumentStore } from '../storage/contract.js';
import { Recent } from '../storage/recent.js';
import { Jid } from './address/jid.js';
import { addressBlock } from './config/address.js';

export interface AnonymousParts {
  readonly store: DocumentStore<true>;
  /** Deletes all data of the address, except the entry in `store`. */
  forget(jid: Jid): Promise<void>;
  failed(error: unknown): void;
}

/** Anonymous accounts of other nodes to remember. */
const mostElsewhere = 20_000;

/** Addresses read at a time. */
const page = 100;

export class AnonymousAccounts {
  readonly #parts: AnonymousParts;
  readonly #pending = new Set<Promise<void>>();
  /** Network addresses (addressBlock) of anonymous accounts with a session, by bare address. */
  readonly #blocks = new Map<string, string>();
  /** The same for recently active ones at other nodes of the cluster. Such addresses are never reused. */
  readonly #elsewhere = new Recent<string>(mostElsewhere);

  constructor(parts: AnonymousParts) {
    this.#parts = parts;
  }

  /** Call this before anything is stored for the account: writes of one owner become durable in order. */
  started({ bare }: Jid, address: string): void {
    this.#blocks.set(bare, addressBlock(address));
    this.#run(this.#parts.store.set(bare, true));
  }

  /** Its last session has ended. Its data is deleted after `notified`: when all modules have been notified. */
  ended(jid: Jid, notified: Promise<void> | void): void {
    this.#run(Promise.resolve(notified).then(() => this.#delete(jid)));
  }

  /**
   * The network address of an anonymous account with a session, by which its use of limits is counted. Returns
   * undefined for other accounts.
   */
  blockOf(bare: string): string | undefined {
    return this.#blocks.get(bare) ?? this.#elsewhere.get(bare);
  }

  /** An anonymous account at another node has sent a stanza. */
  seen(bare: string, block: string): void {
    this.#elsewhere.set(bare, block);
  }

  /** The account lives at another node from now on. */
  left(bare: string): void {
    const block = this.#blocks.get(bare);
    if (block !== undefined) this.#elsewhere.set(bare, block);
    this.#blocks.delete(bare);
  }

  /** The account has moved here with a session. */
  arrived(bare: string, block: string): void {
    this.#blocks.set(bare, block);
  }

  /** Deletes the data of anonymous accounts of the previous process that have no session. */
  async sweep(hasSession: (jid: Jid) => boolean): Promise<void> {
    for (let after: string | undefined; ; ) {
      const owners = await this.#parts.store.owners({ after, limit: page });
      for (const owner of owners) {
        const jid = Jid.tryParse(owner);
        // A damaged key has no data to delete.
        if (jid === undefined) await this.#parts.store.delete(owner);
        else if (!hasSession(jid)) await this.#delete(jid);
        // Its session was restored without its network address: it counts as its own.
        else this.#blocks.set(owner, owner);
      }
      after = owners.at(-1);
      if (owners.length < page) return;
    }
  }

  /** Anonymous accounts whose data is being written or deleted. */
  get pending(): number {
    return this.#pending.size;
  }

  /** Resolves once all pending writes and deletions are done. */
  async drained(): Promise<void> {
    await Promise.all(this.#pending);
  }

  async #delete(jid: Jid): Promise<void> {
    await this.#parts.forget(jid);
    await this.#parts.store.delete(jid.bare);
    this.#blocks.delete(jid.bare);
  }

  #run(work: Promise<unknown>): void {
    const done = work.catch((error: unknown) => this.#parts.failed(error)).then(() => void this.#pending.delete(done));
    this.#pending.add(done);
  }
}
