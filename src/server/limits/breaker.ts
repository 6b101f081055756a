/**
 * A circuit breaker around an engine that can fail or hang, such as a database or a service of somebody else: when it
 * does, requests are refused at once instead of piling up. What is under way is bounded in number and bytes, whether or
 * not it has been given up.
 *
 * Opens if several operations in a row have failed, or if one has not been answered in time and no later one either.
 * Then everything is refused, until a probe is answered in time. An outage that comes back soon counts as the same one,
 * and is probed less often.
 *
 * Time is counted in ticks of a timer, so that a process that was stopped does not blame the engine.
 */
import { monotonic } from '../clock.js';

export interface BreakerLimits {
  /** How long an operation may take, in ms. */
  readonly within: number;
  /** Operations under way, and their bytes. */
  readonly operations: number;
  readonly bytes: number;
}

export interface BreakerParts {
  readonly limits: () => BreakerLimits;
  /** A cheap operation that succeeds if the engine works. */
  probe(): Promise<unknown>;
  /** Whether an error says that the engine does not work, and not that one operation was wrong. */
  isFailure(error: unknown): boolean;
  /** The error for an operation that was given up or not begun. */
  refusal(why: Refused): Error;
  /** An outage has begun. `error`: the last failure, if that is why. */
  opened(error: unknown): void;
  /** It is over. */
  closed(outage: { readonly seconds: number; readonly refused: number }): void;
}

/** `open`: the engine does not answer. `slow`: not this operation, in time. `full`: too much is under way. */
export type Refused = 'open' | 'slow' | 'full';

/** For display. */
export interface BreakerState {
  readonly isOpen: boolean;
  /** When the outage began, by the monotonic clock. */
  readonly since: number | undefined;
  /** Operations refused and given up, since the start. */
  readonly refused: number;
  /** Operations under way, and their bytes. */
  readonly pending: number;
  readonly bytes: number;
}

export interface Weight {
  readonly bytes?: number;
  /** It may take any time, such as the deletion of much. */
  readonly isLong?: boolean;
}

/** An operation is given up after this many ticks. */
const ticks = 5;
/** Failures in a row. */
const mostFailures = 5;
/** Between two probes, in ms: doubled each time that the outage comes back soon, or while a probe is not answered. */
const firstProbe = 1000;
const longestProbe = 4000;
/** An outage that comes back within this time is the same one, in ms. */
const calm = 10_000;

// Captured here: a test may replace the timers.
const { clearInterval, clearTimeout, setInterval, setTimeout } = globalThis;

interface Pending {
  readonly tick: number;
  readonly bytes: number;
  readonly giveUp: (error: Error) => void;
}

export class Breaker {
  readonly #parts: BreakerParts;
  /** Operations that are awaited, oldest first; those that may take any time are not among them. */
  readonly #awaited = new Set<Pending>();
  #pending = 0;
  #bytes = 0;
  #tick = 0;
  #ticking: NodeJS.Timeout | undefined;
  #tickMs = 0;
  /** The tick of the last success. */
  #answered = -1;
  #failures = 0;
  #isOpen = false;
  #isEnded = false;
  #probing: NodeJS.Timeout | undefined;
  #probeMs = firstProbe;
  /** An outage that is not yet reported as over. */
  #outage: { readonly at: number; readonly refused: number } | undefined;
  #closing: NodeJS.Timeout | undefined;
  #closedAt = 0;
  #refused = 0;

  constructor(parts: BreakerParts) {
    this.#parts = parts;
  }

  get state(): BreakerState {
    return {
      isOpen: this.#isOpen,
      since: this.#isOpen ? this.#outage?.at : undefined,
      refused: this.#refused,
      pending: this.#pending,
      bytes: this.#bytes,
    };
  }

