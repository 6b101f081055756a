/**
 * A storage driver on one file, for small servers whose data people want to read. Each write appends and flushes one
 * line of JSON; all data is held in memory. An unreadable line stops the start, except the last one: a crash may have
 * truncated it, and its write was never acknowledged. On opening, the file is rewritten without overwritten and removed
 * data.
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

/** A line: the store (shape and name), the operation and its arguments. */
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

/** Owners, entries and keys per read while the file is rewritten. */
const page = 1000;

/** Opens or creates the file. Rejects with StorageError. */
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
  /** Lines of the next write, with the callbacks of their writers. */
  #queue: { readonly text: string; done(error?: StorageError): void }[] = [];
  #writing: Promise<void> | undefined;
  /** Writes that have not been settled yet. */
  readonly #underWay = new Set<Promise<unknown>>();
  /** Set on the first failed write: the state of the file is unknown, and it must be reopened. */
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
        const all = [...entries]; // can be iterated only once
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

  /** Only this process writes: a fence is effective once memory refuses, and earlier writes are in the file. */
  async fence(node: string, epoch: number): Promise<void> {
    await this.#memory.fence(node, epoch);
    await Promise.allSettled(this.#underWay);
  }

  look(): Promise<void> {
    return this.#memory.look();
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
   * Makes a change in memory durable; rejects if memory rejects. Memory applies and resolves changes in call order, so
   * the lines are in that order too. `isChange`: results that change nothing need no line.
   */
  #write<R>(outcome: Promise<R>, line: Line, isChange: (result: R) => boolean = () => true): Promise<R> {
    // Serialized now, since the caller may modify the arguments. Memory refuses values that JSON cannot represent.
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

  /** Lines that arrive during a write are written together next, with one flush. */
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
        // Data in memory that is not in the file must not be read.
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

/** Drops Infinity, which JSON lacks and means the same as no limit here. */
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
      throw new StorageError('corrupt', `unknown operation ${JSON.stringify(line)}`);
  }
}

/** The complete lines of a file; none if it does not exist. */
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
        throw new StorageError('corrupt', `${file}:${index + 1} is not valid JSON`, { cause: error });
      }
    });
}

/** Writes the data to a new file, which replaces the old one. */
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

/** Lines that restore an owner's data in a store. */
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

/** Only one process may write the file. A stale lock is ignored. */
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
