/** Waiting for several answers of which some may never come. */

/**
 * Resolves with the results once all promises have settled, or some time after the first that helps; what is missing by
 * then is undefined, as what has failed is. `graceMs` says how long to wait for the others after a result, in ms: undefined
 * if it is of no help.
 */
export function settledSoon<T>(
  promises: readonly Promise<T>[],
  graceMs: (result: T, at: number) => number | undefined,
): Promise<(T | undefined)[]> {
  return new Promise((resolve) => {
    const results: (T | undefined)[] = promises.map(() => undefined);
    let left = promises.length;
    let timer: NodeJS.Timeout | undefined;
    const done = () => {
      clearTimeout(timer);
      resolve(results);
    };
    if (left === 0) done();
    /** Never rejects. */
    const wait = async (promise: Promise<T>, at: number) => {
      try {
        const result = await promise;
        results[at] = result;
        const grace = graceMs(result, at);
        if (grace !== undefined) timer ??= setTimeout(done, grace);
      } catch {
        // It stays undefined.
      }
      if (--left === 0) done();
    };
    for (const [at, promise] of promises.entries()) void wait(promise, at);
  });
}
