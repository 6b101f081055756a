/** Runs work for all items, a few at a time. After a rejection no further one begins, and those that run are awaited. */
export async function inParallel<T>(items: Iterable<T>, most: number, work: (item: T) => Promise<void>): Promise<void> {
  const left = items[Symbol.iterator]();
  let isFailing = false;
  const worker = async (): Promise<void> => {
    for (let next = left.next(); !next.done && !isFailing; next = left.next()) {
      try {
        await work(next.value);
      } catch (error) {
        isFailing = true;
        throw error;
      }
    }
  };
  const outcomes = await Promise.allSettled(Array.from({ length: most }, worker));
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
}
