/** Rows of the log table, and their selection by a filter. */
import type { LogEntry, LogFilter } from '../contract.js';
import { rangeOf } from '../filter.js';
import type { Row } from './connection.js';
import { restored, stored } from './text.js';

export type Direction = 'ASC' | 'DESC';

/** The columns of an entry. */
export const columns = 'l.id, l.peer, l.tag, l.value';

export function entryOf(row: Row): LogEntry {
  const [id, peer, tag, value] = row as [string, string | null, string | null, string];
  return {
    id: restored(id),
    ...(peer !== null && { with: restored(peer) }),
    ...(tag !== null && { tag: restored(tag) }),
    value: restored(value),
  };
}

/** SQL conditions, for parameters from a number on. */
export interface Conditions {
  /** Begins with AND, unless it is empty. The same for filters of the same form. */
  readonly where: string;
  readonly values: readonly string[];
}

/** Returns the conditions of a range of ids, in the table `l`. */
export function rangeConditions(filter: LogFilter, from: number, table = 'l'): Conditions {
  const { low, high } = rangeOf(filter);
  const values: string[] = [];
  let where = '';
  for (const [operator, bound] of [
    [low?.inclusive ? '>=' : '>', low],
    [high?.inclusive ? '<=' : '<', high],
  ] as const) {
    if (bound === undefined) continue;
    where += ` AND ${table}.id ${operator} $${from + values.length}`;
    values.push(stored(bound.id));
  }
  return { where, values };
}

/** Returns the conditions of a filter without its words and ids. */
export function conditions(filter: LogFilter, from: number): Conditions {
  const range = rangeConditions(filter, from);
  const values = [...range.values];
  let { where } = range;
  for (const [column, value] of [
    ['peer', filter.with],
    ['tag', filter.tag],
  ] as const) {
    if (value === undefined) continue;
    where += ` AND l.${column} = $${from + values.length}`;
    values.push(stored(value));
  }
  return { where, values };
}
