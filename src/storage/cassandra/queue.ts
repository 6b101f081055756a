/**
 * The operations of each owner, one after the other, in the order of the calls. Appends that wait become one write.
 * Owners do not wait for each other.
 */
import { type LogEntry, StorageError } from '../contract.js';

/** Entries, and characters of them, in one write. Cassandra refuses writes of half a segment of its commit log. */
const mostEntries = 100;
const mostCharacters = 262_144;

/** Writes entries of an owner to a store. */
export type Write = (owner: string, entries: readonly LogEntry[]) => Promise<void>;

interface Append {
  readonly write: Write;
  readonly entry: LogEntry;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

type Work = Append | { readonly run: () => Promise<void> };

export class Queue {
  readonly #owners = new Map<string, Work[]>();
  #isClosed = false;

  append(owner: string, write: Write, entry: LogEntry): Promise<void> {
    return new Promise((resolve, reject) => this.#add(owner, { write, entry, resolve, reject }, reject));
  }

  run<R>(owner: string, work: () => Promise<R>): Promise<R> {
    return new Promise((resolve, reject) => {
      const run = () => work().then(resolve, reject);
      this.#add(owner, { run }, reject);
    });
  }

  /** Resolves when all earlier operations have ended. */
  async flush(): Promise<void> {
    await Promise.all(Array.from(this.#owners.values(), (waiting) => barrier(waiting)));
  }

  /** Refuses later operations, and resolves when the earlier ones have ended. */
  close(): Promise<void> {
    this.#isClosed = true;
    return this.flush();
  }

  demandOpen(): void {
    if (this.#isClosed) throw new StorageError('unavailable', 'the storage is closed');
  }

  #add(owner: string, work: Work, reject: (error: unknown) => void): void {
    if (this.#isClosed) {
      reject(new StorageError('unavailable', 'the storage is closed'));
      return;
    }
    const waiting = this.#owners.get(owner);
    if (waiting !== undefined) {
      waiting.push(work);
      return;
    }
    this.#owners.set(owner, [work]);
    // What comes in the same turn becomes one write.
    queueMicrotask(() => void this.#work(owner));
  }

  /** Runs what waits, until nothing does. Never rejects: each operation has its own promise. */
  async #work(owner: string): Promise<void> {
    for (;;) {
      const waiting = this.#owners.get(owner)!;
      if (waiting.length === 0) break;
      const [first] = waiting as [Work];
      if ('run' in first) {
        waiting.shift();
        await first.run();
        continue;
      }
      const appends = appendsOf(waiting, first.write);
      waiting.splice(0, appends.length);
      await first
        .write(
          owner,
          appends.map(({ entry }) => entry),
        )
        .then(
          () => {
            for (const { resolve } of appends) resolve();
          },
          (error: unknown) => {
            for (const { reject } of appends) reject(error);
          },
        );
    }
    this.#owners.delete(owner);
  }
}

const barrier = (waiting: Work[]): Promise<void> =>
  new Promise((resolve) => waiting.push({ run: async () => resolve() }));

/** The appends at the front that go into one write. */
function appendsOf(waiting: readonly Work[], write: Write): Append[] {
  const appends: Append[] = [];
  let characters = 0;
  for (const work of waiting) {
    if ('run' in work || work.write !== write || appends.length === mostEntries) break;
    characters += work.entry.value.length;
    if (appends.length > 0 && characters > mostCharacters) break;
    appends.push(work);
  }
  return appends;
}
