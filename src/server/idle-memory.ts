/**
 * Gives memory back after a storm. V8 collects garbage when more is allocated, so a server that falls quiet would keep what
 * thousands of queues have left. Looks at the heap now and then, and collects where much was added since the last time, and
 * again, less and less often, while more is in use than there once was: what was needed the last time may be garbage since.
 * Does so only while the process has little to do, or the budget of all queues was used up. A no-op where Node runs without
 * --expose-gc.
 */
import { performance } from 'node:perf_hooks';
import { getHeapSpaceStatistics } from 'node:v8';

const intervalMs = 3000;
/** Bytes that make a collection worth while. */
const worthWhile = 25_165_824;
/** Of a larger heap a collection takes long, and V8's own comes soon enough. */
const mostInUse = 268_435_456;
/** The most of the event loop's time that a quiet process uses. */
const quiet = 0.5;
/** Looks from a collection to the next where nothing was added: at first, and at most (ten minutes). */
const firstWait = 2;
const longestWait = 200;

export class IdleMemory {
  readonly #timer: NodeJS.Timeout;
  /** Bytes in use at the least since the last collection, and ever. */
  #least = Number.POSITIVE_INFINITY;
  #leastEver = Number.POSITIVE_INFINITY;
  #looks = 0;
  #wait = firstWait;
  #isUrgent = false;
  /** The last collection emptied pages, which V8 gives back at the next. */
  #isUnfinished = false;

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

  /** Much was given up because there was too much: it is collected at the next look, however busy the process is. */
  urge(): void {
    this.#isUrgent = true;
  }

  look(): void {
    const isUrgent = this.#isUrgent;
    const utilization = this.utilization();
    const inUse = this.inUse();
    this.#least = Math.min(this.#least, inUse);
    this.#leastEver = Math.min(this.#leastEver, inUse);
    if ((utilization > quiet && !isUrgent) || this.#least > mostInUse) return;
    this.#isUrgent = false;
    if (this.#isUnfinished && utilization <= quiet) {
      this.#isUnfinished = false;
      this.collect();
      return;
    }
    if (inUse < this.#leastEver + worthWhile) return;
    this.#looks++;
    if (inUse < this.#least + worthWhile && this.#looks < this.#wait) return;
    this.collect();
    this.#least = this.inUse();
    this.#leastEver = Math.min(this.#leastEver, this.#least);
    this.#looks = 0;
    this.#isUnfinished = inUse - this.#least >= worthWhile;
    this.#wait = this.#isUnfinished ? firstWait : Math.min(this.#wait * 2, longestWait);
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
