/** The sessions that can be resumed (XEP-0198 §5): in this process, and on disk for the next. */
import type { DocumentStore } from '../../storage/contract.js';
import { Holdings } from '../holdings.js';
import type { Jid } from '../stanza/jid.js';
import { msLeft, type SavedSm, type Surroundings } from './xep-0198-record.js';
import type { Sm, Snapshots } from './xep-0198-sm.js';

/** Ended sessions whose last count is remembered. */
const mostPast = 10_000;
/** The same of one account. */
const mostPastOfOne = 32;

/**
 * The resumable sessions of this process, by their ids, and what is on disk of them. After a crash that is either what
 * both sides know, or nothing: the first stanza makes it outdated, and whatever that stanza brings about is told to be
 * done only when the disk has forgotten the session.
 */
export class Resumables implements Snapshots {
  readonly #all = new Map<string, Sm>();
  /** What those that ended had handled. */
  readonly #past = new Holdings<number>(mostPastOfOne);
  /** What the disk would not forget. */
  readonly #left = new Set<string>();
  #forgetting = 0;
  #outdating: Promise<unknown> | undefined;
  #isFailing = false;
  /** The process ends: what changes is written anew. */
  #describe: ((sm: Sm) => Surroundings) | undefined;

  constructor(
    readonly store: DocumentStore<SavedSm>,
    /** The disk began to fail: sessions may not outlive a crash, or be resumed with old counts after it. */
    readonly failed: (error: unknown) => void,
  ) {}

  add(sm: Sm): void {
    this.#all.set(sm.id, sm);
  }

  get(id: string): Sm | undefined {
    return this.#all.get(id);
  }

  /** Writes a session down as it is, to be resumed after a crash. */
  keep(sm: Sm, surroundings: Surroundings): void {
    sm.kept = true;
    this.#left.delete(sm.id);
    // Those that were not kept for longest come first the next time.
    this.#all.delete(sm.id);
    this.#all.set(sm.id, sm);
    void this.#write(sm, surroundings).catch(this.#complain);
  }

  #write(sm: Sm, surroundings: Surroundings): Promise<void> {
    return this.store.set(sm.id, sm.save(surroundings)).then(() => {
      this.#isFailing = false;
    });
  }

  #complain = (error: unknown): void => {
    if (!this.#isFailing) this.failed(error);
    this.#isFailing = true;
  };

  /** Resolves once nothing is on disk of all that is outdated by now; undefined: that is so. Never rejects. */
  get outdating(): Promise<unknown> | undefined {
    return this.#outdating;
  }

  /** What is on disk of it holds no longer. Resolves once it is gone; never rejects. */
  outdated(sm: Sm): Promise<void> | undefined {
    if (!sm.kept) return undefined;
    if (this.#describe !== undefined) return this.#write(sm, this.#describe(sm)).catch(this.#complain);
    sm.kept = false;
    return this.#forget(sm.id);
  }

  /** Never rejects. */
  #forget(id: string): Promise<void> {
    this.#forgetting++;
    const forgotten = this.store.forget(id).then(
      () => void this.#forgetting--,
      (error: unknown) => {
        this.#forgetting--;
        this.#left.add(id);
        this.#complain(error);
      },
    );
    const all = this.#outdating === undefined ? forgotten : Promise.all([this.#outdating, forgotten]);
    this.#outdating = all;
    const done = () => {
      if (this.#outdating === all) this.#outdating = undefined;
    };
    all.then(done, done);
    return forgotten;
  }

  /** Tries again to have forgotten what has to be. */
  forgetLeft(): void {
    const ids = [...this.#left];
    this.#left.clear();
    for (const id of ids) void this.#forget(id);
  }

  delete(sm: Sm): void {
    if (!this.#all.delete(sm.id)) return;
    this.#past.set(sm.session.jid.bare, sm.id, sm.h, mostPast);
    if (!sm.kept) return;
    sm.kept = false;
    void this.#forget(sm.id);
  }

  /** §5: how many stanzas of the client were handled in a session that has ended, where that is still known. */
  lastCount(id: string, owner: Jid): number | undefined {
    return this.#past.get(owner.bare, id);
  }

  all(): Iterable<Sm> {
    return this.#all.values();
  }

  get size(): number {
    return this.#all.size;
  }

  /** Records that the disk has yet to forget. */
  get forgetting(): number {
    return this.#left.size + this.#forgetting;
  }

  /** How many would outlive a crash. */
  get kept(): number {
    let count = 0;
    for (const { kept } of this.#all.values()) if (kept) count++;
    return count;
  }

  /** Writes all down, to be resumed by the next process, and again those that change after that. Resolves once they are on disk. */
  async save(now: number, describe: (sm: Sm) => Surroundings): Promise<void> {
    this.#describe = describe;
    const saved: Promise<void>[] = [];
    for (const sm of this.#all.values()) {
      if (sm.connected) sm.detach(now);
      sm.kept = true;
      saved.push(this.#write(sm, describe(sm)));
    }
    await Promise.all(saved);
  }

  /**
   * Takes up what the process before wrote down, of those that `concerns` is true for: each that has not expired is handed to
   * `revive`.
   */
  async load(
    concerns: (id: string, saved: SavedSm) => boolean,
    revive: (id: string, saved: SavedSm) => void,
  ): Promise<void> {
    let after: string | undefined;
    for (;;) {
      const ids = await this.store.owners({ after, limit: 500 });
      if (ids.length === 0) return;
      after = ids.at(-1);
      const found = await this.store.getMany(ids);
      for (const id of ids) {
        const saved = found.get(id);
        // A damaged record, which was reported, is of no use to anybody.
        if (saved === undefined) await this.store.forget(id);
        else if (!concerns(id, saved)) continue;
        else if (msLeft(saved) > 0 || saved.queue.length > 0) revive(id, saved);
        else await this.store.forget(id);
      }
    }
  }
}
