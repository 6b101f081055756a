/** CPU time of short operations, for the other benchmarks. */

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1]!;
}

/** The median of each column. */
export const medians = (rows: readonly (readonly number[])[]): number[] =>
  rows[0]!.map((_, at) => median(rows.map((row) => row[at]!)));

/** `values` must be ascending; `part` is the fraction, from 0 to 1, of values below the result. */
export const percentile = (values: readonly number[], part: number): number =>
  values[Math.min(values.length - 1, Math.floor(values.length * part))] ?? Number.NaN;

/**
 * µs of CPU per call, including compiler and garbage collector. Medians of rounds that alternate between the
 * operations, so that other load on the machine affects all of them.
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

/** Warms up for `milliseconds` and returns the number of calls made, at least one. */
function calls(work: () => unknown, milliseconds: number): number {
  let count = 0;
  for (let end = performance.now() + milliseconds; performance.now() < end; count += 5)
    for (let i = 0; i < 5; i++) work();
  return count;
}
