/** Resumable sessions (XEP-0198 §5): in this process, and stored for the next one. */
import type { DocumentStore } from '../../storage/contract.js';
import type { Jid } from '../address/jid.js';
import { Holdings } from '../limits/holdings.js';
import { msLeft, type SavedSm, type Surroundings } from './xep-0198-record.js';
import type { Sm, Snapshots } from './xep-0198-sm.js';

/** Ended sessions whose last count is remembered. */
const mostEnded = 10_000;
/** The same for one account. */
const mostEndedOfOne = 32;

/** How many stanzas an ended session handled. */
export interface EndedCount {
  readonly bare: string;
  readonly id: string;
  readonly h: number;
}

/**
 * The resumable sessions of this process by id, and their snapshots. After a crash a snapshot is either what both sides
 * know, or absent: the first stanza makes it stale, and the effects of that stanza are acknowledged only after the
 * snapshot has been deleted.
 */
export class Resumables implements Snapshots {
  readonly #all = new Map<string, Sm>();
  /** Stanzas handled by ended sessions. */
  readonly #endedCounts = new Holdings<number>(mostEndedOfOne);
  /** The latest writes of snapshots that are not durable yet, by session. */
  readonly #writing = new Map<string, Promise<void>>();
  /** Snapshots that could not be deleted. */
  readonly #undeleted = new Set<string>();
  #deleting = 0;
  #invalidating: Promise<unknown> | undefined;
  #isFailing = false;
  /** Set during shutdown: changes are then saved again. */
  #surroundingsOf: ((sm: Sm) => Surroundings) | undefined;

  constructor(
    readonly store: DocumentStore<SavedSm>,
    /** Called when storage starts to fail: sessions may not survive a crash, or resume with stale counts after it. */
    readonly failed: (error: unknown) => void,
  ) {}

  add(sm: Sm): void {
    this.#all.set(sm.id, sm);
  }

  get(id: string): Sm | undefined {
    return this.#all.get(id);
  }

  /** Stores a snapshot of a session, to be resumed after a crash. */
  snapshot(sm: Sm, surroundings: Surroundings): void {
    sm.hasSnapshot = true;
    this.#undeleted.delete(sm.id);
    // Moves to the end: sessions without a snapshot for longest come first next time.
    this.#all.delete(sm.id);
    this.#all.set(sm.id, sm);
    const done = () => {
      if (this.#writing.get(sm.id) === written) this.#writing.delete(sm.id);
    };
    const written: Promise<void> = this.#write(sm, surroundings).catch(this.#complain).then(done, done);
    this.#writing.set(sm.id, written);
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

  /** Resolves once every stale snapshot has been deleted. Returns undefined if there is none. Never rejects. */
  get invalidating(): Promise<unknown> | undefined {
    return this.#invalidating;
  }

  /**
   * The snapshot is stale. Resolves once it is deleted or replaced. Returns undefined if there is none. Never rejects.
   */
  invalidate(sm: Sm): Promise<void> | undefined {
    if (!sm.hasSnapshot) return undefined;
    if (this.#surroundingsOf !== undefined) return this.#write(sm, this.#surroundingsOf(sm)).catch(this.#complain);
    sm.hasSnapshot = false;
    return this.#delete(sm.id);
  }

  /** Never rejects. */
  #delete(id: string): Promise<void> {
    this.#deleting++;
    const deleted = this.store.forget(id).then(
      () => void this.#deleting--,
      (error: unknown) => {
        this.#deleting--;
        this.#undeleted.add(id);
        this.#complain(error);
      },
    );
    const all = this.#invalidating === undefined ? deleted : Promise.all([this.#invalidating, deleted]);
    this.#invalidating = all;
    const done = () => {
      if (this.#invalidating === all) this.#invalidating = undefined;
    };
    all.then(done, done);
    return deleted;
  }

  /** Retries failed deletions. */
  retryDeletes(): void {
    const ids = [...this.#undeleted];
    this.#undeleted.clear();
    for (const id of ids) void this.#delete(id);
  }

  /** The session has moved to another node, and its snapshot was deleted before. */
  remove(sm: Sm): void {
    this.#all.delete(sm.id);
  }

  delete(sm: Sm): void {
    if (!this.#all.delete(sm.id)) return;
    this.noteEnded({ bare: sm.session.jid.bare, id: sm.id, h: sm.h });
    if (!sm.hasSnapshot) return;
    sm.hasSnapshot = false;
    void this.#delete(sm.id);
  }

  /** §5: how many of the client's stanzas an ended session handled. Returns undefined if no longer known. */
  lastCount(id: string, owner: Jid): number | undefined {
    return this.#endedCounts.get(owner.bare, id);
  }

  /** The last counts of the ended sessions of these accounts, which move to another node. */
  *endedOf(concerns: (bare: string) => boolean): Iterable<EndedCount> {
    for (const [bare, id, h] of this.#endedCounts.all()) if (concerns(bare)) yield { bare, id, h };
  }

  noteEnded({ bare, id, h }: EndedCount): void {
    this.#endedCounts.set(bare, id, h, mostEnded);
  }

  all(): Iterable<Sm> {
    return this.#all.values();
  }

  get size(): number {
    return this.#all.size;
  }

  /** Snapshots still to be deleted. */
  get pendingDeletes(): number {
    return this.#undeleted.size + this.#deleting;
  }

  /** How many sessions have a durable snapshot. */
  get snapshots(): number {
    let count = 0;
    for (const { hasSnapshot, id } of this.#all.values()) if (hasSnapshot && !this.#writing.has(id)) count++;
    return count;
  }

  /** Saves all sessions for the next process, and each again when it changes. Resolves once they are durable. */
  async save(now: number, surroundingsOf: (sm: Sm) => Surroundings): Promise<void> {
    this.#surroundingsOf = surroundingsOf;
    const saved: Promise<void>[] = [];
    for (const sm of this.#all.values()) {
      if (sm.connected) sm.detach(now);
      sm.hasSnapshot = true;
      saved.push(this.#write(sm, surroundingsOf(sm)));
    }
    await Promise.all(saved);
  }

  /**
   * Loads the sessions saved by the previous process for which `concerns` is true. Each that has not expired is passed
   * to `revive`.
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
        // A damaged record has been reported and is useless.
        if (saved === undefined) await this.store.forget(id);
        else if (!concerns(id, saved)) continue;
        else if (msLeft(saved) > 0 || saved.queue.length > 0) revive(id, saved);
        else await this.store.forget(id);
      }
    }
  }
}
