/**
 * A durable queue of what is to be sent to services of others. What was added is tried until it is delivered, refused or
 * out of date, also after a restart; what is given up is kept for the administrator. Entries of one destination are
 * tried one at a time, in order. Destinations at the same service share a lane, which has a breaker and a
 * limit of concurrent attempts.
 *
 * Everything lives at one node, the home of `owner`.
 */
import type { MapStore } from '../../storage/contract.js';
import { monotonic, wall } from '../clock.js';
import { Breaker } from '../limits/breaker.js';

/** An entry as it is stored, under the destination and an id. */
export interface StoredDelivery<T> {
  readonly value: T;
  /** When it was added, and when it will be out of date, in ms since 1970. */
  readonly at: number;
  readonly until: number;
  readonly tries: number;
  /** Why the last attempt failed, or why it was given up. */
  readonly why?: string | undefined;
}

export type Outcome =
  | { readonly kind: 'delivered' }
  /** The destination no longer exists. All its entries are dropped. */
  | { readonly kind: 'gone' }
  /** Nobody will ever take this entry. */
  | { readonly kind: 'refused'; readonly why: string }
  /** `isOutage`: the whole lane does not work. `afterMs`: no earlier. */
  | { readonly kind: 'retry'; readonly why: string; readonly isOutage: boolean; readonly afterMs?: number | undefined };

export interface DeliveriesParts<T> {
  readonly owner: string;
  readonly pending: MapStore<StoredDelivery<T>>;
  readonly dead: MapStore<StoredDelivery<T>>;
  /** Unique among all entries, and greater than those before. */
  id(): string;
  laneOf(destination: string, value: T): string;
  /** Never rejects. */
  attempt(destination: string, value: T): Promise<Outcome>;
  /** What is kept of an entry that was given up. */
  remains(value: T): T;
  /** One entry in place of one that waits and a later one. Undefined if both have to be delivered. */
  merge(waiting: T, later: T): T | undefined;
  gone(destination: string): Promise<void>;
  readonly limits: () => {
    /** Entries in all, and of those that were given up. */
    readonly pending: number;
    readonly dead: number;
    readonly tries: number;
    /** Attempts at once of one lane. */
    readonly atOnce: number;
    readonly timeoutMs: number;
  };
  /** A lane stopped working, or works again. */
  outage(lane: string, isOver: boolean, error: unknown): void;
  broke(error: unknown): void;
  /** Returns a number as `Math.random` does. */
  readonly random?: () => number;
}

interface Entry<T> {
  readonly key: string;
  stored: StoredDelivery<T>;
  /** By the monotonic clock, in ms. */
  readonly expires: number;
  due: number;
}

interface Destination<T> {
  readonly entries: Entry<T>[];
  isBusy: boolean;
  timer: NodeJS.Timeout | undefined;
}

interface Lane {
  readonly breaker: Breaker;
  running: number;
  readonly waiting: Set<string>;
  isOut: boolean;
}

/** The pause after the first failure, and the longest one, in ms. It doubles, and varies by half of it. */
const firstPause = 2000;
const longestPause = 900_000;
/** The pause while the lane does not work, or there are too many lanes. */
const outagePause = 4000;
const mostLanes = 1000;
const pageLength = 500;
/** No destination has it. */
const separator = ' ';

/** The breaker is told by this what is wrong with a lane. */
class LaneError extends Error {
  override readonly name = 'LaneError';
  constructor(readonly outcome: Outcome) {
    super('the service does not work');
  }
}
class Refused extends Error {}

export class Deliveries<T> {
  readonly #parts: DeliveriesParts<T>;
  readonly #random: () => number;
  readonly #destinations = new Map<string, Destination<T>>();
  readonly #lanes = new Map<string, Lane>();
  #size = 0;
  #opening: Promise<void> | undefined;
  /** Changes when the queue moves to another node: what is under way no longer counts. */
  #generation = 0;
  #isStopped = false;
  /** Keys of entries that were given up, oldest first. */
  #dead: string[] = [];
  readonly counts = { delivered: 0, retried: 0, gone: 0, dead: 0 };

