import type { MapStore } from '../contract.js';
import * as json from '../json.js';
import type { Connection } from './connection.js';
import { forgetInSteps, type Purge } from './forget.js';
import { clamp, Owners } from './owners.js';
import { inPieces } from './pieces.js';
import type { Lane, Queue } from './queue.js';
import { nameOf, tableOf } from './tables.js';

interface Item {
  readonly key: string;
  readonly value: string;
}

export function sqliteMap(connection: Connection, queue: Queue, name: string): MapStore<unknown> & Purge {
  const table = tableOf('map', name);
  const lane: Lane = { waiting: 0 };
  const owners = new Owners<{ readonly id: number }>(connection, 'map', name, '', ({ id }) => ({ id }));

  const create = (): void => {
    owners.create();
    // Clustered: an owner's entries are stored together.
    connection.createTable(
      nameOf('map', name),
      `CREATE TABLE ${table} (owner INTEGER, key TEXT, value TEXT NOT NULL, PRIMARY KEY (owner, key)) WITHOUT ROWID`,
    );
  };
  /** Returns entries with keys after `after`, in order. */
  const items = (name: string, after: string | undefined, limit: number): [string, unknown][] => {
    const owner = owners.find(name);
    if (owner === undefined) return [];
    const sql = `SELECT key, value FROM ${table} WHERE owner = ? AND key ${after === undefined ? '>=' : '>'} ? ORDER BY key LIMIT ?`;
    const rows = connection.statement(sql).all(owner.id, after ?? '', clamp(limit)) as Item[];
    return rows.map(({ key, value }) => [key, json.read(value)]);
  };
  const forgetting = forgetInSteps(queue, lane, owners, (id, limit) => {
    const sql = `DELETE FROM ${table} WHERE owner = ? ORDER BY key LIMIT ?`;
    return connection.statement(sql).run(id, limit).changes;
  });

  return {
    get: (name, key) =>
      queue.read(lane, () => {
        const owner = owners.find(name);
        if (owner === undefined) return undefined;
        const row = connection.statement(`SELECT value FROM ${table} WHERE owner = ? AND key = ?`).get(owner.id, key);
        return json.read((row as Item | undefined)?.value);
      }),
    all: (name) => queue.read(lane, () => new Map(items(name, undefined, Number.POSITIVE_INFINITY))),
    page: (name, { after, limit }) => queue.read(lane, () => items(name, after, limit)),
    count: (name) =>
      queue.read(lane, () => {
        const owner = owners.find(name);
        if (owner === undefined) return 0;
        const row = connection.statement(`SELECT count(*) AS count FROM ${table} WHERE owner = ?`).get(owner.id);
        return (row as { count: number }).count;
      }),
    // Reads no overflow pages: SQLite gets the length of a value from the row header.
    size: (name) =>
      queue.read(lane, () => {
        const owner = owners.find(name);
        if (owner === undefined) return 0;
        const sql = `SELECT coalesce(sum(octet_length(value)), 0) AS bytes FROM ${table} WHERE owner = ?`;
        return (connection.statement(sql).get(owner.id) as { bytes: number }).bytes;
      }),
    set: async (name, entries) => {
      const texts = Array.from(entries, ([key, value]) => [key, json.write(value)] as const);
      if (texts.length === 0) return;
      const run = (): void => {
        if (!owners.exist) create();
        const { id } = owners.findOrMake(name);
        const put = connection.statement(`INSERT OR REPLACE INTO ${table} (owner, key, value) VALUES (?, ?, ?)`);
        for (const [key, text] of texts) put.run(id, key, text);
      };
      const bytes = texts.reduce((sum, [key, text]) => sum + Buffer.byteLength(key) + Buffer.byteLength(text), 0);
      await queue.write({ lane, kind: 'set', owner: name, bytes, run });
    },
    delete: async (name, keys) => {
      const run = (): number => {
        const owner = owners.find(name);
        if (owner === undefined) return 0;
        let count = 0;
        for (const { places, values } of inPieces(keys)) {
          const sql = `DELETE FROM ${table} WHERE owner = ? AND key IN ${places}`;
          count += connection.statement(sql).run(owner.id, ...values).changes;
        }
        return count;
      };
      return queue.write({ lane, kind: 'other', owner: name, bytes: keys.length * 32, run });
    },
    owners: (range) => queue.read(lane, () => owners.list(range)),
    ...forgetting,
  };
}
