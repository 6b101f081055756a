/**
 * The marks of a migration (migration-marks.ts), which are documents: a few rows beside the logs. Other documents and
 * maps need another driver.
 */
import { type DocumentStore, StorageError, type StoreName } from '../contract.js';
import * as json from '../json.js';
import { isMarkStore } from '../migration-marks.js';
import { compare } from '../order.js';
import { named } from './schema.js';
import type { Session } from './session.js';

const prefix = 'document ';

/** Notes that a log exists. */
export async function noteLog(session: Session, name: string): Promise<void> {
  await session.write(`INSERT INTO ${named(session.keyspace)}.about (key, value) VALUES (?, ?)`, [`log ${name}`, '']);
}

/** The logs that have been noted, and the marks. */
export async function noted(session: Session): Promise<StoreName[]> {
  const rows = await session.read(`SELECT key FROM ${named(session.keyspace)}.about`, []);
  const found = new Map<string, StoreName>();
  for (const { key } of rows) {
    const [, shape, name] = /^(log|document) (.*)$/s.exec(key as string) ?? [];
    if (shape === 'log') found.set(key as string, { shape, name: name! });
    if (shape === 'document') {
      const store = name!.slice(0, name!.indexOf(' '));
      found.set(prefix + store, { shape, name: store });
    }
  }
  return [...found.values()];
}

/** Throws StorageError for any other store than that of marks. */
export function marks<T>(session: Session, name: string): DocumentStore<T> {
  if (!isMarkStore({ shape: 'document', name })) throw misplaced(name);
  const about = `${named(session.keyspace)}.about`;
  const keyOf = (owner: string): string => `${prefix}${name} ${owner}`;
  const text = async (owner: string): Promise<string | undefined> => {
    const [row] = await session.read(`SELECT value FROM ${about} WHERE key = ?`, [keyOf(owner)]);
    return row?.value as string | undefined;
  };
  const get = async (owner: string): Promise<T | undefined> => json.read(await text(owner)) as T | undefined;
  const set = async (owner: string, value: T): Promise<void> => {
    await session.write(`INSERT INTO ${about} (key, value) VALUES (?, ?)`, [keyOf(owner), json.write(value)]);
  };
  const remove = async (owner: string): Promise<boolean> => {
    const was = await text(owner);
    await session.write(`DELETE FROM ${about} WHERE key = ?`, [keyOf(owner)]);
    return was !== undefined;
  };
  return {
    get,
    getMany: async (owners) => {
      const found = new Map<string, T>();
      for (const owner of owners) {
        const value = await get(owner);
        if (value !== undefined) found.set(owner, value);
      }
      return found;
    },
    set,
    delete: remove,
    // A mark has one writer: the program that migrates.
    compareAndSet: async (owner, expected, next) => {
      if (!json.isSame(await text(owner), expected === undefined ? undefined : json.write(expected))) return false;
      await (next === undefined ? remove(owner) : set(owner, next));
      return true;
    },
    size: async (owner) => Buffer.byteLength((await text(owner)) ?? ''),
    owners: async ({ after, limit, suffix = '' }) => {
      const rows = await session.read(`SELECT key FROM ${about}`, []);
      return rows
        .map(({ key }) => key as string)
        .filter((key) => key.startsWith(keyOf('')))
        .map((key) => key.slice(keyOf('').length))
        .filter((owner) => owner.endsWith(suffix) && (after === undefined || compare(owner, after) > 0))
        .sort(compare)
        .slice(0, limit);
    },
    forget: async (owner) => {
      await remove(owner);
    },
  };
}

export const misplaced = (name: string): StorageError =>
  new StorageError(
    'unavailable',
    `Cassandra holds logs such as the archive alone: the store ${name} needs another driver`,
  );
