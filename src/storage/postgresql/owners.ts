/** Lists of owners, and what else documents, maps and logs have in common. */
import type { OwnerRange } from '../contract.js';
import type { Query } from './connection.js';
import type { StoreRef } from './operations.js';
import type { Statements } from './statements.js';
import { restored, stored } from './text.js';

/** The number of the owner $2 in the store $1. */
export const ownerNumber = '(SELECT number FROM $.owner WHERE store = $1 AND name = $2)';

/** Names examined at a time for a suffix that is no host. */
const pageOfNames = 1000;

/** Returns a limit for SQL. */
export function limitOf(limit: number): number | null {
  return limit === Number.POSITIVE_INFINITY ? null : Math.max(limit, 0);
}

/** Lists owners of a table that has their names and hosts. `condition` tells those that have entries. */
export async function listOwners(
  query: Query,
  statements: Statements,
  { number }: StoreRef,
  table: 'document' | 'owner',
  condition: string,
  { after, limit, suffix = '' }: OwnerRange,
): Promise<string[]> {
  const isHost = suffix.lastIndexOf('@') === 0;
  const select = async (start: string | undefined, count: number): Promise<string[]> => {
    const operator = start === undefined ? '>=' : '>';
    const statement = statements.of(
      `owners ${table} ${operator} ${isHost} ${condition}`,
      `SELECT name FROM $.${table} AS o WHERE store = $1 AND name ${operator} $2 ${isHost ? 'AND host = $4' : ''}
       AND ${condition} ORDER BY name LIMIT $3`,
    );
    const host = isHost ? [stored(suffix.slice(1))] : [];
    const rows = await query(statement, [number, stored(start ?? ''), limitOf(count), ...host]);
    return rows.map(([name]) => restored(name as string));
  };
  if (isHost || suffix === '') return select(after, limit);

  const found: string[] = [];
  for (let start = after; found.length < limit; ) {
    const names = await select(start, pageOfNames);
    found.push(...names.filter((owner) => owner.endsWith(suffix)));
    if (names.length < pageOfNames) break;
    start = names.at(-1);
  }
  return found.slice(0, limit);
}
