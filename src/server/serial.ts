/** Runs work one after the other for each key, in the order of the calls. */
export class Serial {
  /** The last work of each busy key; bounded by the pending work. */
  readonly #tails = new Map<string, Promise<unknown>>();

  /** Settles as `work` does. `work` must not wait for the same key. */
  run<T>(key: string, work: () => Promise<T>): Promise<T> {
    const before = this.#tails.get(key) ?? Promise.resolve();
    const done = before.then(work, work);
    this.#tails.set(key, done);
    const end = () => {
      if (this.#tails.get(key) === done) this.#tails.delete(key);
    };
    done.then(end, end);
    return done;
  }
}
