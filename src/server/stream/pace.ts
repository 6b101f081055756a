/** Spaces out an action that would be repeated in quick succession: what becomes due meanwhile is done together. */
import { monotonic } from '../clock.js';

export class Pace {
  readonly #ms: number;
  readonly #act: () => void;
  #actedAt = Number.NEGATIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;

  /** `ms`: the shortest time between two calls of `act`, unless `act` is called directly. */
  constructor(ms: number, act: () => void) {
    this.#ms = ms;
    this.#act = act;
  }

  /** Acts at once if that was not done recently, else as soon as the time is over. */
  due(): void {
    if (this.#timer !== undefined) return;
    const left = this.#actedAt + this.#ms - monotonic();
    if (left <= 0) this.act();
    else this.#timer = setTimeout(() => this.act(), left).unref();
  }

  /** Acts at once. */
  act(): void {
    this.cancel();
    this.#actedAt = monotonic();
    this.#act();
  }

  /** Acts at once if it is due. */
  actIfDue(): void {
    if (this.#timer !== undefined) this.act();
  }

  /** It is no longer due. */
  cancel(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
