/** The system's clocks under the control of a test, which changes them while the server runs. */

/** Steps of the wall clock and of the monotonic clock, in ms. Unless they stand still, they go on running from where they were put. */
export interface Clocks {
  /** Sets the wall clock forward or back, as an administrator or a time service does. */
  step(ms: number): void;
  /** Lets time pass: both clocks go forward. */
  pass(ms: number): void;
  restore(): void;
}

/** Stops the monotonic clock, by which rates go, while something is done. */
export async function withoutTime(work: () => Promise<void>): Promise<void> {
  const { now } = performance;
  const stopped = now.call(performance);
  performance.now = () => stopped;
  try {
    await work();
  } finally {
    performance.now = now;
  }
}

/** With `still`, time passes only when the test says so, however busy the machine is. */
export function takeClocks({ still = false } = {}): Clocks {
  const { now: wall } = Date;
  const { now: monotonic } = performance;
  const [wallNow, monotonicNow] = [wall(), monotonic.call(performance)];
  let steps = 0;
  let passed = 0;
  Date.now = () => (still ? wallNow : wall()) + steps + passed;
  performance.now = () => (still ? monotonicNow : monotonic.call(performance)) + passed;
  return {
    step: (ms) => {
      steps += ms;
    },
    pass: (ms) => {
      passed += ms;
    },
    restore: () => {
      Date.now = wall;
      performance.now = monotonic;
    },
  };
}
