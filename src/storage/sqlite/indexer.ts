/**
 * When the work on an index is done: piece by piece, those who wait for theirs taking turns, and by itself now and then
 * when the event loop has little else to do.
 */
import { setImmediate } from 'node:timers/promises';

export interface Indexer {
  /** Something came that is not in the index. Costs next to nothing. */
  wake(): void;
  /** Does a piece for somebody who waits, after those who asked before. */
  inTurn<R>(piece: () => Promise<R>): Promise<R>;
  /** Begins no further piece by itself. */
  close(): void;
}

export interface IndexerOptions {
  /** A piece of what is to be done, some ms at most; whether there is more. */
  readonly piece: () => Promise<boolean>;
  /** From when something came to when it is looked at, in ms. */
  readonly interval: number;
  /** Whether what is measured leaves no time. */
  readonly isBusy?: ((utilization: number) => boolean) | undefined;
  /** Told of a failure, once until it goes well again. */
  readonly warn: (error: unknown) => void;
}

/** The part of its time that the event loop had to do. */
const busy = 0.7;
/** Milliseconds that others take of one turn of the event loop while pieces are done. */
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
