/**
 * The two clocks. The wall clock says what time it is, and may be set in either direction while the server runs or between
 * two runs. The monotonic clock says how much time has passed since an earlier reading in the same process; nobody sets it.
 *
 * Stamps, and deadlines that outlive the process, go by the wall clock. Durations, deadlines and rates within one run go by
 * the monotonic clock. Nothing else in src/server and src/modules reads a clock (test/unit/clock.test.ts).
 */
import { uptime as systemUptime } from 'node:os';

/** Milliseconds since 1970. */
export const wall = (): number => Date.now();

/** Milliseconds since a fixed moment before the process started: greater than 0, never goes back. */
export const monotonic = (): number => performance.now();

/** Resolves when something is true, or at a time of the monotonic clock. */
export async function poll(isTrue: () => boolean, until: number): Promise<void> {
  while (!isTrue() && monotonic() < until) await new Promise((resolve) => setTimeout(resolve, 20));
}

/** A moment that a later process can measure from. */
export interface Moment {
  /** Milliseconds since 1970. */
  readonly wall: number;
  /** Milliseconds since the system booted. */
  readonly uptime: number;
}

export const moment = (): Moment => ({ wall: wall(), uptime: systemUptime() * 1000 });

/**
 * Milliseconds from a moment, perhaps of an earlier process, until now; never negative. If the system has been up since
 * then, this is right whatever was done to the wall clock; after a reboot it is as right as the wall clock.
 */
export function elapsedSince(then: Moment, now: Moment = moment()): number {
  if (now.uptime >= then.uptime) return now.uptime - then.uptime;
  return Math.max(now.wall - then.wall, now.uptime);
}
