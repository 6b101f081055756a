/** Data of all shapes for tests that copy storages. */
import type { LogEntry, Storage } from '../src/storage/contract.js';
import { mulberry32 } from '../src/storage/wrappers.js';

export const odd = [
  '',
  ' ',
  '\0',
  '__proto__',
  'constructor',
  '\'"`%_\\',
  'ä\u0301',
  '\ud83d\ude00',
  '\uffff',
  'a\nb',
  'İ',
  '@',
  'x@y/z',
];

/** Fills stores of all shapes: few owners with much, many with little, and whatever names may be. */
export async function fill(storage: Storage, seed: number, size: number): Promise<void> {
  const random = mulberry32(seed);
  const upTo = (most: number): number => Math.floor(random() * most);
  const name = (n: number): string => odd[n] ?? `${odd[upTo(odd.length)]}${n}`;
  const value = (): unknown =>
    [null, true, 0, -1.5e-7, 'é😀\0"', [], {}, ['x'.repeat(upTo(3000))], { a: { b: [1, 'two'] } }][upTo(9)];
  const writes: Promise<unknown>[] = [];
  for (const store of ['plain', 'Plain', 'of a module that is not loaded', '^odd\0']) {
    for (let n = 0; n < size; n++) {
      writes.push(storage.document(store).set(name(n), value()));
      const keys = Array.from({ length: n === 3 ? size * 3 : upTo(4) }, (_, k) => [name(k), value()] as const);
      writes.push(storage.map(store).set(name(n), keys));
      for (let k = n === 5 ? size * 3 : upTo(4); k > 0; k--) {
        const entry: LogEntry = {
          id: name(k),
          value: `<message>${'ü'.repeat(upTo(500))}</message>`,
          ...(random() < 0.5 && { with: name(upTo(9)) }),
          ...(random() < 0.5 && { tag: odd[upTo(9)]! }),
        };
        writes.push(storage.log(store).append(name(n), entry));
      }
    }
  }
  await Promise.all(writes);
}

/** All data but the marks. */
export async function everything(storage: Storage): Promise<unknown> {
  const all: Record<string, unknown> = {};
  for (const { shape, name } of await storage.stores()) {
    const owners = await storage[shape](name).owners({ limit: Number.POSITIVE_INFINITY });
    if (name === 'storage_migration' || owners.length === 0) continue;
    const data = owners.map(async (owner) => {
      if (shape === 'document') return [owner, await storage.document(name).get(owner)];
      if (shape === 'map') return [owner, await storage.map(name).all(owner)];
      return [owner, await storage.log(name).page(owner, { limit: Number.POSITIVE_INFINITY })];
    });
    all[`${shape} ${name}`] = await Promise.all(data);
  }
  return all;
}
