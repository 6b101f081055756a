/**
 * Logs in Cassandra or ScyllaDB: archives that outgrow the main storage, which keeps everything else.
 * docs/decisions/0035-cassandra.md has the reasons.
 */
import { type Storage, StorageError } from '../contract.js';
import { Fence, type Look } from './fence.js';
import { CassandraLog } from './log.js';
import { marks, misplaced, noted, noteLog } from './marks.js';
import { Queue } from './queue.js';
import { demandOwn, prepare, type SchemaOptions } from './schema.js';
import { Session, type SessionOptions } from './session.js';

export interface CassandraOptions extends SessionOptions {
  readonly schema: SchemaOptions;
  /** Seconds after which entries expire; 0 for never. */
  readonly expiry: number;
  /** The id of the server, to which the keyspace belongs from now on. Undefined for tools, which claim nothing. */
  readonly server?: string | undefined;
  /** At the main store. Undefined where there is none. */
  readonly look?: Look | undefined;
}

/** Rejects with StorageError: also if the keyspace belongs to another server, or if its tables are not ours. */
export async function openCassandra(options: CassandraOptions): Promise<Storage> {
  const session = await Session.open(options);
  try {
    await prepare(session, options.schema);
    if (options.server !== undefined) await demandOwn(session, options.server);
  } catch (error) {
    await session.close();
    throw error;
  }
  return storageOn(session, options);
}

function storageOn(session: Session, { look, expiry }: CassandraOptions): Storage {
  const queue = new Queue();
  const fence = new Fence(look);
  const logs = new Map<string, CassandraLog>();
  const demandOpen = (): void => queue.demandOpen();
  const close = async (): Promise<void> => {
    await queue.close();
    await session.close();
  };
  let closing: Promise<void> | undefined;
  return {
    document: (name) => marks(session, name),
    map: (name) => {
      throw misplaced(name);
    },
    log: (name) => {
      let log = logs.get(name);
      if (log === undefined) {
        log = new CassandraLog(name, { session, queue, fence, expiry, note: () => noteLog(session, name) });
        logs.set(name, log);
      }
      return log.store;
    },
    stores: async () => {
      demandOpen();
      await queue.flush();
      return noted(session);
    },
    flush: async () => {
      demandOpen();
      await queue.flush();
      // What waits for a look ends with it, one way or the other.
      await fence.looked().catch((error: unknown) => {
        if (!(error instanceof StorageError)) throw error;
      });
    },
    join: async (node, epoch) => {
      demandOpen();
      return fence.join(node, epoch);
    },
    fence: async (node, epoch) => {
      demandOpen();
      fence.end(node, epoch);
    },
    look: () => fence.looked(),
    moved: (matches) => {
      for (const log of logs.values()) log.moved(matches);
    },
    close: () => (closing ??= close()),
  };
}
