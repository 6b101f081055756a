/**
 * Starts expensive work of many holders (users, network addresses) at a bounded pace: so many at once, and with a pause
 * between two, so that everything else on the event loop goes on. What waits is served in order, the holders by turns:
 * one with much work delays another by one piece of it.
 */
import { monotonic } from '../clock.js';

export interface TurnsParts {
  /** How much may be under way at once. */
  most(): number;
  /** The shortest time between two starts, in ms. */
  readonly pauseMs: number;
  /** Work that takes longer than this no longer counts, in ms: it waits for somebody else, and must not hold up the rest. */
  readonly longestMs: number;
}

/** Work begins. It calls `done` when it has ended, any number of times. */
export type Begin = (done: () => void) => void;

export class Turns {
  readonly #parts: TurnsParts;
  /** By holder; the one that was served last is the last. Bounded by the callers. */
  readonly #waiting = new Map<string, Set<Begin>>();
  #size = 0;
  #active = 0;
  #next = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(parts: TurnsParts) {
    this.#parts = parts;
  }

  /** How many wait. */
  get waiting(): number {
    return this.#size;
  }

  /** How many are under way. */
  get active(): number {
    return this.#active;
  }

  /** Calls `begin` when it is its turn, which may be at once. Returns a function that withdraws it. */
  take(holder: string, begin: Begin): () => void {
    const own = this.#waiting.get(holder);
    if (own === undefined) this.#waiting.set(holder, new Set([begin]));
    else own.add(begin);
    this.#size++;
    this.#serve();
    return () => this.#remove(holder, begin);
  }

  #remove(holder: string, begin: Begin): void {
    const own = this.#waiting.get(holder);
    if (own?.delete(begin) !== true) return;
    this.#size--;
    if (own.size === 0) this.#waiting.delete(holder);
  }

  #serve(): void {
    while (this.#size > 0 && this.#active < this.#parts.most() && this.#timer === undefined) {
      const left = this.#next - monotonic();
      if (left > 0) this.#timer = setTimeout(this.#isDue, left).unref();
      else this.#begin();
    }
  }

  readonly #isDue = (): void => {
    this.#timer = undefined;
    if (this.#size > 0 && this.#active < this.#parts.most()) this.#begin();
    this.#serve();
  };

  #begin(): void {
    const [holder, own] = this.#waiting.entries().next().value!;
    const [begin] = own as Set<Begin>;
    this.#remove(holder, begin!);
    if (own.size > 0) {
      this.#waiting.delete(holder);
      this.#waiting.set(holder, own);
    }
    this.#active++;
    this.#next = monotonic() + this.#parts.pauseMs;
    let isDone = false;
    const done = () => {
      if (isDone) return;
      isDone = true;
      clearTimeout(late);
      this.#active--;
      this.#serve();
    };
    const late = setTimeout(done, this.#parts.longestMs).unref();
    begin!(done);
  }
}
