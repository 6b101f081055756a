/**
 * Shares the time of the event loop among those with work. Work may be done at once until the time of a turn is used up.
 * The rest waits, and is served in order in the next turns.
 */
export class TurnQueue<T> {
  readonly #turnMs: number;
  readonly #serve: (one: T) => boolean;
  readonly #mostPerTurn: number;
  #usedMs = 0;
  /** In order; bounded by the number of those that have work. */
  readonly #waiting = new Set<T>();
  #served: T | undefined;
  #isDue = false;

  /**
   * `turnMs`: time of one turn, in ms. `serve` returns false if there was nothing to do. `mostPerTurn`: how many are
   * served in one turn, whatever time they use.
   */
  constructor(turnMs: number, serve: (one: T) => boolean, mostPerTurn = Number.POSITIVE_INFINITY) {
    this.#turnMs = turnMs;
    this.#serve = serve;
    this.#mostPerTurn = mostPerTurn;
  }

  /** Whether the time of this turn is used up. */
  get isOver(): boolean {
    return this.#usedMs >= this.#turnMs;
  }

  /** Whether this one has to wait, also because others do. */
  isClosedTo(one: T): boolean {
    return one !== this.#served && (this.#waiting.size > 0 || this.isOver);
  }

  /** Counts time that was used since those that wait were last served. */
  worked(ms: number): void {
    this.#usedMs += ms;
    if (this.isOver) this.#arrange();
  }

  /** Is served in a later turn, after those already waiting. */
  wait(one: T): void {
    this.#waiting.add(one);
    this.#arrange();
  }

  #arrange(): void {
    if (this.#isDue) return;
    this.#isDue = true;
    setImmediate(this.#next);
  }

  readonly #next = (): void => {
    this.#isDue = false;
    this.#usedMs = 0;
    let left = this.#mostPerTurn;
    // Those that begin to wait meanwhile are not served in this turn.
    let present = this.#waiting.size;
    for (const one of this.#waiting) {
      if (present-- === 0 || left === 0 || this.isOver) break;
      this.#waiting.delete(one);
      this.#served = one;
      if (this.#serve(one)) left--;
      this.#served = undefined;
    }
    if (this.#waiting.size > 0) this.#arrange();
  };
}
