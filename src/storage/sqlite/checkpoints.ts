/**
 * Checkpoints: copies the write-ahead log into the database in a separate thread, so that the event loop does not wait
 * for it. The thread is started on demand and ends when idle.
 *
 * SQLite restarts the log only if all of it has been copied and nothing was written since, which would never happen
 * under constant load. So after some passes concurrent with writers, the short rest is copied while the queue holds its
 * next transaction. This bounds the log. Restarting makes a writer wait for the disk, so the thread does that too.
 */
import { Worker } from 'node:worker_threads';
import { StorageError } from '../contract.js';
import type { WalState } from './connection.js';
import { failureWithCode } from './errors.js';

export type CheckpointRequest = 'copy' | 'restart' | 'end';
/** `code` is that of SQLite or of the system call. */
export type CheckpointReply = WalState | { readonly error: string; readonly code?: string | undefined };

export interface Checkpoints {
  /** Call after commits. Checks the length of the log now and then, or at once if the disk is full. */
  consider(isFull: boolean): void;
  /** Copies the whole log while the queue is held. Rejects if it cannot. */
  complete(): Promise<void>;
  /** Waits for a running checkpoint and ends the thread. */
  close(): Promise<void>;
}

export interface CheckpointOptions {
  readonly file: string;
  readonly pageSize: number;
  /** Bytes of the log not yet in the database that trigger a checkpoint. */
  readonly threshold: number;
  /** Idle time after which the thread ends, in ms. */
  readonly linger: number;
  readonly walState: () => WalState;
  readonly hold: () => void;
  readonly release: () => void;
  readonly warn: (message: string, error: unknown) => void;
}

const workerFile = new URL('./checkpoint-worker.js', import.meta.url);
/** A check costs some µs, about as much as a row. */
const syncsBetweenLooks = 16;
/** Passes concurrent with writers. Each leaves what was written during it, so each is shorter than the last. */
const freePasses = 4;
/** Maximum frames to copy while writers are held. */
const shortRest = 128;

export function checkpoints(options: CheckpointOptions): Checkpoints {
  const { file, threshold, pageSize, walState, hold, release, warn } = options;
  const thread = checkpointThread(file, options.linger);
  let running: Promise<unknown> | undefined;
  let syncs = 0;
  /** Log length from which to retry after an incomplete checkpoint. */
  let retryAt = 0;

  const look = (): WalState | undefined => {
    try {
      return walState();
    } catch {
      return undefined; // the next write reports the error
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
      // Another process that reads, such as a backup, keeps its part in the log.
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
        warn(`the write-ahead log of ${file} could not be checkpointed`, error);
      });
    },
    complete: () =>
      alone(async () => {
        if (rest(await thread.ask('copy')) === 0) return;
        throw new StorageError('unavailable', `another process reads ${file} and blocks its checkpoint`);
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

/** Handles one request at a time. */
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
            end(); // the next one starts with a new connection
            reject(failureWithCode(reply.code, reply.error, file));
          }
        };
        const fail = (reason: unknown): void => settle({ error: `the checkpoint thread ended: ${reason}` });
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
