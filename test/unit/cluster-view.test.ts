import assert from 'node:assert/strict';
import { test } from 'node:test';
import { slotCount, slotOf, slotOfJob } from '../../src/server/cluster/slots.js';
import {
  type Changed,
  ClusterFull,
  deal,
  emptyView,
  type Member,
  type View,
  ViewStore,
  withMember,
  withoutMember,
} from '../../src/server/cluster/view.js';
import { checked } from '../../src/storage/checked.js';
import { StorageError } from '../../src/storage/contract.js';
import { MemoryStorage } from '../../src/storage/memory.js';

test('all versions compute the same slots', () => {
  const known: readonly (readonly [string, number])[] = [
    ['', 3213],
    ['a', 2314],
    ['localhost', 572],
    ['romeo@montague.example', 3743],
    ['rømeo@montague.example', 3722],
    ['😀@conference.montague.example', 1012],
  ];
  assert.deepEqual(
    known.map(([bare]) => [bare, slotOf(bare)]),
    known,
  );
  assert.equal(slotOfJob('x'), slotOf('job:x'));
});

test('similar addresses are spread evenly', () => {
  for (const name of [(n: number) => `user${n}@example.org`, (n: number) => `${n}@chat.example.org`]) {
    const counts = new Array<number>(slotCount).fill(0);
    const users = 50 * slotCount;
    for (let n = 0; n < users; n++) counts[slotOf(name(n))]!++;
    // Of a random spread nearly all lie within four times the root of 50.
    const odd = counts.filter((count) => Math.abs(count - 50) > 28).length;
    assert.ok(odd < 8, `${odd} slots`);
    // Halves, as two nodes have them.
    const low = counts.slice(0, slotCount / 2).reduce((sum, count) => sum + count, 0);
    assert.ok(Math.abs(low / users - 0.5) < 0.01);
  }
});

const member = (id: string, number = 0, isLeaving = false): Member => ({
  id,
  number,
  epoch: 1,
  address: id,
  version: '1',
  isLeaving,
});
const joining = (id: string, epoch = 1) => ({ id, epoch, address: id, version: '1' });
const after = ({ cluster, version }: View, change: Changed): View => ({ ...change, cluster, version: version + 1 });

const counts = (slots: readonly number[]): Map<number, number> => {
  const found = new Map<number, number>();
  for (const number of slots) found.set(number, (found.get(number) ?? 0) + 1);
  return found;
};
const moved = (a: readonly number[], b: readonly number[]): number =>
  a.filter((number, slot) => number !== b[slot]).length;

test('slots are distributed evenly, with the fewest moves', () => {
  let view = after(emptyView, withMember(emptyView, joining('n0')));
  assert.deepEqual(counts(view.slots), new Map([[0, slotCount]]));
  for (let n = 1; n < 12; n++) {
    view = after(view, withMember(view, joining(`n${n}`)));
    const slots = deal(view);
    const shares = [...counts(slots).values()];
    assert.equal(shares.length, n + 1);
    assert.ok(Math.max(...shares) - Math.min(...shares) <= 1);
    // The slots of the new member only.
    assert.equal(moved(view.slots, slots), counts(slots).get(n));
    assert.deepEqual(deal({ ...view, slots }), slots);
    view = { ...view, slots };
  }
  for (let n = 0; n < 11; n++) {
    const had = counts(view.slots).get(n)!;
    const next = after(view, withoutMember(view, `n${n}`));
    assert.equal(moved(view.slots, next.slots), had);
    const shares = [...counts(next.slots).values()];
    assert.ok(Math.max(...shares) - Math.min(...shares) <= 1);
    view = next;
  }
  assert.deepEqual(counts(view.slots), new Map([[11, slotCount]]));
  view = after(view, withoutMember(view, 'n11'));
  assert.deepEqual([view.members, view.slots], [[], []]);
  view = after(view, withMember(view, joining('n12')));
  assert.deepEqual(counts(view.slots), new Map([[0, slotCount]]));
});

test('a leaving member gives all its slots and gets none, unless all are leaving', () => {
  const slots = Array.from({ length: slotCount }, (_, slot) => slot % 3);
  const dealt = deal({ members: [member('a', 0), member('b', 1, true), member('c', 2)], slots });
  assert.deepEqual(
    counts(dealt),
    new Map([
      [0, 2048],
      [2, 2048],
    ]),
  );
  const all = deal({ members: [member('a', 0, true), member('b', 1, true), member('c', 2, true)], slots });
  assert.deepEqual(all, slots);
});

test('a restarted member has its slots and its number under a new epoch', () => {
  let view = after(emptyView, withMember(emptyView, joining('a')));
  view = after(view, withMember(view, joining('b')));
  view = { ...view, slots: deal(view), handingOver: 'a' };
  const again = withMember(view, joining('a', 2));
  assert.deepEqual(again.slots, view.slots);
  assert.deepEqual(
    again.members.map(({ id, number, epoch }) => [id, number, epoch]),
    [
      ['b', 1, 1],
      ['a', 0, 2],
    ],
  );
  assert.equal(again.handingOver, null);
  assert.equal(withMember(view, joining('b', 2)).handingOver, 'a');
});

test('a cluster is full at 1,024 members', () => {
  const members = Array.from({ length: 1024 }, (_, n) => member(`n${n}`, n));
  const view: View = {
    cluster: 'c',
    version: 1,
    members,
    slots: new Array<number>(slotCount).fill(0),
    handingOver: null,
  };
  assert.throws(() => withMember(view, joining('more')), ClusterFull);
  assert.equal(withMember(view, joining('n7', 2)).members.length, 1024);
});

test('concurrent changes are serialized', async () => {
  const storage = new MemoryStorage();
  const stores = Array.from({ length: 20 }, () => new ViewStore(storage.handle()));
  await Promise.all(stores.map((store, n) => store.change((view) => withMember(view, joining(`n${n}`)))));
  const view = await stores[0]!.read();
  assert.equal(view.version, 20);
  assert.deepEqual(new Set(view.members.map(({ number }) => number)).size, 20);
  assert.deepEqual(await stores[1]!.change(() => undefined), view);
});

test('a damaged view is an error', async () => {
  const good = { version: 1, ...withMember(emptyView, joining('a')) };
  const damages = [
    7,
    { ...good, slots: good.slots.slice(1) },
    { ...good, slots: good.slots.with(3, 5) },
    { ...good, members: [] },
    { ...good, members: [...good.members, ...good.members] },
  ];
  for (const damaged of damages) {
    const storage = new MemoryStorage();
    await storage.document('cluster').set('view', damaged);
    const store = new ViewStore(checked(storage, () => {}));
    const isCorrupt = (error: unknown) => error instanceof StorageError && error.failure === 'corrupt';
    await assert.rejects(store.read(), isCorrupt);
    await assert.rejects(
      store.change((view) => withMember(view, joining('b'))),
      isCorrupt,
    );
    assert.deepEqual(await storage.document('cluster').get('view'), damaged);
  }
});
