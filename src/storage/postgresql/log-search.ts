/**
 * Full-text search (docs/decisions/0003-search.md, 0025-postgresql.md). Appending an entry does not index its words.
 * For each owner, entries up to the id `indexed` have a row in the table `word`; of entries that arrive below it, the
 * row has no terms yet. A search scans what is not indexed while that is little, else it indexes the owner's entries
 * first, in steps.
 */
import { setImmediate } from 'node:timers/promises';
import type { LogEntry, LogFilter, LogOptions } from '../contract.js';
import { matches, wordsOf } from '../filter.js';
import { indexer } from '../indexer.js';
import { compare } from '../order.js';
import { words as wordsIn } from '../words.js';
import type { Query, Row } from './connection.js';
import type { Lanes } from './lanes.js';
import { columns, conditions, type Direction, entryOf, rangeConditions } from './log-rows.js';
import type { StoreRef } from './operations.js';
import { limitOf } from './owners.js';
import type { Statements } from './statements.js';
import { type Term, termsOf } from './terms.js';
import { int8Array, intArray, restored, stored, textArray } from './text.js';

export interface IndexingOptions {
  /** Delay from an append to indexing, in ms, unless a search comes first. */
  readonly interval: number;
  readonly isBusy: ((utilization: number) => boolean) | undefined;
  readonly warn: (error: unknown) => void;
}

export interface LogSearch {
  readonly text: LogOptions['text'];
  search(text: NonNullable<LogOptions['text']>): void;
  /** Call for each appended entry. Very cheap. */
  appended(owner: string): void;
  /** Returns at most `limit` entries, in reading direction. `check` may reject the search. */
  page(
    owner: string,
    filter: LogFilter,
    direction: Direction,
    limit: number,
    check: (query: Query) => Promise<void>,
  ): Promise<LogEntry[]>;
  count(owner: string, filter: LogFilter, limit: number): Promise<number>;
  /** Stops background work. */
  end(): void;
}

/** An owner's number, and the id up to which entries are indexed; null: none is. */
interface Searched {
  readonly number: string;
  readonly indexed: string | null;
}

/** Maximum unindexed entries that a search scans, and their bytes. */
const maxBacklog = 64;
const maxBacklogBytes = 2 ** 18;
/** Maximum entries indexed in a step, and the time in ms after which it ends: the lane waits for it. */
const maxInStep = 200;
const stepTime = 3;
/** Entries examined in order before the word index is used: enough to fill a page with a frequent word. */
const window = 512;
/** Maximum owners waiting for indexing in the background. Others are indexed when they are searched. */
const maxDirty = 10_000;

