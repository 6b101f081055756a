/**
 * Storage in Redis or Valkey, for what may be lost: documents and maps, no logs. A resolved write survives what the server is
 * configured to survive. Nodes are not fenced. docs/decisions/0036-redis.md has the reasons.
 */
import {
  type DocumentStore,
  type MapStore,
  type OwnerRange,
  type Storage,
  StorageError,
  unreadable,
} from '../contract.js';
import * as json from '../json.js';
import { compare } from '../order.js';
import { canonical } from './canonical.js';
import { type ClientOptions, Connection, type RedisClient } from './client.js';
import { isWrongType } from './errors.js';
import { keyOf, listed, ownerIn, patternOf, type RedisShape, storePrefix, storesKey, unlisted } from './keys.js';
import { claim } from './keyspace.js';

export interface RedisOptions {
  readonly client: ClientOptions;
  /** Beginning of all keys. */
  readonly prefix?: string | undefined;
  /** The id of the server, which its nodes share. */
  readonly server: string;
  /** Seconds after which the data of an owner in a store expires, counted from the last write; undefined if it does not. */
  readonly expires?: ((store: string) => number | undefined) | undefined;
  /** The connection was lost. It comes back by itself. */
  readonly lost?: ((error: StorageError) => void) | undefined;
  /** Called with problems that fail no operation. */
  readonly warn?: ((message: string, error: unknown) => void) | undefined;
}

export interface RedisStorage extends Storage {
  /** Why there is no connection at the moment. */
  readonly away: StorageError | undefined;
  /** Rejects with StorageError if the server does not answer. */
  ping(): Promise<void>;
}

/** Keys that one step of a scan looks at. */
const scanned = 1000;

/** Compares the text, writes the next one ("" deletes), and returns the text that it found instead. */
const compareAndSet = `
local found = redis.call('GET', KEYS[1])
if ARGV[1] == '' then
  if found then return found end
elseif found ~= ARGV[1] then
  return found or ''
end
if ARGV[2] == '' then redis.call('DEL', KEYS[1])
elseif ARGV[3] ~= '' then redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
else redis.call('SET', KEYS[1], ARGV[2]) end
return 0`;

/**
 * Resolves also if there is no server: `away` says why. Rejects with StorageError if its keys belong to somebody else, or if
 * the configuration is wrong.
 */
export async function openRedis(options: RedisOptions): Promise<RedisStorage> {
  const { client, prefix = 'waxwing', server, expires = () => undefined } = options;
  const warn = options.warn ?? ((): void => {});
  /** Stores that are in the list of stores. */
  const announced = new Set<string>();
  const connection = new Connection(client, {
    verify: async (to) => {
      announced.clear();
      await claim(to, prefix, server, connection.where);
    },
    lost: (error) => options.lost?.(error),
    warn,
  });
  let away: StorageError | undefined;
  try {
    away = await connection.opened(client.connectTimeout + 500);
  } catch (error) {
    await connection.close();
    throw error;
  }
  const parts: Parts = {
    run: (command) => connection.run(command),
    announce(to, store) {
      if (announced.has(store)) return;
      announced.add(store);
      // In the same turn as the write that follows. If it fails, so does that.
      to.sadd(storesKey(prefix), store).catch(() => announced.delete(store));
    },
    warn,
  };
  const opened = new Map<string, unknown>();
  const open = <S>(shape: RedisShape, name: string, make: (parts: Parts, place: Place) => S): S => {
    const store = listed({ shape, name });
    let made = opened.get(store) as S | undefined;
    if (made === undefined) {
      const place = { store, begin: storePrefix(prefix, shape, name), seconds: expires(name) };
      opened.set(store, (made = make(parts, place)));
    }
    return made;
  };
  return {
    document: <T>(name: string) => open('document', name, documents) as DocumentStore<T>,
    map: <T>(name: string) => open('map', name, maps) as MapStore<unknown> as MapStore<T>,
    log: (name) => {
      throw new StorageError('unavailable', `Redis has no logs, as ${name} is one: put it on another driver`);
    },
    stores: async () => {
      const found = await connection.run((to) => to.smembers(storesKey(prefix)));
      return found.flatMap((text) => unlisted(text) ?? []);
    },
    flush: () => connection.flush(),
    join: async (_, epoch) => {
      if (epoch === undefined) throw new StorageError('locked', 'Redis holds what may be lost, and gives no epochs');
      return epoch;
    },
    fence: async () => {},
    look: async () => {},
    close: () => connection.close(),
    get away() {
      if (connection.isUsable) return undefined;
      return away ?? new StorageError('unavailable', `${connection.where}: not connected`);
    },
    ping: async () => {
      await connection.run((to) => to.exists(storesKey(prefix)));
    },
  };
}

interface Parts {
  run<R>(command: (client: RedisClient) => Promise<R>): Promise<R>;
  /** Adds a store to the list of those that may have data. */
  announce(client: RedisClient, store: string): void;
  warn(message: string, error: unknown): void;
}

interface Place {
  /** As in the list of stores. */
  readonly store: string;
  /** What its keys begin with. */
  readonly begin: string;
  /** After which its data expires. */
  readonly seconds: number | undefined;
}

