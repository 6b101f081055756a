/**
 * Copying the write-ahead log into the database, in a thread of its own so that the event loop does not wait for it. The
 * thread is started when there is something to do and ends when there was nothing for a while.
 *
 * Only when all of the log has been copied, and nothing has been written since, does SQLite begin the log anew. Under
 * constant writing that would never come about: so what is left after the passes beside the writers is copied while the
 * queue holds its next transaction, which is short. So the log stays bounded. Beginning anew makes the writer wait for
 * the disk, so the thread does that too.
 */
import { Worker } from 'node:worker_threads';
import { StorageError } from '../contract.js';
import type { WalState } from './connection.js';
import { failureWithCode } from './errors.js';

export type CheckpointRequest = 'copy' | 'restart' | 'end';
/** `code`: of SQLite or of the system call. */
export type CheckpointReply = WalState | { readonly error: string; readonly code?: string | undefined };

export interface Checkpoints {
  /** Commits were made: looks now and then whether the log is long, at once when the disk is full. */
  consider(isFull: boolean): void;
  /** Copies all of the log, while the queue is held already; rejects when that does not succeed. */
  complete(): Promise<void>;
  /** Waits for what runs and ends the thread. */
  close(): Promise<void>;
}

export interface CheckpointOptions {
  readonly file: string;
  readonly pageSize: number;
  /** Bytes of the log that are not in the database yet, from which on it is copied. */
  readonly threshold: number;
  /** Milliseconds without work after which the thread ends. */
  readonly linger: number;
  readonly walState: () => WalState;
  readonly hold: () => void;
  readonly release: () => void;
  readonly warn: (message: string, error: unknown) => void;
}

const workerFile = new URL('./checkpoint-worker.js', import.meta.url);
/** Looking costs some µs, about as much as a row. */
const syncsBetweenLooks = 16;
/** Passes beside the writers; each leaves what was written during it, so each is shorter. */
const freePasses = 4;
/** Frames that are few enough to hold the writers for. */
const shortRest = 128;

export function checkpoints(options: CheckpointOptions): Checkpoints {
  const { file, threshold, pageSize, walState, hold, release, warn } = options;
  const thread = checkpointThread(file, options.linger);
  let running: Promise<unknown> | undefined;
  let syncs = 0;
  /** Length of the log from which on another attempt makes sense, after one that could not copy all. */
  let retryAt = 0;

  const look = (): WalState | undefined => {
    try {
      return walState();
    } catch {
      return undefined; // who writes next will be told
    }
  };

  const alone = <R>(work: () => Promise<R>): Promise<R> => {
    const result = (running ?? Promise.resolve()).then(work, work);
    const end = result
      .catch(() => {})
      .then(() => {
        if (running === end) running = undefined;
      });
    running = end;
    return result;
  };

  const copy = async (): Promise<void> => {
    for (let n = 0; n < freePasses && rest(walState()) > shortRest; n++) await thread.ask('copy');
    hold();
    try {
      const state = await thread.ask('restart');
      // Another process that reads, as a backup does, keeps what it reads in the log.
      retryAt = rest(state) > 0 ? state.log + threshold / pageSize : 0;
    } finally {
      release();
    }
  };

  return {
    consider: (isFull) => {
      if (running !== undefined || (!isFull && ++syncs % syncsBetweenLooks !== 0)) return;
      const state = look();
      if (state === undefined) return;
      if (isFull ? rest(state) === 0 : rest(state) * pageSize < threshold || state.log < retryAt) return;
      alone(copy).catch((error: unknown) => {
        retryAt = state.log + threshold / pageSize;
        warn(`the write-ahead log of ${file} could not be copied into it`, error);
      });
    },
    complete: () =>
      alone(async () => {
        if (rest(await thread.ask('copy')) === 0) return;
        throw new StorageError('unavailable', `another process reads ${file} and keeps its log from being copied`);
      }),
    close: async () => {
      await running;
      await thread.close();
    },
  };
}

function rest(state: WalState): number {
  return state.log - state.checkpointed;
}

/** One request at a time. */
function checkpointThread(
  file: string,
  linger: number,
): { ask(request: CheckpointRequest): Promise<WalState>; close(): Promise<void> } {
  let worker: Worker | undefined;
  let idle: NodeJS.Timeout | undefined;

  const end = (): void => {
    worker?.postMessage('end');
    worker = undefined;
  };

  return {
    ask: (request) => {
      clearTimeout(idle);
      const current = (worker ??= new Worker(workerFile, { workerData: { file }, execArgv: [] }));
      current.ref();
      return new Promise<WalState>((resolve, reject) => {
        const settle = (reply: CheckpointReply): void => {
          current.off('message', settle).off('error', fail).off('exit', fail);
          current.unref();
          if ('log' in reply) {
            idle = setTimeout(end, linger).unref();
            resolve(reply);
          } else {
            end(); // the next one begins with a new connection
            reject(failureWithCode(reply.code, reply.error, file));
          }
        };
        const fail = (reason: unknown): void => settle({ error: `the checkpoint's thread ended: ${reason}` });
        current.on('message', settle).on('error', fail).on('exit', fail);
        current.postMessage(request);
      });
    },
    close: async () => {
      clearTimeout(idle);
      const current = worker;
      if (current === undefined) return;
      current.ref();
      const exited = new Promise((resolve) => current.once('exit', resolve));
      end();
      await exited;
    },
  };
}
