import type { MapStore } from '../contract.js';
import * as json from '../json.js';
import type { Query, Row } from './connection.js';
import type { Lanes } from './lanes.js';
import type { PutKind, StoreRef } from './operations.js';
import { limitOf, listOwners, ownerNumber } from './owners.js';
import type { Purges } from './purges.js';
import type { Statements } from './statements.js';
import { intArray, restored, stored, textArray } from './text.js';

interface MapRow {
  readonly store: StoreRef;
  /** In their stored form. */
  readonly owner: string;
  readonly key: string;
  readonly value: string;
}

/** Returns what makes the maps of a database, given the name of a store. */
export function maps(lanes: Lanes, statements: Statements, purges: Purges): (store: StoreRef) => MapStore<unknown> {
  const put: PutKind<MapRow> = {
    statement: statements.put(
      'map put',
      `SELECT o.number, u.key, u.value
       FROM unnest($6::int2[], $7::text[], $8::text[], $9::text[]) AS u (store, owner, key, value)
       JOIN $.owner AS o ON o.store = u.store AND o.name = u.owner`,
      `INSERT INTO $.map (owner, key, value) SELECT number, key, value FROM e
       ON CONFLICT (owner, key) DO UPDATE SET value = excluded.value`,
    ),
    isNumbered: true,
    values: (rows) => [
      intArray(rows.map(({ store }) => store.number!)),
      textArray(rows.map(({ owner }) => owner)),
      textArray(rows.map(({ key }) => key)),
      textArray(rows.map(({ value }) => value)),
    ],
  };
  const get = statements.of('map get', `SELECT value FROM $.map WHERE owner = ${ownerNumber} AND key = $3`);
  const page = (operator: '>=' | '>') =>
    statements.of(
      `map page ${operator}`,
      `SELECT key, value FROM $.map WHERE owner = ${ownerNumber} AND key ${operator} $3 ORDER BY key LIMIT $4`,
    );
  const first = page('>=');
  const later = page('>');
  const count = statements.of('map count', `SELECT count(*)::int4 FROM $.map WHERE owner = ${ownerNumber}`);
  const size = statements.of(
    'map size',
    `SELECT coalesce(sum(octet_length(value)), 0)::float8 FROM $.map WHERE owner = ${ownerNumber}`,
  );
  const remove = {
    statement: statements.of(
      'map delete',
      `WITH e AS MATERIALIZED (${statements.cutRows})
       DELETE FROM $.map AS m USING e WHERE m.owner = e.number AND m.key = e.key RETURNING e.at`,
    ),
  };

  return (store) => {
    /** Runs a statement about an owner. Returns no rows if the store does not exist. */
    const about = async (
      query: Query,
      statement: Parameters<Query>[0],
      owner: string,
      ...others: unknown[]
    ): Promise<Row[]> => (store.number === undefined ? [] : query(statement, [store.number, stored(owner), ...others]));
    const items = async (query: Query, owner: string, after: string | undefined, limit: number) => {
      const rows = await about(query, after === undefined ? first : later, owner, stored(after ?? ''), limitOf(limit));
      return rows.map(([key, value]): [string, unknown] => [restored(key as string), json.read(value as string)]);
    };
    return {
      get: (owner, key) =>
        lanes.read(owner, store, async (query) => {
          const [row] = await about(query, get, owner, stored(key));
          return json.read(row?.[0] as string | undefined);
        }),
      all: (owner) =>
        lanes.read(
          owner,
          store,
          async (query) => new Map(await items(query, owner, undefined, Number.POSITIVE_INFINITY)),
        ),
      page: (owner, { after, limit }) => lanes.read(owner, store, (query) => items(query, owner, after, limit)),
      count: (owner) => lanes.read(owner, store, async (query) => numberIn(await about(query, count, owner))),
      size: (owner) => lanes.read(owner, store, async (query) => numberIn(await about(query, size, owner))),
      set: async (owner, entries) => {
        const name = stored(owner);
        const rows = Array.from(entries, ([key, value]) => {
          const row: MapRow = { store, owner: name, key: stored(key), value: json.write(value) };
          return [`${store.name}\0${owner.length} ${owner}${key}`, row] as const;
        });
        const bytes = rows.reduce((sum, [, { key, value }]) => sum + key.length + value.length, 0);
        if (rows.length > 0) await lanes.put(owner, store, put, rows, bytes);
      },
      delete: (owner, keys) => lanes.cut(owner, store, remove, keys.map(stored)),
      owners: (range) =>
        lanes.readAll(store, async (query) => {
          const hasItems = 'EXISTS (SELECT 1 FROM $.map WHERE owner = o.number)';
          return store.number === undefined ? [] : listOwners(query, statements, store, 'owner', hasItems, range);
        }),
      forget: (owner) => purges.forget(owner, store),
    };
  };
}

function numberIn([row]: Row[]): number {
  return (row?.[0] as number | undefined) ?? 0;
}
