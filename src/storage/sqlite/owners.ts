/** Numbers for owners, in one table per store: they keep entry keys short, and allow listing owners. */
import type { OwnerRange, Shape } from '../contract.js';
import { Recent } from '../recent.js';
import type { Connection } from './connection.js';
import { nameOf, tableOf } from './tables.js';

/** Maximum cached owners per store. */
const maxCached = 10_000;

export class Owners<O extends { readonly id: number }> {
  readonly #connection: Connection;
  readonly #table: string;
  readonly #tableName: string;
  readonly #host: string;
  readonly #entries: string;
  readonly #columns: string;
  readonly #describe: (row: O) => O;
  readonly #known = new Recent<O>(maxCached);

  /**
   * `columns` are additional columns, each with a default. `describe` builds the cached object from a row with all
   * columns.
   */
  constructor(connection: Connection, shape: Shape, name: string, columns: string, describe: (row: O) => O) {
    this.#connection = connection;
    this.#table = tableOf(shape, name, 'owners');
    this.#tableName = nameOf(shape, name, 'owners');
    this.#host = tableOf(shape, name, 'hosts');
    this.#entries = tableOf(shape, name);
    this.#columns = columns;
    this.#describe = describe;
    connection.addCache(this.#known);
  }

  get exist(): boolean {
    return this.#connection.hasTable(this.#tableName);
  }

  create(): void {
    // A deleted owner has no name, but keeps its number while its entries are being removed.
    this.#connection.createTable(
      this.#tableName,
      `CREATE TABLE ${this.#table} (id INTEGER PRIMARY KEY, name TEXT UNIQUE, host TEXT ${this.#columns});
       CREATE INDEX ${this.#host} ON ${this.#table} (host, name) WHERE host IS NOT NULL`,
    );
  }

  find(name: string): O | undefined {
    const known = this.#known.get(name);
    if (known !== undefined) return known;
    if (!this.exist) return undefined;
    const row = this.#connection.statement(`SELECT * FROM ${this.#table} WHERE name = ?`).get(name);
    if (row === undefined) return undefined;
    const owner = this.#describe(row as O);
    this.#known.set(name, owner);
    return owner;
  }

  /** Returns the owner with a number; undefined if there is none, or it was detached. */
  numbered(id: number): O | undefined {
    const row = this.#connection.statement(`SELECT name FROM ${this.#table} WHERE id = ?`).get(id);
    const name = (row as { name: string | null } | undefined)?.name ?? undefined;
    return name === undefined ? undefined : this.find(name);
  }

  findOrMake(name: string): O {
    const found = this.find(name);
    if (found !== undefined) return found;
    const sql = `INSERT INTO ${this.#table} (name, host) VALUES (?, ?) RETURNING *`;
    const owner = this.#describe(this.#connection.statement(sql).get(name, hostOf(name)) as O);
    this.#known.set(name, owner);
    return owner;
  }

  /** Removes the name of an owner; the number stays until `release`. */
  detach(name: string, { id }: O): void {
    this.#known.delete(name);
    this.#connection.statement(`UPDATE ${this.#table} SET name = NULL, host = NULL WHERE id = ?`).run(id);
  }

  release(id: number): void {
    this.#connection.statement(`DELETE FROM ${this.#table} WHERE id = ?`).run(id);
  }

  /** Returns the numbers of detached owners. */
  detached(): number[] {
    if (!this.exist) return [];
    const rows = this.#connection.statement(`SELECT id FROM ${this.#table} WHERE name IS NULL`).all();
    return (rows as { id: number }[]).map(({ id }) => id);
  }

  /** Lists owners that have entries, in order. */
  list(range: OwnerRange): string[] {
    if (!this.exist) return [];
    return listOwners(
      this.#connection,
      this.#table,
      'name',
      range,
      `EXISTS (SELECT 1 FROM ${this.#entries} WHERE owner = ${this.#table}.id)`,
    );
  }
}

/** Returns what follows the last `@`, or null if there is none. */
export function hostOf(owner: string): string | null {
  const at = owner.lastIndexOf('@');
  return at === -1 ? null : owner.slice(at + 1);
}

/** Lists owners from the column `name` of a table that has their hosts in `host`. */
export function listOwners(
  connection: Connection,
  table: string,
  name: string,
  { after, limit, suffix = '' }: OwnerRange,
  condition = 'TRUE',
): string[] {
  const isHost = suffix.lastIndexOf('@') === 0;
  const select = (start: string | undefined, count: number): string[] => {
    const sql =
      `SELECT ${name} AS name FROM ${table} WHERE ${isHost ? 'host = ? AND' : ''}` +
      ` ${name} ${start === undefined ? '>=' : '>'} ? AND ${condition} ORDER BY ${name} LIMIT ?`;
    const parameters = [start ?? '', clamp(count)];
    const rows = connection.statement(sql).all(...(isHost ? [suffix.slice(1)] : []), ...parameters);
    return (rows as { name: string }[]).map((row) => row.name);
  };
  if (isHost || suffix === '') return select(after, limit);

  const found: string[] = [];
  let start = after;
  while (found.length < limit) {
    const names = select(start, 1000);
    found.push(...names.filter((owner) => owner.endsWith(suffix)));
    start = names.at(-1);
    if (start === undefined) break;
  }
  return found.slice(0, limit);
}

/** Converts a limit for SQLite. */
export function clamp(limit: number): number {
  return Math.min(Math.max(limit, 0), Number.MAX_SAFE_INTEGER);
}
