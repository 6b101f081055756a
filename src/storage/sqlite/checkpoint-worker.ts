/** The thread that checkpoints: each message asks for one pass, and is answered with its outcome. */
import { parentPort, workerData } from 'node:worker_threads';
import Sqlite from 'better-sqlite3';
import type { CheckpointReply } from './checkpoints.js';

const port = parentPort!;
const db = new Sqlite(workerData.file, { timeout: 0, fileMustExist: true });
db.pragma('synchronous = NORMAL'); // the log is synced before the copying, the database after
db.pragma('wal_autocheckpoint = 0');

port.on('message', (message: 'pass' | 'end') => {
  if (message === 'end') {
    db.close();
    port.close();
    return;
  }
  port.postMessage(pass());
});

function pass(): CheckpointReply {
  try {
    return db.prepare('PRAGMA wal_checkpoint(PASSIVE)').get() as CheckpointReply;
  } catch (error) {
    return { error: error instanceof Error ? error.message : String(error) };
  }
}
