/** The system's clocks under the control of a test, which changes them while the server runs. */

/** Steps of the wall clock and of the monotonic clock, in ms. They go on running from where they were put. */
export interface Clocks {
  /** Sets the wall clock forward or back, as an administrator or a time service does. */
  step(ms: number): void;
  /** Lets time pass: both clocks go forward. */
  pass(ms: number): void;
  restore(): void;
}

export function takeClocks(): Clocks {
  const { now: wall } = Date;
  const { now: monotonic } = performance;
  let steps = 0;
  let passed = 0;
  Date.now = () => wall() + steps + passed;
  performance.now = () => monotonic.call(performance) + passed;
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
