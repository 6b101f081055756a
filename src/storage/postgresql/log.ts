import {
  type LogEntry,
  type LogFilter,
  type LogOptions,
  type LogQuery,
  type LogStore,
  UnknownId,
} from '../contract.js';
import { matches } from '../filter.js';
import type { Query, Row } from './connection.js';
import type { Lanes } from './lanes.js';
import { columns, conditions, type Direction, entryOf } from './log-rows.js';
import { type IndexingOptions, type LogSearch, logSearch } from './log-search.js';
import type { PutKind, StoreRef } from './operations.js';
import { limitOf, listOwners, ownerNumber } from './owners.js';
import type { Purges } from './purges.js';
import type { Statements } from './statements.js';
import { intArray, stored, textArray } from './text.js';

interface EntryRow {
  readonly store: StoreRef;
  /** All in their stored form. */
  readonly owner: string;
  readonly id: string;
  readonly peer: string | null;
  readonly tag: string | null;
  readonly value: string;
  /** Size of the value. */
  readonly bytes: number;
}

export interface PostgresqlLog extends LogStore {
  /** Sets the text function for searches. */
  search(text: NonNullable<LogOptions['text']>): void;
  /** Stops background work. */
  end(): void;
}

/** Entries removed per transaction of a trim. */
const trimStep = 500;