export function logSearch(
  lanes: Lanes,
  statements: Statements,
  store: StoreRef,
  { interval, isBusy, warn }: IndexingOptions,
): LogSearch {
  const ownerOf = statements.of(
    'search owner',
    'SELECT number::text, indexed FROM $.owner WHERE store = $1 AND name = $2',
  );
  // With an OR for an owner without indexed entries, the index could not be used.
  const backlogAfter = (operator: Operator) =>
    statements.of(
      `search backlog ${operator}`,
      `SELECT count(*)::int4, coalesce(sum(bytes), 0)::float8, (SELECT count(*)::int4 FROM
       (SELECT 1 FROM $.word WHERE owner = $1 AND terms IS NULL LIMIT ${maxBacklog + 1}) AS pending)
     FROM (SELECT bytes FROM $.log WHERE owner = $1 AND id ${operator} $2 LIMIT ${maxBacklog + 1}) AS rest`,
    );
  const unindexedAfter = (operator: Operator) =>
    statements.of(
      `search unindexed ${operator}`,
      `SELECT l.id, l.peer, l.tag, l.value FROM $.log AS l WHERE owner = $1 AND id ${operator} $2
     ORDER BY id LIMIT ${maxInStep}`,
    );
  const pendingRows = statements.of(
    'search pending',
    `SELECT ${columns} FROM $.word AS w LEFT JOIN $.log AS l ON l.owner = w.owner AND l.id = w.id
     WHERE w.owner = $1 AND w.terms IS NULL LIMIT ${maxInStep}`,
  );
  const addWords = statements.of(
    'search add',
    `INSERT INTO $.word (owner, id, terms)
     SELECT $1, u.id, ($2::int8[])[u.low : u.high] FROM unnest($3::text[], $4::int4[], $5::int4[]) AS u (id, low, high)
     ON CONFLICT (owner, id) DO UPDATE SET terms = excluded.terms`,
  );
  const setIndexed = statements.of('search indexed', 'UPDATE $.owner SET indexed = $2 WHERE number = $1');

  let text: LogOptions['text'];
  const dirty = new Set<string>();
  const catchingUp = new Map<string, Promise<boolean>>();

  const searched = async (query: Query, owner: string): Promise<Searched | undefined> => {
    const [row] = store.number === undefined ? [] : await query(ownerOf, [store.number, stored(owner)]);
    return row === undefined ? undefined : { number: row[0] as string, indexed: row[1] as string | null };
  };

  const hasBacklog = async (query: Query, { number, indexed }: Searched): Promise<boolean> => {
    const [row] = await query(backlogAfter(operatorOf(indexed)), [number, indexed ?? '']);
    const [count, bytes, pending] = row as [number, number, number];
    return count > maxBacklog || pending > maxBacklog || (count > 1 && bytes > maxBacklogBytes);
  };

  /** Indexes some entries of an owner. Returns whether there are more. */
  const step = (owner: string): Promise<boolean> =>
    lanes.change(
      owner,
      store,
      async (query) => {
        const found = text === undefined ? undefined : await searched(query, owner);
        if (found === undefined) return false;
        const { number, indexed } = found;
        const [late, rows] = await Promise.all([
          query(pendingRows, [number]),
          query(unindexedAfter(operatorOf(indexed)), [number, indexed ?? '']),
        ]);
        const until = performance.now() + stepTime;
        const terms: Term[] = [];
        const ids: string[] = [];
        const starts: number[] = [];
        const ends: number[] = [];
        let last: string | undefined;
        let count = 0;
        for (const row of [...late, ...rows]) {
          if (count > 0 && performance.now() >= until) break;
          const isLate = count++ < late.length;
          if (!isLate) last = row[0] as string;
          const { with: peer, tag, value } = entryOf(row);
          const words = wordsOf(value, text);
          if (words.size === 0 && !isLate) continue;
          starts.push(terms.length + 1);
          if (words.size > 0) terms.push(...termsOf(number, words, { with: peer, tag }));
          ends.push(terms.length);
          ids.push(row[0] as string);
        }
        const writes = [
          query(addWords, [number, int8Array(terms), textArray(ids), intArray(starts), intArray(ends)]),
          ...(last === undefined ? [] : [query(setIndexed, [number, last])]),
        ];
        await Promise.all(writes);
        return count < late.length + rows.length || rows.length === maxInStep || late.length === maxInStep;
      },
      { isExclusive: true },
    );

  const background = indexer({
    interval,
    isBusy,
    warn,
    piece: async () => {
      const [owner] = dirty;
      if (owner === undefined) return false;
      dirty.delete(owner);
      if (await step(owner)) dirty.add(owner);
      return dirty.size > 0;
    },
  });

  /** Concurrent searches of an owner share a step. */
  const catchUp = (owner: string): Promise<boolean> => {
    let pending = catchingUp.get(owner);
    if (pending === undefined) {
      pending = background.inTurn(() => step(owner)).finally(() => catchingUp.delete(owner));
      catchingUp.set(owner, pending);
    }
    return pending;
  };

  /** Returns matching entries that are not indexed. */
  const scan = async (query: Query, { number, indexed }: Searched, filter: LogFilter): Promise<LogEntry[]> => {
    const { where, values } = conditions(filter, 3);
    const statement = statements.of(
      `search scan ${operatorOf(indexed)} ${where}`,
      `SELECT ${columns} FROM $.log AS l WHERE owner = $1 AND id ${operatorOf(indexed)} $2${where}
       UNION ALL SELECT ${columns} FROM $.word AS w JOIN $.log AS l ON l.owner = w.owner AND l.id = w.id
       WHERE w.owner = $1 AND w.terms IS NULL${where}`,
    );
    const rows = await query(statement, [number, indexed ?? '', ...values]);
    return rows.map(entryOf).filter(matches(filter, text));
  };

  /** Returns rows of indexed entries with all terms, in reading direction: of a window in order of ids. */
  const inWindow = async (query: Query, wanted: Wanted, direction: Direction, limit: number) => {
    const { number, terms, filter } = wanted;
    const range = rangeConditions(filter, 4, 'w');
    const { where, values } = conditions(filter, 4);
    const examined = `SELECT w.id, w.terms FROM $.word AS w WHERE w.owner = $1${range.where}
      ORDER BY w.id ${direction} LIMIT ${window}`;
    const select = statements.of(
      `search window ${where} ${direction}`,
      `WITH w AS MATERIALIZED (${examined})
       SELECT ${columns} FROM w JOIN $.log AS l ON l.owner = $1 AND l.id = w.id
       WHERE w.terms @> $2::int8[]${where} ORDER BY l.id ${direction} LIMIT $3`,
    );
    const edge = statements.of(
      `search edge ${range.where} ${direction}`,
      `SELECT w.id FROM $.word AS w WHERE w.owner = $1${range.where.replace(/\$(\d+)/g, (_, n) => `$${Number(n) - 2}`)}
       ORDER BY w.id ${direction} OFFSET ${window - 1} LIMIT 1`,
    );
    const [rows, [last]] = await Promise.all([
      query(select, [number, terms, limitOf(limit), ...values]),
      query(edge, [number, ...range.values]),
    ]);
    return { rows, edge: last?.[0] as string | undefined };
  };

  /** The same by the word index: all matches are sorted. */
  const inIndex = (query: Query, wanted: Wanted, direction: Direction, limit: number): Promise<Row[]> => {
    const { number, terms, filter } = wanted;
    const range = rangeConditions(filter, 4, 'w');
    const { where, values } = conditions(filter, 4);
    // `owner + 0` cannot use the other index.
    const statement = statements.of(
      `search index ${where} ${direction}`,
      `WITH w AS MATERIALIZED (SELECT w.id FROM $.word AS w
         WHERE w.terms @> $2::int8[] AND w.owner + 0 = $1::int8${range.where})
       SELECT ${columns} FROM (SELECT id FROM w ORDER BY id ${direction}) AS w
       JOIN $.log AS l ON l.owner = $1 AND l.id = w.id WHERE TRUE${where} ORDER BY w.id ${direction} LIMIT $3`,
    );
    return query(statement, [number, terms, limitOf(limit), ...values]);
  };

  const indexed = async (
    query: Query,
    { number }: Searched,
    asked: LogFilter,
    wantedWords: ReadonlySet<string>,
    direction: Direction,
    limit: number,
  ): Promise<LogEntry[]> => {
    const terms = int8Array(termsOf(number, wantedWords, asked));
    const isMatch = matches(asked, text);
    const found: LogEntry[] = [];
    let filter = asked;
    for (let isFirst = true; found.length < limit; isFirst = false) {
      const wanted = { number, terms, filter };
      const most = limit - found.length;
      const part = isFirst ? await inWindow(query, wanted, direction, most) : { rows: [], edge: undefined };
      const rows = isFirst ? part.rows : await inIndex(query, wanted, direction, most);
      for (const row of rows) {
        const entry = entryOf(row);
        if (isMatch(entry)) found.push(entry);
      }
      const isWhole = rows.length < most && (!isFirst || part.edge === undefined);
      if (isWhole) break;
      const last = rows.length < most ? restored(part.edge!) : restored(rows.at(-1)![0] as string);
      filter = beyond(filter, last, direction);
    }
    return found;
  };

  const page = async (
    query: Query,
    owner: Searched,
    filter: LogFilter,
    direction: Direction,
    limit: number,
  ): Promise<LogEntry[]> => {
    const wanted = wordsIn(filter.words ?? '');
    if (wanted.size === 0 || limit <= 0) return [];
    const found = await indexed(query, owner, filter, wanted, direction, limit);
    found.push(...(await scan(query, owner, filter)));
    found.sort(direction === 'ASC' ? (a, b) => compare(a.id, b.id) : (a, b) => compare(b.id, a.id));
    return found.slice(0, limit);
  };

  const count = async (query: Query, owner: Searched, filter: LogFilter, limit: number): Promise<number> => {
    const wanted = wordsIn(filter.words ?? '');
    if (wanted.size === 0) return 0;
    const rest = (await scan(query, owner, filter)).length;
    if (rest >= limit) return limit;
    const range = rangeConditions(filter, 4, 'w');
    const statement = statements.of(
      `search count ${range.where}`,
      `SELECT count(*)::float8 FROM (SELECT 1 FROM $.word AS w
         WHERE w.terms @> $2::int8[] AND w.owner + 0 = $1::int8${range.where} LIMIT $3) AS matching`,
    );
    const terms = int8Array(termsOf(owner.number, wanted, filter));
    const [row] = await query(statement, [owner.number, terms, limitOf(limit - rest), ...range.values]);
    return rest + (row![0] as number);
  };

  /** Runs a search once little is left to index. */
  const searching = async <R>(
    owner: string,
    none: R,
    run: (query: Query, found: Searched) => Promise<R>,
    check: (query: Query) => Promise<void> = async () => {},
  ): Promise<R> => {
    for (;;) {
      const found = await lanes.read(
        owner,
        store,
        async (query) => {
          await check(query);
          const state = text === undefined ? undefined : await searched(query, owner);
          if (state === undefined) return { result: none };
          return (await hasBacklog(query, state)) ? undefined : { result: await run(query, state) };
        },
        true,
      );
      if (found !== undefined) return found.result;
      await catchUp(owner);
      await setImmediate();
    }
  };

  return {
    get text() {
      return text;
    },
    search: (asked) => {
      text = asked;
    },
    appended: (owner) => {
      if (text === undefined || dirty.size >= maxDirty) return;
      dirty.add(owner);
      background.wake();
    },
    page: (owner, filter, direction, limit, check) =>
      searching(owner, [], (query, state) => page(query, state, filter, direction, limit), check),
    count: (owner, filter, limit) => searching(owner, 0, (query, state) => count(query, state, filter, limit)),
    end: () => background.close(),
  };
}

/** Compares ids with the last indexed one, or with '' if there is none. */
type Operator = '>' | '>=';

function operatorOf(indexed: string | null): Operator {
  return indexed === null ? '>=' : '>';
}

/** A search in the word index. */
interface Wanted {
  /** Of the owner. */
  readonly number: string;
  readonly terms: Buffer;
  readonly filter: LogFilter;
}

/** Returns the filter for what comes after an id, in reading direction. */
function beyond(filter: LogFilter, id: string, direction: Direction): LogFilter {
  return direction === 'ASC' ? { ...filter, after: id } : { ...filter, before: id };
}
