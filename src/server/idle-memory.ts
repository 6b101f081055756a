/**
 * Returns memory to the system after a load peak. V8 collects garbage on allocation, so an idle server would hold what
 * thousands of queues have left. Checks the heap periodically, and collects if much was added since the last
 * collection; also, less and less often, while more is in use than at the minimum so far, as it may have become
 * garbage. Collects only while the process is mostly idle, or after the budget of all queues was exceeded. A no-op
 * without --expose-gc.
 */
import { performance } from 'node:perf_hooks';
import { getHeapSpaceStatistics } from 'node:v8';

const intervalMs = 3000;
/** Growth that justifies a collection, in bytes. */
const worthWhile = 25_165_824;
/** Above this, a collection takes long, and V8 runs its own soon enough; in bytes. */
const mostInUse = 268_435_456;
/** Highest event loop utilization that counts as idle. */
const quiet = 0.5;
/** Checks between collections without growth: at first, and at most (ten minutes). */
const firstWait = 2;
const longestWait = 200;

export class IdleMemory {
  readonly #timer: NodeJS.Timeout;
  /** Lowest heap use since the last collection, and since the start, in bytes. */
  #least = Number.POSITIVE_INFINITY;
  #leastEver = Number.POSITIVE_INFINITY;
  #looks = 0;
  #wait = firstWait;
  #isUrgent = false;
  /** The last collection emptied pages, which V8 releases at the next one. */
  #isUnfinished = false;

  constructor(
    readonly collect: () => void,
    readonly inUse: () => number = oldSpaces,
    /** Event loop utilization since the last call. */
    readonly utilization: () => number = loopUtilization(),
  ) {
    this.#timer = setInterval(() => this.look(), intervalMs).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /**
   * Queues were discarded because they exceeded their budget: collects at the next check, even if the process is busy.
   */
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

/** Excludes the young generation, most of which is garbage anyway. */
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
