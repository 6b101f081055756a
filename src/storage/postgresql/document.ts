import type { DocumentStore } from '../contract.js';
import * as json from '../json.js';
import type { Query } from './connection.js';
import type { Lanes } from './lanes.js';
import type { PutKind, StoreRef } from './operations.js';
import { listOwners } from './owners.js';
import type { Statements } from './statements.js';
import { hostOf, intArray, restored, stored, textArray } from './text.js';

interface DocumentRow {
  readonly store: StoreRef;
  /** In its stored form. */
  readonly name: string;
  readonly value: string;
}

/** Returns what makes the documents of a database, given the name of a store. */
export function documents(lanes: Lanes, statements: Statements): (store: StoreRef) => DocumentStore<unknown> {
  const put: PutKind<DocumentRow> = {
    statement: statements.put(
      'document put',
      'SELECT * FROM unnest($6::int2[], $7::text[], $8::text[], $9::text[]) AS u (store, name, host, value)',
      `INSERT INTO $.document (store, name, host, value) SELECT store, name, host, value FROM e
       ON CONFLICT (store, name) DO UPDATE SET value = excluded.value`,
    ),
    isNumbered: false,
    values: (rows) => [
      intArray(rows.map(({ store }) => store.number!)),
      textArray(rows.map(({ name }) => name)),
      textArray(rows.map(({ name }) => hostOf(name))),
      textArray(rows.map(({ value }) => value)),
    ],
  };
  const get = statements.of('document get', 'SELECT value FROM $.document WHERE store = $1 AND name = $2');
  const getMany = statements.of(
    'document get many',
    'SELECT name, value FROM $.document WHERE store = $1 AND name = ANY ($2::text[])',
  );
  const remove = statements.of('document delete', 'DELETE FROM $.document WHERE store = $1 AND name = $2 RETURNING 1');
  const size = statements.of(
    'document size',
    'SELECT octet_length(value) FROM $.document WHERE store = $1 AND name = $2',
  );
  // Of a value that is still as it was read: other processes may write it, too.
  const insertNew = statements.of(
    'document insert',
    'INSERT INTO $.document (store, name, host, value) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING RETURNING 1',
  );
  const replace = statements.of(
    'document replace',
    'UPDATE $.document SET value = $4 WHERE store = $1 AND name = $2 AND value = $3 RETURNING 1',
  );
  const removeSame = statements.of(
    'document remove',
    'DELETE FROM $.document WHERE store = $1 AND name = $2 AND value = $3 RETURNING 1',
  );

  return (store) => {
    const textOf = async (query: Query, name: string): Promise<string | undefined> => {
      const [row] = await query(get, [store.number, name]);
      return row?.[0] as string | undefined;
    };
    /** Returns undefined if another process wrote the value meanwhile. */
    const compareAndSet = async (
      query: Query,
      name: string,
      expected: string | undefined,
      next: string | undefined,
    ): Promise<boolean | undefined> => {
      const text = await textOf(query, name);
      if (!json.isSame(text, expected)) return false;
      if (text === undefined && next === undefined) return true;
      const key = [store.number, name];
      const [done] =
        text === undefined
          ? await query(insertNew, [...key, hostOf(name), next])
          : next === undefined
            ? await query(removeSame, [...key, text])
            : await query(replace, [...key, text, next]);
      return done === undefined ? undefined : true;
    };
    const removal = (owner: string): Promise<boolean> =>
      lanes.change(owner, store, async (query) => {
        const rows = store.number === undefined ? [] : await query(remove, [store.number, stored(owner)]);
        return rows.length > 0;
      });
    return {
      get: (owner) =>
        lanes.read(owner, store, async (query) =>
          store.number === undefined ? undefined : json.read(await textOf(query, stored(owner))),
        ),
      getMany: async (owners) => {
        const found = new Map<string, unknown>();
        await lanes.readMany(owners, store, async (query, some) => {
          if (store.number === undefined) return;
          const rows = await query(getMany, [store.number, textArray(some.map(stored))]);
          for (const [name, value] of rows as [string, string][]) found.set(restored(name), json.read(value));
        });
        return found;
      },
      set: async (owner, value) => {
        const row = { store, name: stored(owner), value: json.write(value) };
        await lanes.put(owner, store, put, [[`${store.name} ${owner}`, row]], row.value.length);
      },
      delete: removal,
      compareAndSet: async (owner, expected, next) => {
        const present = expected === undefined ? undefined : json.write(expected);
        const text = next === undefined ? undefined : json.write(next);
        const run = async (query: Query): Promise<boolean> => {
          for (;;) {
            const done = await compareAndSet(query, stored(owner), present, text);
            if (done !== undefined) return done;
          }
        };
        return lanes.change(owner, store, run, { isExclusive: true, isCreating: true });
      },
      size: (owner) =>
        lanes.read(owner, store, async (query) => {
          const [row] = store.number === undefined ? [] : await query(size, [store.number, stored(owner)]);
          return (row?.[0] as number | undefined) ?? 0;
        }),
      owners: (range) =>
        lanes.readAll(store, async (query) =>
          store.number === undefined ? [] : listOwners(query, statements, store, 'document', 'TRUE', range),
        ),
      forget: async (owner) => {
        await removal(owner);
      },
    };
  };
}
