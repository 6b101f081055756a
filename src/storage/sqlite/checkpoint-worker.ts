/** The thread that checkpoints: each message asks for one pass, and is answered with its outcome. */
import { parentPort, workerData } from 'node:worker_threads';
import Sqlite from 'better-sqlite3';
import type { CheckpointReply, CheckpointRequest } from './checkpoints.js';
import type { WalState } from './connection.js';

const port = parentPort!;
const db = new Sqlite(workerData.file, { timeout: 0, fileMustExist: true });
db.pragma('synchronous = NORMAL'); // the log is synced before the copying, the database after
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
    if (request === 'restart' && state.log === state.checkpointed) beginAnew();
    return state;
  } catch (error) {
    const { code } = error as { readonly code?: unknown };
    return {
      error: error instanceof Error ? error.message : String(error),
      code: typeof code === 'string' ? code : undefined,
    };
  }
}

/** The first to write after all was copied begins the log anew, and waits for the disk to have its new header. */
function beginAnew(): void {
  try {
    restart.run();
  } catch {
    // Then whoever writes next does.
  }
}
