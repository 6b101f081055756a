/** The checkpoint thread: each message requests one pass, and is answered with its result. */
import { parentPort, workerData } from 'node:worker_threads';
import Sqlite from 'better-sqlite3';
import type { CheckpointReply, CheckpointRequest } from './checkpoints.js';
import type { WalState } from './connection.js';

const port = parentPort!;
const db = new Sqlite(workerData.file, { timeout: 0, fileMustExist: true });
db.pragma('synchronous = NORMAL'); // the log is synced before copying, the database after
db.pragma('wal_autocheckpoint = 0');

const copy = db.prepare('PRAGMA wal_checkpoint(PASSIVE)');
const restart = db.prepare("INSERT INTO waxwing VALUES ('log', 1) ON CONFLICT DO UPDATE SET value = value + 1");

port.on('message', (message: CheckpointRequest) => {
  if (message === 'end') {
    db.close();
    port.close();
    return;
  }
  port.postMessage(answer(message));
});

function answer(request: 'copy' | 'restart'): CheckpointReply {
  try {
    const state = copy.get() as WalState & { readonly busy: number };
    if (state.busy) return { error: 'another process copies the log' };
    if (request === 'restart' && state.log === state.checkpointed) restartLog();
    return state;
  } catch (error) {
    const { code } = error as { readonly code?: unknown };
    return {
      error: error instanceof Error ? error.message : String(error),
      code: typeof code === 'string' ? code : undefined,
    };
  }
}

/**
 * Restarts the log. The first write after a complete checkpoint does this and waits for the new header on disk; doing
 * it here spares the main thread.
 */
function restartLog(): void {
  try {
    restart.run();
  } catch {
    // The next writer does it.
  }
}