  /** Runs an operation. Rejects with `refusal` if it is not begun or given up; it may then still be carried out. */
  run<R>(work: () => Promise<R>, { bytes = 0, isLong = false }: Weight = {}): Promise<R> {
    if (this.#isOpen) return Promise.reject(this.#refuse('open'));
    const limits = this.#parts.limits();
    if (this.#pending >= limits.operations || (this.#bytes + bytes > limits.bytes && this.#pending > 0))
      return Promise.reject(this.#refuse('full'));
    this.#pending++;
    this.#bytes += bytes;
    return new Promise((resolve, reject) => {
      const pending = { tick: this.#tick, bytes, giveUp: reject };
      if (!isLong) this.#awaited.add(pending);
      if (this.#ticking === undefined) this.#startTicking(limits.within);
      work().then(
        (result) => {
          this.#leave(pending);
          this.#answered = this.#tick;
          this.#failures = 0;
          resolve(result);
        },
        (error: unknown) => {
          this.#leave(pending);
          this.#failed(error);
          reject(error);
        },
      );
    });
  }

  /** It is known from elsewhere that the engine does not work. */
  trip(error: unknown): void {
    this.#open(error);
  }

  /** The engine is being closed: nothing is watched any more. */
  end(): void {
    this.#isEnded = true;
    clearInterval(this.#ticking);
    clearTimeout(this.#probing);
    if (this.#closing !== undefined) this.#report();
  }

  #leave(pending: Pending): void {
    this.#pending--;
    this.#bytes -= pending.bytes;
    this.#awaited.delete(pending);
  }

  #failed(error: unknown): void {
    if (!this.#parts.isFailure(error)) {
      this.#answered = this.#tick;
      this.#failures = 0;
    } else if (++this.#failures >= mostFailures) this.#open(error);
  }

  #refuse(why: Refused): Error {
    this.#refused++;
    return this.#parts.refusal(why);
  }

  #startTicking(within: number): void {
    if (this.#isEnded) return;
    this.#tickMs = within / ticks;
    this.#ticking = setInterval(() => this.#ticked(), this.#tickMs).unref();
  }

  #ticked(): void {
    this.#tick++;
    const refused = this.#refused;
    let isOverdue = false;
    for (const pending of this.#awaited) {
      if (this.#tick - pending.tick <= ticks) break;
      // Something that was begun later has been answered: only this one is slow.
      if (this.#answered <= pending.tick) isOverdue = true;
      this.#giveUp(pending, 'slow');
    }
    if (isOverdue) this.#open(undefined, refused);
    const { within } = this.#parts.limits();
    if (this.#awaited.size > 0 && within / ticks === this.#tickMs) return;
    clearInterval(this.#ticking);
    this.#ticking = undefined;
    if (this.#awaited.size > 0) this.#startTicking(within);
  }

  #giveUp(pending: Pending, why: Refused): void {
    this.#awaited.delete(pending);
    pending.giveUp(this.#refuse(why));
  }

  /** `refused`: how many had been refused before it. */
  #open(error: unknown, refused = this.#refused): void {
    if (this.#isOpen || this.#isEnded) return;
    this.#isOpen = true;
    clearTimeout(this.#closing);
    this.#closing = undefined;
    if (this.#outage === undefined) {
      this.#probeMs = firstProbe;
      this.#outage = { at: monotonic(), refused };
      this.#parts.opened(error);
    } else this.#probeMs = Math.min(longestProbe, this.#probeMs * 2);
    for (const pending of this.#awaited) this.#giveUp(pending, 'open');
    this.#probeLater(this.#probeMs);
  }

  /** `ms`: until the probe. */
  #probeLater(ms: number): void {
    clearTimeout(this.#probing);
    this.#probing = setTimeout(() => this.#probe(ms), ms).unref();
  }

  #probe(after: number): void {
    let isLate = false;
    const { within } = this.#parts.limits();
    // If it is never answered, another one follows, after longer and longer.
    this.#probing = setTimeout(() => {
      isLate = true;
      this.#probeLater(Math.min(longestProbe, after * 2));
    }, within).unref();
    this.#parts.probe().then(
      () => {
        if (!this.#isOpen) return;
        // The next one may be answered in time.
        if (isLate) this.#probeLater(firstProbe);
        else this.#close();
      },
      () => {
        if (this.#isOpen && !isLate) this.#probeLater(this.#probeMs);
      },
    );
  }

  #close(): void {
    clearTimeout(this.#probing);
    this.#isOpen = false;
    this.#failures = 0;
    this.#closedAt = monotonic();
    if (this.#isEnded) return;
    this.#closing = setTimeout(() => this.#report(), calm).unref();
  }

  #report(): void {
    const { at, refused } = this.#outage!;
    clearTimeout(this.#closing);
    this.#closing = undefined;
    this.#outage = undefined;
    this.#parts.closed({ seconds: Math.round((this.#closedAt - at) / 1000), refused: this.#refused - refused });
  }
}
