/** CPU time of pieces of work, for the small benchmarks beside it. */

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1]!;
}

/** Of each column. */
export const medians = (rows: readonly (readonly number[])[]): number[] =>
  rows[0]!.map((_, at) => median(rows.map((row) => row[at]!)));

/** `values` ascend; `part` of them, from 0 to 1, are below. */
export const percentile = (values: readonly number[], part: number): number =>
  values[Math.min(values.length - 1, Math.floor(values.length * part))] ?? Number.NaN;

/**
 * µs of CPU that the process takes for each call, its compiler and garbage collector included: medians of rounds that
 * alternate between the works, so that what else the machine does falls on all of them.
 */
export function costs<K extends string>(works: Readonly<Record<K, () => unknown>>, rounds = 5): Record<K, number> {
  const all = Object.entries(works) as [K, () => unknown][];
  const taken = all.map(([name, work]) => ({
    name,
    work,
    times: Math.ceil(calls(work, 100) / 5),
    figures: [] as number[],
  }));
  for (let round = 0; round < rounds; round++) {
    for (const { work, times, figures } of taken) {
      const before = process.cpuUsage();
      for (let i = 0; i < times; i++) work();
      const { user, system } = process.cpuUsage(before);
      figures.push((user + system) / times);
    }
  }
  return Object.fromEntries(taken.map(({ name, figures }) => [name, median(figures)])) as Record<K, number>;
}

/** Warms up, and tells how often it goes in so many ms, at least once. */
function calls(work: () => unknown, milliseconds: number): number {
  let count = 0;
  for (let end = performance.now() + milliseconds; performance.now() < end; count += 5)
    for (let i = 0; i < 5; i++) work();
  return count;
}
