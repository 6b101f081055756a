/**
 * Those who logged in without an account (XEP-0175): what they stored is forgotten once they are gone. Who is there is
 * written down, so that the next process forgets what this one does not come to.
 */
import type { DocumentStore } from '../storage/contract.js';
import { Jid } from './stanza/jid.js';

export interface PassingParts {
  readonly store: DocumentStore<true>;
  /** Forgets all that belongs to the address but for the entry in `store`. */
  forget(jid: Jid): Promise<void>;
  failed(error: unknown): void;
}

/** Addresses that are read at a time. */
const page = 100;

export class Passing {
  readonly #parts: PassingParts;
  readonly #underWay = new Set<Promise<void>>();

  constructor(parts: PassingParts) {
    this.#parts = parts;
  }

  /** To be called before anything is stored for it: that is written behind this. */
  came({ bare }: Jid): void {
    this.#run(this.#parts.store.set(bare, true));
  }

  /** Its last session is gone; `told`: so are all who have to hear of it. */
  left(jid: Jid, told: Promise<void> | void): void {
    this.#run(Promise.resolve(told).then(() => this.#forget(jid)));
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
  }

  #run(work: Promise<unknown>): void {
    const done = work.catch((error: unknown) => this.#parts.failed(error)).then(() => void this.#underWay.delete(done));
    this.#underWay.add(done);
  }
}
