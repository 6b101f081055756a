/** Rows of a log's table, and their selection by a filter. */
import type { LogEntry, LogFilter } from '../contract.js';
import { rangeOf } from '../filter.js';

export type Direction = 'ASC' | 'DESC';

/** The columns of an entry. */
export const columns = 'id, peer, tag, value';

export interface Row {
  readonly id: string;
  readonly peer: string | null;
  readonly tag: string | null;
  readonly value: string;
}

export function entryOf({ id, peer, tag, value }: Row): LogEntry {
  return {
    id,
    ...(peer !== null && { with: peer }),
    ...(tag !== null && { tag }),
    value,
  };
}

/** Returns the SQL conditions of a filter without its words and ids, and their parameters. */
export function conditions(owner: number, filter: LogFilter): { where: string; parameters: unknown[] } {
  const { low, high } = rangeOf(filter);
  const parameters: unknown[] = [owner];
  let where = 'owner = ?';
  const add = (condition: string, parameter: string | undefined): void => {
    if (parameter === undefined) return;
    where += ` AND ${condition} ?`;
    parameters.push(parameter);
  };
  add('peer =', filter.with);
  add('tag =', filter.tag);
  add(low?.inclusive ? 'id >=' : 'id >', low?.id);
  add(high?.inclusive ? 'id <=' : 'id <', high?.id);
  return { where, parameters };
}
