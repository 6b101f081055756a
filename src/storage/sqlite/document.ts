import type { DocumentStore } from '../contract.js';
import * as json from '../json.js';
import type { Connection } from './connection.js';
import { hostOf, listOwners } from './owners.js';
import type { Lane, Queue } from './queue.js';
import { nameOf, tableOf } from './tables.js';

export function sqliteDocument(connection: Connection, queue: Queue, name: string): DocumentStore<unknown> {
  const tableName = nameOf('document', name);
  const table = tableOf('document', name);
  const lane: Lane = { waiting: 0 };

  const exists = (): boolean => connection.hasTable(tableName);
  const textOf = (owner: string): string | undefined => {
    if (!exists()) return undefined;
    const row = connection.statement(`SELECT value FROM ${table} WHERE owner = ?`).get(owner);
    return (row as { value: string } | undefined)?.value;
  };
  const put = (owner: string, text: string): void => {
    if (!exists()) create();
    const sql =
      `INSERT INTO ${table} (owner, host, value) VALUES (?, ?, ?)` +
      ' ON CONFLICT (owner) DO UPDATE SET value = excluded.value';
    connection.statement(sql).run(owner, hostOf(owner), text);
  };
  const remove = (owner: string): boolean =>
    exists() && connection.statement(`DELETE FROM ${table} WHERE owner = ?`).run(owner).changes > 0;
  const create = (): void =>
    connection.createTable(
      tableName,
      `CREATE TABLE ${table} (id INTEGER PRIMARY KEY, owner TEXT NOT NULL UNIQUE, host TEXT, value TEXT NOT NULL);
       CREATE INDEX ${tableOf('document', name, 'hosts')} ON ${table} (host, owner) WHERE host IS NOT NULL`,
    );

  return {
    get: async (owner) => json.read(await queue.read(lane, () => textOf(owner))),
    getMany: (owners) =>
      queue.read(lane, () => {
        const found = new Map<string, unknown>();
        for (const owner of owners) {
          const text = textOf(owner);
          if (text !== undefined) found.set(owner, json.read(text));
        }
        return found;
      }),
    set: async (owner, value) => {
      const text = json.write(value);
      const [last] = queue.newest(lane, owner);
      const instead = last?.work.kind === 'set' ? [last] : undefined;
      await queue.write({
        lane,
        kind: 'set',
        owner,
        bytes: Buffer.byteLength(text),
        run: () => put(owner, text),
        instead,
      });
    },
    delete: (owner) => queue.write({ lane, kind: 'other', owner, bytes: 0, run: () => remove(owner) }),
    compareAndSet: async (owner, expected, next) => {
      const present = expected === undefined ? undefined : json.write(expected);
      const text = next === undefined ? undefined : json.write(next);
      const run = (): boolean => {
        if (!json.isSame(textOf(owner), present)) return false;
        if (text !== undefined) put(owner, text);
        else if (present !== undefined) remove(owner);
        return true;
      };
      return queue.write({ lane, kind: 'other', owner, bytes: text === undefined ? 0 : Buffer.byteLength(text), run });
    },
    size: (owner) =>
      queue.read(lane, () => {
        if (!exists()) return 0;
        const sql = `SELECT octet_length(value) AS bytes FROM ${table} WHERE owner = ?`;
        return (connection.statement(sql).get(owner) as { bytes: number } | undefined)?.bytes ?? 0;
      }),
    owners: (range) => queue.read(lane, () => (exists() ? listOwners(connection, table, 'owner', range) : [])),
    forget: async (owner) => {
      await queue.write({ lane, kind: 'other', owner, bytes: 0, run: () => remove(owner) });
    },
  };
}
