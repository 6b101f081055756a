/**
 * Schedules indexing work: in steps, on request in order of arrival, and in the background when the event loop is
 * mostly idle.
 */
import { setImmediate } from 'node:timers/promises';

export interface Indexer {
  /** Something was added that is not indexed. Very cheap. */
  wake(): void;
  /** Runs a step for a waiting caller, after earlier callers. */
  inTurn<R>(piece: () => Promise<R>): Promise<R>;
  /** Stops background work. */
  close(): void;
}

export interface IndexerOptions {
  /** Runs one step of at most some ms. Returns whether there is more to do. */
  readonly piece: () => Promise<boolean>;
  /** Delay from an addition to indexing it, in ms. */
  readonly interval: number;
  /** Whether the utilization leaves no time for indexing. */
  readonly isBusy?: ((utilization: number) => boolean) | undefined;
  /** Called on a failure, once until the next success. */
  readonly warn: (error: unknown) => void;
}

/** Utilization of the event loop from which indexing is deferred. */
const busy = 0.7;
/** Duration of an event loop turn, in ms, from which indexing is deferred. */
const longTurn = 10;

export function indexer({ piece, interval, isBusy = (used) => used > busy, warn }: IndexerOptions): Indexer {
  let timer: NodeJS.Timeout | undefined;
  let isRunning = false;
  let isClosed = false;
  let isFailing = false;
  let isWoken = false;
  let last: Promise<unknown> = Promise.resolve();
  let loop = performance.eventLoopUtilization();

  const inTurn = <R>(work: () => Promise<R>): Promise<R> => {
    const mine = last.then(work);
    last = mine.catch(() => {});
    return mine;
  };

  const arm = (): void => {
    if (timer !== undefined || isRunning || isClosed) return;
    loop = performance.eventLoopUtilization();
    timer = setTimeout(() => void tick(), interval).unref();
  };

  /** Never rejects. */
  const tick = async (): Promise<void> => {
    timer = undefined;
    if (isBusy(performance.eventLoopUtilization(loop).utilization)) {
      arm();
      return;
    }
    isRunning = true;
    isWoken = false;
    let isLeft = true;
    try {
      for (let isPressed = false; isLeft && !isPressed && !isClosed; ) {
        isLeft = await inTurn(piece);
        const start = performance.now();
        await setImmediate();
        isPressed = performance.now() - start > longTurn;
      }
      isFailing = false;
    } catch (error) {
      if (!isClosed && !isFailing) warn(error);
      isFailing = true;
    }
    isRunning = false;
    if (isLeft || isWoken) arm();
  };

  return {
    wake: () => {
      if (timer !== undefined) return;
      isWoken = true;
      arm();
    },
    inTurn,
    close: () => {
      isClosed = true;
      clearTimeout(timer);
    },
  };
}