  constructor(parts: DeliveriesParts<T>) {
    this.#parts = parts;
    this.#random = parts.random ?? Math.random;
  }

  /** Entries that wait. */
  get size(): number {
    return this.#size;
  }

  /** Reads what is stored, and goes on with it. */
  open(): Promise<void> {
    if (this.#isStopped) return Promise.resolve();
    this.#opening ??= this.#load(this.#generation).catch((error: unknown) => {
      this.#opening = undefined;
      throw error;
    });
    return this.#opening;
  }

  async #load(generation: number): Promise<void> {
    const { owner, pending, dead } = this.#parts;
    const deadKeys: string[] = [];
    for await (const [key] of pages(dead, owner)) deadKeys.push(key);
    const found: [string, StoredDelivery<T>][] = [];
    for await (const one of pages(pending, owner)) found.push(one);
    if (generation !== this.#generation) return;
    // Keys begin with the destination, but the oldest of all are to be dropped first.
    this.#dead = deadKeys.sort((a, b) => (idIn(a) < idIn(b) ? -1 : 1));
    for (const [key, stored] of found) this.#enqueue(key, stored);
    for (const name of this.#destinations.keys()) this.#pump(name);
  }

  /** The queue has moved to another node: forgets what is in memory. */
  close(): void {
    this.#generation++;
    this.#opening = undefined;
    for (const { timer } of this.#destinations.values()) clearTimeout(timer);
    for (const { breaker } of this.#lanes.values()) breaker.end();
    this.#destinations.clear();
    this.#lanes.clear();
    this.#dead = [];
    this.#size = 0;
  }

  /** The server stops: nothing is tried any more, and what is still added is for the next process. */
  stop(): void {
    this.close();
    this.#isStopped = true;
  }

  /** Resolves once it is durable: true, or false if there is no room. */
  async add(destination: string, value: T, ttlMs: number): Promise<boolean> {
    await this.open();
    const { owner, pending, limits, merge, id } = this.#parts;
    const at = wall();
    if (this.#isStopped) {
      await pending.set(owner, [[destination + separator + id(), { value, at, until: at + ttlMs, tries: 0 }]]);
      return true;
    }
    const present = this.#destinations.get(destination);
    const last = present?.entries.at(-1);
    // The first one may be under way.
    const isWaiting = last !== undefined && !(present!.isBusy && present!.entries.length === 1);
    const merged = isWaiting ? merge(last.stored.value, value) : undefined;
    if (merged !== undefined) {
      last!.stored = { ...last!.stored, value: merged };
      await pending.set(owner, [[last!.key, last!.stored]]);
      return true;
    }
    if (this.#size >= limits().pending) return false;
    const key = destination + separator + id();
    const stored = { value, at, until: at + ttlMs, tries: 0 };
    const generation = this.#generation;
    this.#size++;
    try {
      await pending.set(owner, [[key, stored]]);
    } finally {
      if (generation === this.#generation) this.#size--;
    }
    if (generation !== this.#generation) return true;
    this.#enqueue(key, stored);
    this.#pump(destination);
    return true;
  }

  #enqueue(key: string, stored: StoredDelivery<T>): void {
    const name = destinationIn(key);
    let destination = this.#destinations.get(name);
    if (destination === undefined)
      this.#destinations.set(name, (destination = { entries: [], isBusy: false, timer: undefined }));
    const left = Math.min(Math.max(stored.until - wall(), 0), Math.max(stored.until - stored.at, 0));
    destination.entries.push({ key, stored, expires: monotonic() + left, due: 0 });
    this.#size++;
  }

  /** Tries the first entry of a destination if it is due. */
  #pump(name: string): void {
    const destination = this.#destinations.get(name);
    const entry = destination?.entries[0];
    if (destination === undefined || entry === undefined) {
      this.#destinations.delete(name);
      return;
    }
    clearTimeout(destination.timer);
    if (destination.isBusy) return;
    const now = monotonic();
    if (entry.due > now) {
      destination.timer = setTimeout(() => this.#pump(name), entry.due - now);
      destination.timer.unref();
      return;
    }
    const lane = this.#lane(this.#parts.laneOf(name, entry.stored.value));
    if (lane === undefined) {
      entry.due = now + this.#varied(outagePause);
      this.#pump(name);
    } else if (lane.running >= this.#parts.limits().atOnce) lane.waiting.add(name);
    else void this.#try(name, destination, entry, lane);
  }

  /** Never rejects. */
  async #try(name: string, destination: Destination<T>, entry: Entry<T>, lane: Lane): Promise<void> {
    const generation = this.#generation;
    destination.isBusy = true;
    lane.running++;
    try {
      const outcome =
        entry.expires <= monotonic()
          ? ({ kind: 'refused', why: entry.stored.why ?? 'it could not be delivered in time' } as const)
          : await this.#attempt(name, entry, lane);
      if (generation === this.#generation) await this.#settle(name, destination, entry, outcome);
    } catch (error) {
      this.#parts.broke(error);
      entry.due = monotonic() + this.#varied(outagePause);
    }
    destination.isBusy = false;
    lane.running--;
    if (generation !== this.#generation) return;
    // Others first: a destination with many entries must not keep the lane.
    this.#next(lane);
    this.#pump(name);
  }

  /** Resolves with undefined if it was not tried, because the lane does not work. */
  async #attempt(name: string, entry: Entry<T>, lane: Lane): Promise<Outcome | undefined> {
    const attempt = async () => {
      const outcome = await this.#parts.attempt(name, entry.stored.value);
      if (outcome.kind === 'retry' && outcome.isOutage) throw new LaneError(outcome);
      return outcome;
    };
    try {
      return await lane.breaker.run(attempt);
    } catch (error) {
      if (error instanceof LaneError) return error.outcome;
      if (error instanceof Refused) return undefined;
      throw error;
    }
  }

  async #settle(
    name: string,
    destination: Destination<T>,
    entry: Entry<T>,
    outcome: Outcome | undefined,
  ): Promise<void> {
    const { owner, pending, limits } = this.#parts;
    if (outcome === undefined) {
      entry.due = monotonic() + this.#varied(outagePause);
      return;
    }
    if (outcome.kind === 'gone') {
      this.counts.gone++;
      const keys = destination.entries.map(({ key }) => key);
      await pending.delete(owner, keys);
      this.#remove(destination, destination.entries.length);
      await this.#parts.gone(name);
      return;
    }
    if (outcome.kind === 'delivered') {
      this.counts.delivered++;
      await pending.delete(owner, [entry.key]);
      this.#remove(destination, 1);
      return;
    }
    const tries = entry.stored.tries + 1;
    const stored = { ...entry.stored, tries, why: outcome.why };
    const isOver = outcome.kind === 'refused' || tries >= limits().tries;
    if (isOver) return this.#giveUp(destination, entry, stored);
    this.counts.retried++;
    entry.stored = stored;
    const pause = Math.min(longestPause, firstPause * 2 ** (tries - 1));
    entry.due = monotonic() + Math.max(Math.min(outcome.afterMs ?? 0, longestPause), this.#varied(pause));
    await pending.set(owner, [[entry.key, stored]]);
  }

  async #giveUp(destination: Destination<T>, { key }: Entry<T>, stored: StoredDelivery<T>): Promise<void> {
    const { owner, pending, dead, limits, remains } = this.#parts;
    this.counts.dead++;
    const surplus = this.#dead.splice(0, Math.max(0, this.#dead.length + 1 - limits().dead));
    if (limits().dead > 0) this.#dead.push(key);
    // In this order: after a crash in between it is tried once more.
    await Promise.all([
      limits().dead > 0 ? dead.set(owner, [[key, { ...stored, value: remains(stored.value) }]]) : undefined,
      surplus.length > 0 ? dead.delete(owner, surplus) : undefined,
      pending.delete(owner, [key]),
    ]);
    this.#remove(destination, 1);
  }

  #remove(destination: Destination<T>, count: number): void {
    destination.entries.splice(0, count);
    this.#size -= count;
  }

  /** Drops what waits for a destination. */
  async forget(name: string): Promise<void> {
    await this.open();
    const destination = this.#destinations.get(name);
    if (destination === undefined) return;
    // The one that is under way is dropped when it has been tried.
    const first = destination.isBusy ? 1 : 0;
    const keys = destination.entries.splice(first).map(({ key }) => key);
    this.#size -= keys.length;
    if (keys.length > 0) await this.#parts.pending.delete(this.#parts.owner, keys);
    this.#pump(name);
  }

  // --- lanes ------------------------------------------------------------------------------------------------------

  /** Undefined if there are too many. */
  #lane(name: string): Lane | undefined {
    const present = this.#lanes.get(name);
    if (present !== undefined) return present;
    if (this.#lanes.size >= mostLanes) {
      for (const [other, { running, waiting, isOut, breaker }] of this.#lanes) {
        if (running > 0 || waiting.size > 0 || isOut) continue;
        breaker.end();
        this.#lanes.delete(other);
      }
      if (this.#lanes.size >= mostLanes) return undefined;
    }
    const lane: Lane = {
      running: 0,
      waiting: new Set(),
      isOut: false,
      breaker: new Breaker({
        limits: () => {
          const { atOnce, timeoutMs } = this.#parts.limits();
          return { within: timeoutMs, operations: atOnce, bytes: Number.POSITIVE_INFINITY };
        },
        // The next attempt is the probe.
        probe: async () => {},
        isFailure: (error) => error instanceof LaneError,
        refusal: () => new Refused(),
        opened: (error) => {
          lane.isOut = true;
          this.#parts.outage(name, false, error);
        },
        closed: () => {
          lane.isOut = false;
          this.#parts.outage(name, true, undefined);
        },
      }),
    };
    this.#lanes.set(name, lane);
    return lane;
  }

  #next(lane: Lane): void {
    const [name] = lane.waiting;
    if (name === undefined) return;
    lane.waiting.delete(name);
    this.#pump(name);
  }

  /** Lanes that do not work now. */
  get outages(): number {
    return [...this.#lanes.values()].filter(({ isOut }) => isOut).length;
  }

  // --- what was given up ------------------------------------------------------------------------------------------

  async listDead(page: {
    readonly after?: string | undefined;
    readonly limit: number;
  }): Promise<[string, StoredDelivery<T>][]> {
    return this.#parts.dead.page(this.#parts.owner, page);
  }

  /** Tries entries that were given up again. Returns how many. */
  async retry(keys: readonly string[], ttlMs: number): Promise<number> {
    await this.open();
    const { owner, dead, pending } = this.#parts;
    let count = 0;
    for (const key of keys) {
      const found = await dead.get(owner, key);
      if (found === undefined) continue;
      const at = wall();
      const stored = { value: found.value, at, until: at + ttlMs, tries: 0 };
      await Promise.all([pending.set(owner, [[key, stored]]), dead.delete(owner, [key])]);
      this.#dead = this.#dead.filter((one) => one !== key);
      this.#enqueue(key, stored);
      this.#pump(destinationIn(key));
      count++;
    }
    return count;
  }

  /** Returns how many there were. */
  async drop(keys: readonly string[]): Promise<number> {
    await this.open();
    const gone = new Set(keys);
    this.#dead = this.#dead.filter((key) => !gone.has(key));
    return this.#parts.dead.delete(this.#parts.owner, keys);
  }

  #varied(ms: number): number {
    return ms * (0.5 + this.#random());
  }
}

/** Of the key of an entry. */
export const destinationIn = (key: string): string => key.slice(0, key.lastIndexOf(separator));
const idIn = (key: string): string => key.slice(key.lastIndexOf(separator) + 1);

async function* pages<V>(store: MapStore<V>, owner: string): AsyncGenerator<[string, V]> {
  let after: string | undefined;
  for (;;) {
    const page = await store.page(owner, { after, limit: pageLength });
    yield* page;
    if (page.length < pageLength) return;
    after = page.at(-1)![0];
  }
}
