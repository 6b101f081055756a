/**
 * The two clocks. The wall clock tells the time, and may be set forward or back while the server runs or between runs.
 * The monotonic clock measures time within one process; nobody sets it.
 *
 * Timestamps, and deadlines that outlive the process, use the wall clock. Durations, timeouts and rates within one run
 * use the monotonic clock. Nothing else in src/server and src/modules reads a clock (test/unit/clock.test.ts).
 */
import { uptime as systemUptime } from 'node:os';
import type { Maybe } from './maybe.js';

/** Milliseconds since 1970. */
export const wall = (): number => Date.now();

/** Milliseconds since a fixed moment before the process started: greater than 0, never decreases. */
export const monotonic = (): number => performance.now();

/** Resolves when something is true, or at a time of the monotonic clock. */
export async function poll(isTrue: () => Maybe<boolean>, until: number): Promise<void> {
  while (!(await isTrue()) && monotonic() < until) await new Promise((resolve) => setTimeout(resolve, 20));
}

/** Resolves with true once work is done, or with false after `ms`. Rejects as the work does until then. */
export function within(work: Promise<unknown>, ms: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => resolve(false), ms);
    work
      .then(() => resolve(true), reject)
      .finally(() => clearTimeout(timer))
      .catch(() => {});
  });
}

/** Does work with a signal that aborts after `ms`, or when `stop` does. */
export async function abortable<T>(
  ms: number,
  stop: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const ending = new AbortController();
  const end = () => ending.abort();
  const timer = setTimeout(end, Math.ceil(ms)).unref();
  stop.addEventListener('abort', end, { once: true });
  if (stop.aborted) end();
  try {
    return await work(ending.signal);
  } finally {
    clearTimeout(timer);
    stop.removeEventListener('abort', end);
  }
}

/** A moment from which a later process can measure. */
export interface Moment {
  /** Milliseconds since 1970. */
  readonly wall: number;
  /** Milliseconds since the system booted. */
  readonly uptime: number;
}

export const moment = (): Moment => ({ wall: wall(), uptime: systemUptime() * 1000 });

/**
 * Milliseconds since a moment, which may be of an earlier process; never negative. Exact if the system has not rebooted
 * since, whatever happened to the wall clock; otherwise as exact as the wall clock.
 */
export function elapsedSince(then: Moment, now: Moment = moment()): number {
  if (now.uptime >= then.uptime) return now.uptime - then.uptime;
  return Math.max(now.wall - then.wall, now.uptime);
}
