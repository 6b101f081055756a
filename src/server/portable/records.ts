/**
 * Stores that are exported as they are: their records as JSON, in an element of our own namespace. Another Waxwing imports
 * what its own schema accepts.
 */
import type { DocumentStore, LogEntry, LogStore, MapStore, Shape } from '../../storage/contract.js';
import type { Jid } from '../address/jid.js';
import { type PartsImported, type Portable, portableJson, type Refused } from '../module/index.js';
import { NS } from '../stanza/ns.js';
import { type Element, el, escapeAttribute, serialize } from '../xml/element.js';

/** A portable store, opened. `accepts`: whether a value from a file may be stored under the key. */
export interface PortableStore {
  readonly name: string;
  readonly shape: Shape;
  readonly store: unknown;
  accepts(value: unknown, key: string): boolean;
}

/** Records per read. */
const page = 100;

export function portableRecords(stores: readonly PortableStore[]): Portable {
  const byName = new Map(stores.map((one) => [one.name, one]));
  return {
    takes: [{ ns: NS.portable, name: 'store', containers: 1 }],
    async *export({ bare }: Jid) {
      for (const one of stores) {
        let isOpen = false;
        for await (const record of recordsOf(one, bare)) {
          if (!isOpen) yield `<store xmlns="${NS.portable}" name="${escapeAttribute(one.name)}">`;
          isOpen = true;
          yield serialize(el('record', { xmlns: NS.portable }, portableJson(record)), NS.portable);
        }
        if (isOpen) yield '</store>';
      }
    },
    async import({ bare }: Jid, parts: readonly Element[]): Promise<PartsImported> {
      const refused: Refused[] = [];
      for (const part of parts) {
        const name = part.attrs.name ?? '';
        const one = byName.get(name);
        const why = one === undefined ? 'no running module has this store' : await keep(one, bare, part);
        if (why !== undefined)
          refused.push({ what: `a record of the store ${JSON.stringify(name.slice(0, 100))}`, why });
      }
      return { refused };
    },
  };
}

async function* recordsOf({ shape, store }: PortableStore, owner: string): AsyncGenerator<unknown> {
  if (shape === 'document') {
    const value = await (store as DocumentStore<unknown>).get(owner);
    if (value !== undefined) yield value;
    return;
  }
  for (let after: string | undefined; ; ) {
    if (shape === 'map') {
      const entries = await (store as MapStore<unknown>).page(owner, { after, limit: page });
      yield* entries;
      if (entries.length < page) return;
      after = entries.at(-1)![0];
    } else {
      const { entries, complete } = await (store as LogStore).page(owner, { after, limit: page });
      for (const { id, with: peer, tag, value } of entries) yield [id, value, peer ?? null, tag ?? null];
      if (complete) return;
      after = entries.at(-1)!.id;
    }
  }
}

/** Stores a record unless there is one. Resolves with the reason if it is refused. */
async function keep(
  { shape, store, accepts }: PortableStore,
  owner: string,
  part: Element,
): Promise<string | undefined> {
  const text = part.getChild('record', NS.portable)?.getText();
  if (text === undefined) return undefined;
  let record: unknown;
  try {
    record = JSON.parse(text);
  } catch {
    return 'it is not JSON';
  }
  const unfit = 'it does not fit the schema of the store';
  if (shape === 'document') {
    if (!accepts(record, owner)) return unfit;
    await (store as DocumentStore<unknown>).compareAndSet(owner, undefined, record);
    return undefined;
  }
  if (!Array.isArray(record)) return unfit;
  const [key, value, peer, tag] = record as readonly unknown[];
  if (typeof key !== 'string' || key.length > 4096 || /\p{Surrogate}/u.test(key) || !accepts(value, key)) return unfit;
  if (shape === 'map') {
    const map = store as MapStore<unknown>;
    if ((await map.get(owner, key)) === undefined) await map.set(owner, [[key, value]]);
    return undefined;
  }
  if (typeof value !== 'string' || !isTextOrNull(peer) || !isTextOrNull(tag)) return unfit;
  const log = store as LogStore;
  const entry: LogEntry = { id: key, value, ...(peer != null && { with: peer }), ...(tag != null && { tag }) };
  if ((await log.count(owner, { ids: [key] })) === 0) await log.append(owner, entry);
  return undefined;
}

const isTextOrNull = (value: unknown): value is string | null | undefined =>
  value === undefined || value === null || typeof value === 'string';
