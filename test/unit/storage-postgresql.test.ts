/** The parts of the PostgreSQL driver that need no server; test/postgresql has the others. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compare } from '../../src/storage/order.js';
import {
  Batch,
  type CutKind,
  type Operation,
  type PutKind,
  type StoreRef,
  type Work,
} from '../../src/storage/postgresql/operations.js';
import { int8Array, restored, stored, textArray } from '../../src/storage/postgresql/text.js';
import { mulberry32 } from '../../src/storage/wrappers.js';
import { oddNames } from '../contract/names.js';

test('stored texts have no U+0000, keep their order and are restored', () => {
  const random = mulberry32(5);
  const characters = ['\0', '\u0001', '\u0002', 'a', '\uffff', '😀'];
  const texts = Array.from({ length: 400 }, () =>
    Array.from({ length: Math.floor(random() * 5) }, () => characters[Math.floor(random() * characters.length)]).join(
      '',
    ),
  );
  for (const text of [...texts, ...oddNames]) {
    assert.ok(!stored(text).includes('\0'));
    assert.equal(restored(stored(text)), text);
  }
  for (const [n, text] of texts.entries()) {
    const other = texts[(n * 7 + 1) % texts.length]!;
    assert.equal(Math.sign(compare(stored(text), stored(other))), Math.sign(compare(text, other)));
  }
});

test('arrays have the binary form of PostgreSQL', () => {
  assert.equal(
    textArray(['é', null, '']).toString('hex'),
    ['00000001', '00000001', '00000019', '00000003', '00000001', '00000002c3a9', 'ffffffff', '00000000'].join(''),
  );
  assert.equal(textArray([]).toString('hex'), '000000000000000100000019');
  assert.equal(
    int8Array([[0x80000000, 0xffffffff]]).toString('hex'),
    ['00000001', '00000001', '00000014', '00000001', '00000001', '00000008', '80000000ffffffff'].join(''),
  );
});

const store: StoreRef = { shape: 'log', name: 'l', number: 1 };
const kind = (name: string, isNumbered: boolean): PutKind<unknown> => ({
  statement: { name, text: '' },
  isNumbered,
  values: () => [],
});
const kinds = [kind('documents', false), kind('maps', true), kind('logs', true)];
const newOwners = kind('owners', false);
const cutKind: CutKind = { statement: { name: 'cut', text: '' } };

/** What a statement of a batch does for an owner, as text. */
function effects(batch: Batch, owner: string): string[] {
  const found = batch.reads.flatMap(({ work }) => (work.owner === owner ? [`read ${nameOf(work)}`] : []));
  for (const item of batch.sequence) {
    if ('cuts' in item) {
      const ours = item.cuts.filter(({ work }) => work.owner === owner);
      assert.ok(ours.length <= 1);
      found.push(...ours.map(({ work }) => `cut ${nameOf(work)}`));
      continue;
    }
    if (!('rows' in item)) {
      if (item.work.owner === owner) found.push(`${item.work.type} ${nameOf(item.work)}`);
      continue;
    }
    for (const row of item.rows.values()) {
      const { name, text } = row as { readonly name: string; readonly text?: string };
      if (name === owner) found.push(text === undefined ? 'number' : `put ${text}`);
    }
  }
  return found;
}

const names = new WeakMap<Work, string>();
const nameOf = (work: Work): string => names.get(work)!;

test("batches keep the order of each owner's operations, whatever they are", () => {
  for (let seed = 1; seed <= 200; seed++) {
    const random = mulberry32(seed);
    const below = (limit: number): number => Math.floor(random() * limit);
    const known = new Set<string>();
    const waiting: Operation[] = [];
    const expected = new Map<string, string[]>();
    for (let n = 0; n < 40; n++) {
      const owner = 'abc'[below(3)]!;
      const common = { owner, store, bytes: 0 };
      const type = below(7);
      const run = async (): Promise<void> => {};
      const text = String(n);
      const work: Work =
        type < 3
          ? { ...common, type: 'put', kind: kinds[type]!, rows: [[text, { name: owner, text }]] }
          : type === 3
            ? { ...common, type: 'change', run, isExclusive: below(4) === 0, isForgetting: below(3) === 0 }
            : type === 4
              ? { ...common, type: 'cut', kind: cutKind, name: owner, keys: [text] }
              : { ...common, type: 'read', run, isLong: below(3) === 0 };
      names.set(work, text);
      waiting.push({ work, resolve: () => {}, reject: () => {}, isSettled: false });
      expected.set(owner, [...(expected.get(owner) ?? []), `${work.type} ${text}`]);
    }
    const happened = new Map<string, string[]>();
    while (waiting.length > 0) {
      const batch = new Batch(newOwners as never, {
        has: (_, owner) => known.has(owner),
        add: (_, owner) => known.add(owner),
        delete: (_, owner) => known.delete(owner),
      });
      let taken = 0;
      while (taken < waiting.length && batch.add(waiting[taken]!)) taken++;
      assert.ok(taken > 0);
      waiting.splice(0, taken);
      for (const owner of expected.keys())
        happened.set(owner, [...(happened.get(owner) ?? []), ...effects(batch, owner)]);
    }
    for (const [owner, all] of expected) {
      const withNumbers = happened.get(owner)!;
      assert.deepEqual(
        withNumbers.filter((one) => one !== 'number'),
        all,
        `seed ${seed}, owner ${owner}`,
      );
    }
  }
});
