/** Searches the indexed entries of a log by words: see log-index.ts. */
import type { LogEntry, LogFilter } from '../contract.js';
import { type Bound, rangeOf } from '../filter.js';
import { compare } from '../order.js';
import type { Connection } from './connection.js';
import type { IndexedOwner } from './log-index.js';
import { columns, conditions, type Direction, entryOf, type Row } from './log-rows.js';
import { clamp } from './owners.js';
import { tableOf } from './tables.js';
import type { Words } from './words.js';

export interface SearchedOwner extends IndexedOwner {
  /** Not 0 if the numbers of the entries are not in the order of their ids. */
  readonly disordered: number;
}

export interface LogSearch {
  /** Returns at most `limit` entries, in reading direction. */
  select(owner: SearchedOwner, filter: LogFilter, direction: Direction, limit: number): LogEntry[];
  count(owner: SearchedOwner, filter: LogFilter, limit: number): number;
}

/** A search in the indexed entries of an owner. */
interface Search {
  readonly owner: SearchedOwner;
  /** The MATCH expression. */
  readonly expression: string;
  /** Restricted to indexed entries. */
  readonly filter: LogFilter;
}

/** Maximum entries sorted for one answer: about 10 ms. */
const maxSorted = 10_000;
/** Maximum page size searched without sorting. */
const maxPage = 1000;
/** Ids examined together if there are too many matches to sort: initially, and at most. */
const firstWindow = 256;
const lastWindow = 8192;

