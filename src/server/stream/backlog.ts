/**
 * How much waits for the disk, over all streams. Where it is too much, whoever adds to it is read no further until half
 * of it is done: senders go as fast as the disk does, and nothing is refused for want of room in its queue.
 */
export class Backlog {
  #waiting = 0;
  #resume: (() => void)[] = [];

  constructor(
    /** Stanzas that may wait. */
    readonly most: () => number,
    readonly reached: () => void,
  ) {}

  get waiting(): number {
    return this.#waiting;
  }

  add(durable: Promise<unknown>): void {
    this.#waiting++;
    durable.then(this.#settled, this.#settled);
  }

  #settled = (): void => {
    this.#waiting--;
    if (this.#resume.length === 0 || this.#waiting * 2 > this.most()) return;
    const resume = this.#resume;
    this.#resume = [];
    for (const one of resume) one();
  };

  /** undefined: there is room. */
  room(): Promise<void> | undefined {
    if (this.#waiting < this.most()) return undefined;
    this.reached();
    return new Promise((resolve) => this.#resume.push(resolve));
  }
}
