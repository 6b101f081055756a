/** Reads the view whenever a member announces a newer one. */
import type { View, ViewStore } from './view.js';

const { setTimeout } = globalThis;

/** Ms between retries. */
const retryPause = 100;

export interface NewestViewParts {
  readonly views: ViewStore;
  isOver(): boolean;
  /** The version that this node has. */
  version(): number;
  adopt(view: View): void;
  /** The stored view is older than one that this node has already seen: commits are lost. */
  lost(): void;
  warn(message: string, error?: unknown): void;
}

export class NewestView {
  readonly #parts: NewestViewParts;
  /** The newest version announced by any node. */
  #announced = 0;
  #isReading = false;

  constructor(parts: NewestViewParts) {
    this.#parts = parts;
  }

  /** A member has announced a version. */
  announced(version: number): void {
    this.#announced = Math.max(this.#announced, version);
    if (version > this.#parts.version()) this.read();
  }

  /** Reads the view until it is at least as new as the newest announced version. */
  read(): void {
    if (this.#isReading || this.#parts.isOver()) return;
    this.#isReading = true;
    const atLeast = this.#parts.version();
    this.#parts.views.read().then(
      (view) => {
        this.#isReading = false;
        if (view.version < atLeast) {
          this.#parts.warn(
            `the storage has lost commits: the view went back from version ${atLeast} to ${view.version}`,
          );
          return this.#parts.lost();
        }
        this.#parts.adopt(view);
        if (this.#parts.version() < this.#announced) this.#readLater();
      },
      (error: unknown) => {
        this.#isReading = false;
        this.#parts.warn('reading the view of the cluster failed', error);
        this.#readLater();
      },
    );
  }

  #readLater(): void {
    setTimeout(() => this.read(), retryPause);
  }
}