export function logSearch(connection: Connection, name: string, words: Words): LogSearch {
  const table = tableOf('log', name);
  const byId = tableOf('log', name, 'ids');
  const matching = `${words.table} WHERE ${words.table} MATCH ?`;
  const rowid = `${words.table}.rowid`;
  const entries = `${words.table} CROSS JOIN ${table} ON seq = ${rowid} WHERE ${words.table} MATCH ?`;

  const searchFor = (owner: SearchedOwner, filter: LogFilter): Search | undefined => {
    const { indexed } = owner;
    const expression = words.expression(owner.id, filter);
    if (indexed === null || expression === undefined) return undefined;
    const { to = indexed } = filter;
    return { owner, expression, filter: { ...filter, to: compare(to, indexed) < 0 ? to : indexed } };
  };

  const countOf = (clause: string, parameters: readonly unknown[], limit: number): number => {
    const sql = `SELECT count(*) AS count FROM (SELECT 1 FROM ${clause} LIMIT ?)`;
    return (connection.statement(sql).get(...parameters, clamp(limit)) as { count: number }).count;
  };

  /** Returns the number of the entry next to a bound, on its inner side. */
  const seqAt = (owner: SearchedOwner, bound: Bound, direction: Direction): number | undefined => {
    const operator = `${direction === 'ASC' ? '>' : '<'}${bound.inclusive ? '=' : ''}`;
    const sql = `SELECT seq FROM ${table} INDEXED BY ${byId} WHERE owner = ? AND id ${operator} ? ORDER BY id ${direction} LIMIT 1`;
    return (connection.statement(sql).get(owner.id, bound.id) as { seq: number } | undefined)?.seq;
  };

  /** Returns the numbers for a range of ids, if they are in the same order; undefined if there are none. */
  const numbers = ({ owner, filter }: Search): [first: number, last: number] | undefined => {
    const { low, high } = rangeOf(filter);
    const first = low === undefined ? 0 : seqAt(owner, low, 'ASC');
    const last = high === undefined ? Number.MAX_SAFE_INTEGER : seqAt(owner, high, 'DESC');
    return first === undefined || last === undefined ? undefined : [first, last];
  };

  /** Reads the index in reading direction, up to the limit. */
  const inOrder = (search: Search, direction: Direction, limit: number): Row[] => {
    const range = numbers(search);
    if (range === undefined) return [];
    const { where, parameters } = conditions(search.owner.id, search.filter);
    const sql = `SELECT ${columns} FROM ${entries} AND ${rowid} >= ? AND ${rowid} <= ? AND ${where} ORDER BY ${rowid} ${direction} LIMIT ?`;
    return connection.statement(sql).all(search.expression, ...range, ...parameters, clamp(limit)) as Row[];
  };

  const sorted = ({ owner, expression, filter }: Search, direction: Direction, limit: number): Row[] => {
    const { where, parameters } = conditions(owner.id, filter);
    const sql = `SELECT ${columns} FROM ${entries} AND ${where} ORDER BY id ${direction} LIMIT ?`;
    return connection.statement(sql).all(expression, ...parameters, clamp(limit)) as Row[];
  };

  /** Returns the numbers, given in ascending order, that match. */
  const matchedOf = (seqs: readonly number[], expression: string): Set<number> => {
    const sql = `SELECT rowid AS seq FROM ${matching} AND rowid >= ? AND rowid <= ? ORDER BY rowid LIMIT ${firstWindow}`;
    const matched = new Set<number>();
    for (let n = 0; n < seqs.length; ) {
      const hits = connection.statement(sql).all(expression, seqs[n], seqs.at(-1)) as { seq: number }[];
      for (const { seq } of hits) matched.add(seq);
      const last = hits.at(-1);
      if (last === undefined || hits.length < firstWindow) break;
      // Any number of other entries may lie between two of these.
      while (n < seqs.length && seqs[n]! <= last.seq) n++;
    }
    return matched;
  };

  /**
   * For many matches when numbers are not in the order of ids: scans the ids, and matches each ascending run of
   * numbers.
   */
  const inStretches = ({ owner, expression, filter }: Search, direction: Direction, limit: number): Row[] => {
    const whole = conditions(owner.id, filter);
    const get = connection.statement(`SELECT ${columns} FROM ${table} WHERE seq = ? AND ${whole.where}`);
    const found: Row[] = [];
    let range: LogFilter = { ...filter, with: undefined, tag: undefined };
    for (let size = firstWindow; ; size = Math.min(size * 2, lastWindow)) {
      const { where, parameters } = conditions(owner.id, range);
      const sql = `SELECT id, seq FROM ${table} INDEXED BY ${byId} WHERE ${where} ORDER BY id ${direction} LIMIT ?`;
      const window = connection.statement(sql).all(...parameters, size) as { id: string; seq: number }[];
      for (const stretch of stretches(window, direction)) {
        const matched = matchedOf(
          stretch.map(({ seq }) => seq).sort((a, b) => a - b),
          expression,
        );
        for (const { seq } of stretch) {
          const row = matched.has(seq) ? (get.get(seq, ...whole.parameters) as Row | undefined) : undefined;
          if (row !== undefined) found.push(row);
          if (found.length >= limit) return found;
        }
      }
      if (window.length < size) return found;
      const edge = window.at(-1)!.id;
      range = direction === 'ASC' ? { ...range, after: edge } : { ...range, before: edge };
    }
  };

  return {
    select: (owner, filter, direction, limit) => {
      const search = searchFor(owner, filter);
      if (search === undefined || limit <= 0) return [];
      const areTooMany = (): boolean => countOf(matching, [search.expression], maxSorted + 1) > maxSorted;
      const select = !owner.disordered ? inOrder : limit <= maxPage && areTooMany() ? inStretches : sorted;
      return select(search, direction, limit).map(entryOf);
    },
    count: (owner, filter, limit) => {
      const search = searchFor(owner, filter);
      if (search === undefined) return 0;
      const { expression } = search;
      // The terms for `with` and `tag` are hashes.
      if (owner.disordered || filter.with !== undefined || filter.tag !== undefined) {
        const { where, parameters } = conditions(owner.id, search.filter);
        return countOf(`${entries} AND ${where}`, [expression, ...parameters], limit);
      }
      const range = numbers(search);
      if (range === undefined) return 0;
      return countOf(`${matching} AND rowid >= ? AND rowid <= ?`, [expression, ...range], limit);
    },
  };
}

/** Splits where numbers do not follow the direction. */
function stretches<N extends { readonly seq: number }>(rows: readonly N[], direction: Direction): N[][] {
  const found: N[][] = [];
  for (const row of rows) {
    const current = found.at(-1);
    const last = current?.at(-1);
    const follows = last !== undefined && (direction === 'ASC' ? row.seq > last.seq : row.seq < last.seq);
    if (follows) current!.push(row);
    else found.push([row]);
  }
  return found;
}
