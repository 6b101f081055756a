/** Progress of a long command: one line that changes on a terminal, else a line every ten seconds. */
import { monotonic } from '../clock.js';
import { plain } from '../plain.js';

/** Between two updates, in ms. */
const onTerminal = 100;
const otherwise = 10_000;
const width = 24;

export class ProgressBar {
  readonly #output: NodeJS.WriteStream;
  readonly #interval: number;
  #shown = Number.NEGATIVE_INFINITY;

  constructor(output: NodeJS.WriteStream = process.stderr) {
    this.#output = output;
    this.#interval = output.isTTY ? onTerminal : otherwise;
  }

  /** `part`: 0 to 1. */
  show(part: number, text: () => string): void {
    const now = monotonic();
    if (now - this.#shown < this.#interval) return;
    this.#shown = now;
    const whole = Math.min(1, Math.max(0, part));
    const full = Math.round(whole * width);
    const percent = `${Math.floor(whole * 100)} %`.padStart(5);
    if (!this.#output.isTTY) this.#output.write(plain(`${percent}  ${text()}\n`));
    else {
      const line = `[${'#'.repeat(full)}${'-'.repeat(width - full)}] ${percent}  ${text()}`;
      this.#output.write(`\r${plain(line).slice(0, (this.#output.columns ?? 80) - 1)}\x1b[K`);
    }
  }

  /** Removes the line. */
  end(): void {
    if (this.#output.isTTY) this.#output.write('\r\x1b[K');
  }
}
