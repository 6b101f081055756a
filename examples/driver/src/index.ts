/**
 * A storage driver on one file: every write is a line of JSON that is appended and flushed, and all of it is in memory. A
 * line that cannot be read stops the start. The last line is an exception: a crash may have cut it off, and its write was
 * never acknowledged. On opening, the file is rewritten without what was overwritten or removed. For small servers whose data people want to read.
 */
import { type FileHandle, open, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import {
  type DocumentStore,
  type LogOptions,
  type LogStore,
  type MapStore,
  MemoryStorage,
  type Storage,
  StorageError,
  type StoreName,
} from 'waxwing/storage';

/** A line: the store (shape and name), the operation and what it is called with. */
type Line =
  | readonly ['join', node: string, epoch: number]
  | readonly ['document', name: string, 'set', owner: string, value: unknown]
  | readonly ['document', name: string, 'delete', owner: string]
  | readonly ['map', name: string, 'set', owner: string, entries: readonly (readonly [string, unknown])[]]
  | readonly ['map', name: string, 'delete', owner: string, keys: readonly string[]]
  | readonly ['log', name: string, 'append', owner: string, entry: Parameters<LogStore['append']>[1]]
  | readonly ['log', name: string, 'remove', owner: string, ids: readonly string[]]
  | readonly ['log', name: string, 'trim', owner: string, what: Parameters<LogStore['trim']>[1]]
  | readonly ['document' | 'map' | 'log', name: string, 'forget', owner: string];

/** Owners, entries and keys that are read at a time while the file is written anew. */
const page = 1000;

/** Opens the file, or makes it. Rejects with StorageError. */
export async function openJsonLines(file: string): Promise<Storage> {
  await lock(file);
  try {
    const memory = new MemoryStorage();
    const epochs = new Map<string, number>();
    for (const line of await linesOf(file)) await apply(memory, epochs, line);
    await rewrite(file, memory, epochs);
    return new JsonLines(file, await open(file, 'a', 0o600), memory, epochs);
  } catch (error) {
    await rm(lockOf(file), { force: true });
    throw failure(error);
  }
}

class JsonLines implements Storage {
  readonly #file: string;
  readonly #handle: FileHandle;
  readonly #memory: MemoryStorage;
  readonly #epochs: Map<string, number>;
  /** Lines that wait for the next write, with those who wait for them. */
  #queue: { readonly text: string; done(error?: StorageError): void }[] = [];
  #writing: Promise<void> | undefined;
  /** Writes that have not been settled. */
  readonly #underWay = new Set<Promise<unknown>>();
  /** Once the file has failed nobody knows what is in it: it has to be opened anew. */
  #failed: StorageError | undefined;
  #closing: Promise<void> | undefined;

  constructor(file: string, handle: FileHandle, memory: MemoryStorage, epochs: Map<string, number>) {
    this.#file = file;
    this.#handle = handle;
    this.#memory = memory;
    this.#epochs = epochs;
  }

  document<T>(name: string): DocumentStore<T> {
    const store = this.#memory.document<T>(name);
    return {
      ...store,
      set: (owner, value) => this.#write(store.set(owner, value), ['document', name, 'set', owner, value]),
      delete: (owner) => this.#write(store.delete(owner), ['document', name, 'delete', owner], isTrue),
      compareAndSet: (owner, expected, next) =>
        this.#write(
          store.compareAndSet(owner, expected, next),
          next === undefined ? ['document', name, 'delete', owner] : ['document', name, 'set', owner, next],
          isTrue,
        ),
      forget: (owner) => this.#write(store.forget(owner), ['document', name, 'forget', owner]),
    };
  }

  map<T>(name: string): MapStore<T> {
    const store = this.#memory.map<T>(name);
    return {
      ...store,
      set: (owner, entries) => {
        const all = [...entries]; // may be read once only
        return this.#write(store.set(owner, all), ['map', name, 'set', owner, all]);
      },
      delete: (owner, keys) => this.#write(store.delete(owner, keys), ['map', name, 'delete', owner, keys], isSome),
      forget: (owner) => this.#write(store.forget(owner), ['map', name, 'forget', owner]),
    };
  }

  log(name: string, options: LogOptions = {}): LogStore {
    const store = this.#memory.log(name, options);
    return {
      ...store,
      append: (owner, entry) => this.#write(store.append(owner, entry), ['log', name, 'append', owner, entry]),
      remove: (owner, ids) => this.#write(store.remove(owner, ids), ['log', name, 'remove', owner, ids], isSome),
      trim: (owner, what) => this.#write(store.trim(owner, what), ['log', name, 'trim', owner, finite(what)], isSome),
      forget: (owner) => this.#write(store.forget(owner), ['log', name, 'forget', owner]),
    };
  }

  stores(): Promise<StoreName[]> {
    return this.#memory.stores();
  }

  async flush(): Promise<void> {
    await this.#memory.flush();
    await Promise.allSettled(this.#underWay);
  }

  async join(node: string, epoch?: number): Promise<number> {
    const joined = await this.#memory.join(node, epoch);
    this.#epochs.set(node, Math.max(joined, this.#epochs.get(node) ?? 0));
    await this.#write(Promise.resolve(), ['join', node, this.#epochs.get(node)!]);
    return joined;
  }

  /** Only this process writes: a fence is up once memory refuses, and what was written before is in the file. */
  async fence(node: string, epoch: number): Promise<void> {
    await this.#memory.fence(node, epoch);
    await Promise.allSettled(this.#underWay);
  }

  close(): Promise<void> {
    this.#closing ??= (async () => {
      await this.#memory.close();
      await Promise.allSettled(this.#underWay);
      await this.#handle.close();
      await rm(lockOf(this.#file), { force: true });
    })();
    return this.#closing;
  }

  /**
   * What memory has done becomes durable; what it has refused is refused. Memory does all in the order in which it is
   * called, and answers in that order, so that the lines are in it too. `isChange`: others change nothing, and need no line.
   */
  #write<R>(outcome: Promise<R>, line: Line, isChange: (result: R) => boolean = () => true): Promise<R> {
    // At once: the caller may change what it has given. Memory refuses what JSON has no text for.
    const text = textOf(line);
    const durable = outcome.then((result) => (isChange(result) ? this.#append(text).then(() => result) : result));
    this.#underWay.add(durable);
    const settled = () => void this.#underWay.delete(durable);
    durable.then(settled, settled);
    return durable;
  }

  #append(text: string): Promise<void> {
    if (this.#failed !== undefined) return Promise.reject(this.#failed);
    return new Promise((resolve, reject) => {
      this.#queue.push({ text, done: (error) => (error === undefined ? resolve() : reject(error)) });
      this.#writing ??= this.#drain();
    });
  }

  /** Lines that come while others are written go out together, with one flush. */
  async #drain(): Promise<void> {
    while (this.#queue.length > 0) {
      const batch = this.#queue;
      this.#queue = [];
      try {
        if (this.#failed !== undefined) throw this.#failed;
        await this.#handle.appendFile(batch.map(({ text }) => text).join(''));
        await this.#handle.datasync();
      } catch (error) {
        this.#failed = failure(error);
        // What memory has and the file has not must not be read.
        await this.#memory.close();
      }
      for (const { done } of batch) done(this.#failed);
    }
    this.#writing = undefined;
  }
}

function textOf(line: Line): string {
  try {
    return `${JSON.stringify(line)}\n`;
  } catch {
    return '';
  }
}

const isTrue = (result: boolean): boolean => result;
const isSome = (count: number): boolean => count > 0;

/** Infinity, which JSON has not, is as good as nothing here. */
const finite = (what: Parameters<LogStore['trim']>[1]): Parameters<LogStore['trim']>[1] =>
  Object.fromEntries(Object.entries(what).filter(([, value]) => value !== Number.POSITIVE_INFINITY));

async function apply(memory: MemoryStorage, epochs: Map<string, number>, line: Line): Promise<unknown> {
  switch (line[0]) {
    case 'join':
      epochs.set(line[1], line[2]);
      return memory.handle().join(line[1], line[2]);
    case 'document': {
      const store = memory.document(line[1]);
      if (line[2] === 'set') return store.set(line[3], line[4]);
      return line[2] === 'delete' ? store.delete(line[3]) : store.forget(line[3]);
    }
    case 'map': {
      const store = memory.map(line[1]);
      if (line[2] === 'set') return store.set(line[3], line[4]);
      return line[2] === 'delete' ? store.delete(line[3], line[4]) : store.forget(line[3]);
    }
    case 'log': {
      const store = memory.log(line[1]);
      if (line[2] === 'append') return store.append(line[3], line[4]);
      if (line[2] === 'remove') return store.remove(line[3], line[4]);
      return line[2] === 'trim' ? store.trim(line[3], line[4]) : store.forget(line[3]);
    }
    default:
      throw new StorageError('corrupt', `there is no operation ${JSON.stringify(line)}`);
  }
}

/** The whole lines of a file; none where there is no file. */
async function linesOf(file: string): Promise<Line[]> {
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '';
    throw error;
  });
  return text
    .slice(0, text.lastIndexOf('\n') + 1)
    .split('\n')
    .slice(0, -1)
    .map((line, index) => {
      try {
        return JSON.parse(line) as Line;
      } catch (error) {
        throw new StorageError('corrupt', `${file}:${index + 1} is no JSON`, { cause: error });
      }
    });
}

/** Writes what there is into a new file, and puts it in the place of the old one. */
async function rewrite(file: string, memory: MemoryStorage, epochs: ReadonlyMap<string, number>): Promise<void> {
  const next = `${file}.new`;
  const handle = await open(next, 'w', 0o600);
  try {
    const write = (line: Line) => handle.appendFile(`${JSON.stringify(line)}\n`);
    for (const [node, epoch] of epochs) await write(['join', node, epoch]);
    for (const { shape, name } of await memory.stores()) {
      const store = memory[shape](name);
      let owners: string[];
      let after: string | undefined;
      do {
        owners = await store.owners({ after, limit: page });
        for (const owner of owners)
          for (const line of await linesFor(memory, { shape, name }, owner)) await write(line);
        after = owners.at(-1);
      } while (owners.length === page);
    }
    await handle.datasync();
  } finally {
    await handle.close();
  }
  await rename(next, file);
  const folder = await open(dirname(file), 'r');
  await folder.sync().finally(() => folder.close());
}

/** Lines that make what an owner has in a store. */
async function linesFor(memory: MemoryStorage, { shape, name }: StoreName, owner: string): Promise<Line[]> {
  switch (shape) {
    case 'document':
      return [[shape, name, 'set', owner, await memory.document(name).get(owner)]];
    case 'map':
      return [[shape, name, 'set', owner, [...(await memory.map(name).all(owner))]]];
    case 'log': {
      const { entries } = await memory.log(name).page(owner, { limit: Number.POSITIVE_INFINITY });
      return entries.map((entry) => [shape, name, 'append', owner, entry]);
    }
  }
}

const lockOf = (file: string): string => `${file}.lock`;

/** One process writes the file. The lock of a process that no longer runs is ignored. */
async function lock(file: string): Promise<void> {
  for (let isSecond = false; ; isSecond = true) {
    try {
      return await writeFile(lockOf(file), `${process.pid}\n`, { flag: 'wx', mode: 0o600 });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw failure(error);
      const pid = Number(await readFile(lockOf(file), 'utf8').catch(() => ''));
      if (isSecond || isRunning(pid)) throw new StorageError('locked', `${file} is open in process ${pid}`);
      await rm(lockOf(file), { force: true });
    }
  }
}

function isRunning(pid: number): boolean {
  try {
    return pid > 0 && process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function failure(error: unknown): StorageError {
  if (error instanceof StorageError) return error;
  const { code, message } = error as NodeJS.ErrnoException;
  const kind = code === 'ENOSPC' || code === 'EDQUOT' ? 'full' : code === 'EROFS' ? 'read-only' : 'unavailable';
  return new StorageError(kind, message, { cause: error });
}