/** Returns what makes the logs of a database, given the name of a store. */
export function logs(
  lanes: Lanes,
  statements: Statements,
  purges: Purges,
  indexing: IndexingOptions,
): (store: StoreRef) => PostgresqlLog {
  const put: PutKind<EntryRow> = {
    // An entry that is not above the indexed ones waits in `word` for being indexed.
    statement: statements.put(
      'log put',
      `SELECT o.number, o.indexed, u.id, u.bytes, u.peer, u.tag, u.value
       FROM unnest($6::int2[], $7::text[], $8::text[], $9::int4[], $10::text[], $11::text[], $12::text[])
         AS u (store, owner, id, bytes, peer, tag, value)
       JOIN $.owner AS o ON o.store = u.store AND o.name = u.owner`,
      `INSERT INTO $.log (owner, id, bytes, peer, tag, value) SELECT number, id, bytes, peer, tag, value FROM e
       ON CONFLICT (owner, id) DO UPDATE
       SET bytes = excluded.bytes, peer = excluded.peer, tag = excluded.tag, value = excluded.value`,
      `, late AS (INSERT INTO $.word (owner, id) SELECT number, id FROM e WHERE id <= indexed
       ON CONFLICT (owner, id) DO UPDATE SET terms = NULL)`,
    ),
    isNumbered: true,
    values: (rows) => [
      intArray(rows.map(({ store }) => store.number!)),
      textArray(rows.map(({ owner }) => owner)),
      textArray(rows.map(({ id }) => id)),
      intArray(rows.map(({ bytes }) => bytes)),
      textArray(rows.map(({ peer }) => peer)),
      textArray(rows.map(({ tag }) => tag)),
      textArray(rows.map(({ value }) => value)),
    ],
  };
  const has = statements.of('log has', `SELECT 1 FROM $.log WHERE owner = ${ownerNumber} AND id = $3`);
  const size = statements.of(
    'log size',
    `SELECT coalesce(sum(bytes), 0)::float8 FROM $.log WHERE owner = ${ownerNumber}`,
  );
  const removal = (condition: string): string =>
    `WITH gone AS (DELETE FROM $.log WHERE owner = ${ownerNumber} AND id = ANY (${condition}) RETURNING owner, id),
       words AS (DELETE FROM $.word AS w USING gone WHERE w.owner = gone.owner AND w.id = gone.id)
     SELECT count(*)::int4 FROM gone`;
  const remove = {
    statement: statements.of(
      'log remove',
      `WITH e AS MATERIALIZED (${statements.cutRows}),
         gone AS (DELETE FROM $.log AS l USING e WHERE l.owner = e.number AND l.id = e.key RETURNING e.at, l.owner, l.id),
         words AS (DELETE FROM $.word AS w USING gone WHERE w.owner = gone.owner AND w.id = gone.id)
       SELECT at FROM gone`,
    ),
  };
  // The oldest entries: of all, or of those below an id.
  const trimmed = (condition: string): string =>
    removal(`ARRAY (SELECT id FROM $.log WHERE owner = ${ownerNumber} ${condition} ORDER BY id LIMIT $3)`);
  const trimAll = statements.of('log trim all', trimmed(''));
  const trimBelow = statements.of('log trim below', trimmed('AND id < $4'));
  const firstKept = `(SELECT id FROM $.log WHERE owner = ${ownerNumber} ORDER BY id DESC OFFSET $5 - 1 LIMIT 1)`;
  const trimTo = statements.of('log trim to', trimmed(`AND id < greatest($4::text COLLATE "C", ${firstKept})`));

  return (store) => {
    /** Runs a statement about an owner. Returns no rows if the store does not exist. */
    const about = async (
      query: Query,
      statement: Parameters<Query>[0],
      owner: string,
      ...others: unknown[]
    ): Promise<Row[]> => (store.number === undefined ? [] : query(statement, [store.number, stored(owner), ...others]));

    /** Returns at most `limit` entries, in reading direction. */
    const select = async (
      query: Query,
      owner: string,
      filter: LogFilter,
      direction: Direction,
      limit: number,
    ): Promise<LogEntry[]> => {
      if (filter.ids !== undefined) return (await withIds(query, owner, filter.ids, filter, direction)).slice(0, limit);
      const { where, values } = conditions(filter, 4);
      const statement = statements.of(
        `log page ${where} ${direction}`,
        `SELECT ${columns} FROM $.log AS l WHERE owner = ${ownerNumber}${where} ORDER BY l.id ${direction} LIMIT $3`,
      );
      return (await about(query, statement, owner, limitOf(limit), ...values)).map(entryOf);
    };
    const withIds = async (
      query: Query,
      owner: string,
      ids: readonly string[],
      filter: LogFilter,
      direction: Direction,
    ): Promise<LogEntry[]> => {
      const { where, values } = conditions(filter, 4);
      const statement = statements.of(
        `log ids ${where} ${direction}`,
        `SELECT ${columns} FROM $.log AS l WHERE owner = ${ownerNumber} AND l.id = ANY ($3::text[])${where}
         ORDER BY l.id ${direction}`,
      );
      const rows = await about(query, statement, owner, textArray(ids.map(stored)), ...values);
      return rows.map(entryOf).filter(matches(filter, search.text));
    };
    const countIn = async (query: Query, owner: string, filter: LogFilter, limit: number): Promise<number> => {
      if (filter.ids !== undefined)
        return Math.min((await withIds(query, owner, filter.ids, filter, 'ASC')).length, limit);
      const { where, values } = conditions(filter, 4);
      const statement = statements.of(
        `log count ${where}`,
        `SELECT count(*)::float8 FROM
           (SELECT 1 FROM $.log AS l WHERE owner = ${ownerNumber}${where} LIMIT $3) AS matching`,
      );
      return numberIn(await about(query, statement, owner, limitOf(limit), ...values));
    };
    const assertKnown = async (query: Query, owner: string, { after, before, strict }: LogQuery): Promise<void> => {
      const ids = strict ? [after, before].filter((id) => id !== undefined) : [];
      const found = await Promise.all(ids.map((id) => about(query, has, owner, stored(id))));
      for (const [n, id] of ids.entries()) if (found[n]!.length === 0) throw new UnknownId(id);
    };
    const search: LogSearch = logSearch(lanes, statements, store, indexing);

    return {
      append: (owner, { id, with: peer, tag, value }) => {
        const row: EntryRow = {
          store,
          owner: stored(owner),
          id: stored(id),
          peer: peer === undefined ? null : stored(peer),
          tag: tag === undefined ? null : stored(tag),
          value: stored(value),
          bytes: Buffer.byteLength(value),
        };
        search.appended(owner);
        return lanes.put(owner, store, put, [[`${store.name}\0${owner.length} ${owner}${id}`, row]], row.bytes + 100);
      },
      page: async (owner, query) => {
        const { limit, backwards = false, words, ids } = query;
        const direction = backwards ? 'DESC' : 'ASC';
        const run = async (run: Query): Promise<LogEntry[]> => {
          const known = assertKnown(run, owner, query);
          known.catch(() => {}); // awaited below
          const found = select(run, owner, query, direction, limit + 1);
          found.catch(() => {});
          await known;
          return found;
        };
        const entries =
          words === undefined || ids !== undefined
            ? await lanes.read(owner, store, run)
            : await search.page(owner, query, direction, limit + 1, (run) => assertKnown(run, owner, query));
        const complete = entries.length <= limit;
        if (!complete) entries.length = limit;
        if (backwards) entries.reverse();
        return { entries, complete };
      },
      count: (owner, filter, limit = Number.POSITIVE_INFINITY) =>
        filter.words === undefined || filter.ids !== undefined
          ? lanes.read(owner, store, (query) => countIn(query, owner, filter, limit))
          : search.count(owner, filter, limit),
      size: (owner) => lanes.read(owner, store, async (query) => numberIn(await about(query, size, owner))),
      remove: (owner, ids) => lanes.cut(owner, store, remove, ids.map(stored)),
      trim: async (owner, { before, keep = Number.POSITIVE_INFINITY, limit = Number.POSITIVE_INFINITY }) => {
        if (before === undefined && keep === Number.POSITIVE_INFINITY) return 0;
        const bound = before === undefined ? null : stored(before);
        const once = async (query: Query, most: number): Promise<Row[]> => {
          if (keep === Number.POSITIVE_INFINITY) return about(query, trimBelow, owner, most, bound);
          return keep <= 0 ? about(query, trimAll, owner, most) : about(query, trimTo, owner, most, bound, keep);
        };
        for (let count = 0; ; ) {
          const most = Math.min(trimStep, limit - count);
          const gone = await lanes.change(owner, store, async (query) => numberIn(await once(query, most)));
          count += gone;
          if (gone < trimStep || count >= limit) return count;
        }
      },
      owners: (range) =>
        lanes.readAll(store, async (query) => {
          const hasEntries = 'EXISTS (SELECT 1 FROM $.log WHERE owner = o.number)';
          return store.number === undefined ? [] : listOwners(query, statements, store, 'owner', hasEntries, range);
        }),
      forget: (owner) => purges.forget(owner, store),
      search: (text) => search.search(text),
      end: () => search.end(),
    };
  };
}

function numberIn([row]: Row[]): number {
  return (row?.[0] as number | undefined) ?? 0;
}
