/**
 * Deletes owners of maps and logs, which may have too many entries for one transaction: the first removes the owner's
 * name, which hides the entries, further ones remove them.
 */
import type { Query } from './connection.js';
import type { Lanes } from './lanes.js';
import type { StoreRef } from './operations.js';
import type { Statements } from './statements.js';
import { stored } from './text.js';

export interface Purges {
  forget(owner: string, store: StoreRef): Promise<void>;
  /** Completes deletions that earlier processes did not finish. */
  resume(): Promise<void>;
}

/** Maximum entries removed per transaction. */
const step = 1000;

/** `warn` is called if entries of a deleted owner could not be removed: the next process does it. */
export function purges(lanes: Lanes, statements: Statements, warn: (error: unknown) => void): Purges {
  const detach = statements.of(
    'detach',
    `WITH gone AS (DELETE FROM $.owner WHERE store = $1 AND name = $2 RETURNING number)
     INSERT INTO $.purge (number) SELECT number FROM gone RETURNING number::text`,
  );
  const removeFrom = (table: 'map' | 'log' | 'word', key: 'key' | 'id') =>
    statements.of(
      `purge ${table}`,
      `DELETE FROM $.${table} WHERE owner = $1 AND ${key} IN
         (SELECT ${key} FROM $.${table} WHERE owner = $1 ORDER BY ${key} LIMIT ${step}) RETURNING 1`,
    );
  const removals = [removeFrom('map', 'key'), removeFrom('word', 'id'), removeFrom('log', 'id')];
  const release = statements.of('release', 'DELETE FROM $.purge WHERE number = $1');
  const waiting = statements.of('purges', 'SELECT number::text FROM $.purge LIMIT 1000');

  const rest = async (number: string): Promise<void> => {
    for (let isLeft = true; isLeft; ) {
      isLeft = await lanes.changeAll(
        async (query) => {
          for (const removal of removals) if ((await query(removal, [number])).length === step) return true;
          await query(release, [number]);
          return false;
        },
        { isUrgent: true },
      );
    }
  };

  return {
    forget: async (owner, store) => {
      const detached = async (query: Query): Promise<string | null> => {
        const [row] = store.number === undefined ? [] : await query(detach, [store.number, stored(owner)]);
        return (row?.[0] as string | undefined) ?? null;
      };
      const number = await lanes.change(owner, store, detached, { isForgetting: true });
      if (number !== null) await rest(number).catch(warn);
    },
    resume: async () => {
      const rows = await lanes.readAll(undefined, (query) => query(waiting));
      for (const [number] of rows) await rest(number as string);
    },
  };
}
