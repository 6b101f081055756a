/** What keeps a process alive, to find what a test or a call has not closed. */
import { setTimeout as wait } from 'node:timers/promises';

/** In ms, for what closes by itself. */
const patience = 30_000;

/** Its kinds, as Node.js calls them, without those that end by themselves. */
export function openNow(): string[] {
  return process
    .getActiveResourcesInfo()
    .filter((kind) => !/^(?:Immediate|CloseReq|FSReq|IntervalHistogram)/.test(kind));
}

/** Resolves when no more is open than there was `before`. Rejects with what is open if it takes too long. */
export async function closed(before: readonly string[]): Promise<void> {
  const until = performance.now() + patience;
  for (let ms = 1; openNow().length > before.length; ms = Math.min(2 * ms, 100)) {
    if (performance.now() > until) throw new Error(`left open: ${openNow().join(', ')}`);
    await wait(ms, undefined, { ref: false });
  }
}
