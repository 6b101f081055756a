/**
 * Gives memory back after a storm. V8 collects garbage when more is allocated, so a server that falls quiet would keep what
 * thousands of queues have left. Looks at the heap now and then, and collects once where much was added since the last time
 * and the process has little to do. A no-op where Node runs without --expose-gc.
 */
import { performance } from 'node:perf_hooks';
import { getHeapSpaceStatistics } from 'node:v8';

const intervalMs = 3000;
/** Bytes beyond what was in use after the last collection that make one worth while. */
const worthWhile = 25_165_824;
/** Of a larger heap a collection takes long, and V8's own comes soon enough. */
const mostInUse = 268_435_456;
/** The most of the event loop's time that a quiet process uses. */
const quiet = 0.5;

export class IdleMemory {
  readonly #timer: NodeJS.Timeout;
  /** Bytes in use at the least since the last collection. */
  #least = Number.POSITIVE_INFINITY;

  constructor(
    readonly collect: () => void,
    readonly inUse: () => number = oldSpaces,
    /** The share of the time since the last look in which the event loop had something to do. */
    readonly utilization: () => number = loopUtilization(),
  ) {
    this.#timer = setInterval(() => this.look(), intervalMs).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  look(): void {
    const utilization = this.utilization();
    const inUse = this.inUse();
    this.#least = Math.min(this.#least, inUse);
    if (utilization > quiet || this.#least > mostInUse || inUse < this.#least + worthWhile) return;
    this.collect();
    this.#least = this.inUse();
  }
}

/** What a nursery holds is garbage in any case, and comes and goes. */
function oldSpaces(): number {
  let bytes = 0;
  for (const { space_name, space_used_size } of getHeapSpaceStatistics())
    if (!space_name.startsWith('new_')) bytes += space_used_size;
  return bytes;
}

function loopUtilization(): () => number {
  let last = performance.eventLoopUtilization();
  return () => {
    const loop = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(loop, last);
    last = loop;
    return utilization;
  };
}