/** What both shapes have. */
function common({ run }: Parts, { begin }: Place) {
  return {
    owners: (range: OwnerRange) => run((client) => owners(client, begin, range)),
    forget: async (owner: string): Promise<void> => {
      await run((client) => client.del(keyOf(begin, owner)));
    },
  };
}

function documents(parts: Parts, place: Place): DocumentStore<unknown> {
  const { run, announce } = parts;
  const { begin, seconds, store } = place;
  const get = async (owner: string): Promise<unknown> => {
    try {
      return json.read((await run((client) => client.get(keyOf(begin, owner)))) ?? undefined);
    } catch (error) {
      if (isWrong(error)) return unreadable;
      throw error;
    }
  };
  const swap = (owner: string, expected: string, next: string): Promise<unknown> =>
    run((client) => {
      if (next !== '') announce(client, store);
      const key = keyOf(begin, owner);
      return client.eval(compareAndSet, 1, key, expected, next, seconds === undefined ? '' : String(seconds));
    });
  return {
    ...common(parts, place),
    get,
    async getMany(asked) {
      const values = await Promise.all(asked.map(async (owner) => [owner, await get(owner)] as const));
      return new Map(values.filter(([, value]) => value !== undefined));
    },
    async set(owner, value) {
      const text = canonical(value);
      await run((client) => {
        announce(client, store);
        const key = keyOf(begin, owner);
        return seconds === undefined ? client.set(key, text) : client.set(key, text, 'EX', seconds);
      });
    },
    async delete(owner) {
      return (await run((client) => client.del(keyOf(begin, owner)))) > 0;
    },
    async compareAndSet(owner, expected, next) {
      const before = expected === undefined ? '' : canonical(expected);
      const after = next === undefined ? '' : canonical(next);
      for (let text = before; ; ) {
        const found = await swap(owner, text, after);
        if (found === 0) return true;
        // Written by another program, in another order of the properties.
        if (typeof found !== 'string' || found === text || before === '' || !json.isSame(found, before)) return false;
        text = found;
      }
    },
    async size(owner) {
      return run((client) => client.strlen(keyOf(begin, owner)));
    },
  };
}

function maps(parts: Parts, place: Place): MapStore<unknown> {
  const { run, announce, warn } = parts;
  const { begin, seconds, store } = place;
  const all = async (owner: string): Promise<[string, string][]> => {
    const found = await run((client) => client.hgetall(keyOf(begin, owner)));
    return Object.entries(found).sort(([one], [other]) => compare(one, other));
  };
  const write = (owner: string, texts: readonly string[]): Promise<unknown> =>
    run<unknown>((client) => {
      announce(client, store);
      const key = keyOf(begin, owner);
      const written = client.hset(key, ...texts);
      return seconds === undefined ? written : Promise.all([written, client.expire(key, seconds)]);
    });
  return {
    ...common(parts, place),
    async get(owner, key) {
      return json.read((await run((client) => client.hget(keyOf(begin, owner), key))) ?? undefined);
    },
    async all(owner) {
      return new Map((await all(owner)).map(([key, text]) => [key, json.read(text)]));
    },
    async page(owner, { after, limit }) {
      return (await all(owner))
        .filter(([key]) => after === undefined || compare(key, after) > 0)
        .slice(0, limit)
        .map(([key, text]) => [key, json.read(text)]);
    },
    async count(owner) {
      return run((client) => client.hlen(keyOf(begin, owner)));
    },
    async size(owner) {
      const texts = await run((client) => client.hvals(keyOf(begin, owner)));
      return texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0);
    },
    async set(owner, entries) {
      const texts = Array.from(entries, ([key, value]) => [key, json.write(value)]).flat();
      if (texts.length === 0) return;
      try {
        await write(owner, texts);
      } catch (error) {
        if (!isWrong(error)) throw error;
        // Another program has put something else there. It may be lost.
        warn('a key of another type is replaced', error);
        await run((client) => client.del(keyOf(begin, owner)));
        await write(owner, texts);
      }
    },
    async delete(owner, keys) {
      if (keys.length === 0) return 0;
      return run((client) => client.hdel(keyOf(begin, owner), ...keys));
    },
  };
}

const isWrong = (error: unknown): boolean =>
  error instanceof StorageError && (isWrongType(error.cause) || /WRONGTYPE/.test(error.message));

/** Looks at every key of all stores, and retains the first owners: for lists that are needed rarely. */
async function owners(client: RedisClient, begin: string, range: OwnerRange): Promise<string[]> {
  const { after, limit, suffix = '' } = range;
  if (limit === 0) return [];
  const found = new Set<string>();
  const first = (): string[] => [...found].sort(compare).slice(0, limit);
  for (const node of 'nodes' in client ? client.nodes('master') : [client]) {
    let cursor = '0';
    do {
      const [next, keys] = await node.scan(cursor, 'MATCH', patternOf(begin), 'COUNT', scanned);
      cursor = next;
      for (const key of keys) {
        const owner = ownerIn(begin, key);
        if (owner.endsWith(suffix) && (after === undefined || compare(owner, after) > 0)) found.add(owner);
      }
      if (found.size > 2 * limit + scanned) {
        const least = first();
        found.clear();
        for (const owner of least) found.add(owner);
      }
    } while (cursor !== '0');
  }
  return first();
}
