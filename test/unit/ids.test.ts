import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { idAt, idsAbove, randomId, reserveIds, setNode, stanzaId, timeOf } from '../../src/server/stanza/ids.js';

const owner = 'romeo@example.org';
const other = 'juliet@example.org';
const hour = 3_600_000;

const assertRising = (ids: readonly string[]): void => {
  for (const [index, id] of ids.entries()) {
    assert.match(id, /^[0-9a-v]{16}$/);
    if (index === 0) continue;
    assert.ok(id > ids[index - 1]!, `${id} after ${ids[index - 1]}`);
    assert.ok(timeOf(id) > timeOf(ids[index - 1]!), `the stamp of ${id} after that of ${ids[index - 1]}`);
  }
};

describe('a stanza id', () => {
  it('contains its time', () => {
    const before = Date.now();
    const made = timeOf(stanzaId(owner));
    assert.ok(made >= before && made <= Date.now());
  });

  it('sorts by code unit and by time in the order of creation, per owner', () => {
    assertRising(Array.from({ length: 100_000 }, () => stanzaId('busy@example.org')));
  });

  it('is unique among owners within a millisecond', () => {
    const at = Date.now() + 1000;
    const ids = Array.from({ length: 20_000 }, (_, n) => stanzaId(`${n}@many.example.org`, at));
    assert.equal(new Set(ids).size, ids.length);
    assert.ok(ids.every((id) => timeOf(id) - at < 2));
  });

  it('continues after the previous one if the clock is set back', () => {
    const at = Date.now() + hour;
    const ids = [at, at - hour, at - hour + 1, at - 2 * hour, at + 2, at + 100, at + 101].map((now) =>
      stanzaId(owner, now),
    );
    assertRising(ids);
    assert.deepEqual(
      ids.map((id) => timeOf(id) - at),
      [0, 1, 2, 3, 4, 100, 101],
    );
  });

  it('has the right time for owners without ids while the clock was ahead', () => {
    const at = Date.now() + 2000;
    stanzaId(owner, at + 3 * hour);
    assert.equal(timeOf(stanzaId(other, at)), at);
  });

  it('increases for every owner, however many, and whatever the clock does', () => {
    const random = seeded(7);
    const last = new Map<string, string>();
    const from = Date.now() + 10 * hour;
    let now = from;
    for (let n = 0; n < 200_000; n++) {
      now += random() < 0.001 ? (random() - 0.5) * 2 * hour : random() * 2;
      const one = `${Math.floor(random() * 40_000)}@crowd.example.org`;
      const id = stanzaId(one, Math.floor(now));
      const before = last.get(one);
      if (before !== undefined && !(id > before && timeOf(id) > timeOf(before))) assert.fail(`${id} after ${before}`);
      last.set(one, id);
    }
  });

  it('continues above the reservation of an earlier process, and reserves in advance', () => {
    const from = Date.now() + 20 * hour;
    const written: number[] = [];
    const end = reserveIds(from, (until) => void written.push(until));
    const ids = [1, 2, 3].map(() => stanzaId('new@example.org'));
    assertRising(ids);
    assert.equal(timeOf(ids[0]!), from);
    assert.ok(written.length >= 1 && written.at(-1)! > timeOf(ids[2]!));
    const count = written.length;
    const later = stanzaId(owner, from + hour);
    assert.equal(written.length, count + 1);
    assert.ok(written.at(-1)! > timeOf(later));
    assert.equal(end(), timeOf(later) + 1);
    stanzaId(owner, from + 2 * hour);
    assert.equal(written.length, count + 1, 'it has ended');
  });

  it('continues above the stored ids of its owner', () => {
    const at = Date.now() + 100 * hour;
    idsAbove(other, idAt(at));
    idsAbove(other, idAt(at - hour));
    idsAbove(other, 'not one of ours');
    assert.equal(timeOf(stanzaId(other)), at + 1);
  });

  it('contains the number of its node', () => {
    const at = Date.now() + 180_000;
    setNode(0);
    const zero = stanzaId(owner, at);
    setNode(1023);
    const most = stanzaId(owner, at + 1);
    setNode(0);
    assert.equal(zero.slice(12, 14), '00');
    assert.equal(most.slice(12, 14), 'vv');
    for (const node of [-1, 1024, 1.5, Number.NaN]) assert.throws(() => setNode(node), RangeError);
  });

  it('starts a time range', () => {
    const at = Date.now() + 1000 * hour;
    const id = stanzaId(owner, at);
    assert.ok(idAt(at) <= id && idAt(at + 1) > id);
    assert.equal(timeOf(idAt(at)), at);
    assert.equal(idAt(0), '0000000000000000');
    assert.equal(idAt(-1), idAt(0));
    assert.equal(idAt(0.5), idAt(1));
    assert.ok(idAt(Number.POSITIVE_INFINITY) > id);
  });

  it('can be recognised', () => {
    for (const text of ['', 'x', 'W00000000000000', '000000000000000w', '00000000000000000']) {
      assert.ok(Number.isNaN(timeOf(text)), text);
    }
  });
});

describe('a random id', () => {
  it('has the requested number of bits', () => {
    for (const [bytes, length] of [
      [16, 22],
      [12, 16],
      [32, 43],
      [8192, 10_923],
    ] as const) {
      const id = randomId(bytes);
      assert.match(id, /^[A-Za-z0-9_-]+$/);
      assert.equal(id.length, length);
    }
    assert.throws(() => randomId(8193), RangeError);
  });

  it('is unique, also when the pool is refilled', () => {
    const ids = new Set(Array.from({ length: 5000 }, () => randomId()));
    assert.equal(ids.size, 5000);
  });
});

function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}
