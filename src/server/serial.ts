/** Runs pieces of work one after the other for each key, in the order in which they were asked for. */
export class Serial {
  /** The last piece of work of each key that has any; bounded by the work under way. */
  readonly #tails = new Map<string, Promise<unknown>>();

  /** Settles as `work` does. `work` must not ask for the same key again and wait for it. */
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
