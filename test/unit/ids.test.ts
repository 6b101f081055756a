import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { idAt, randomId, setNode, stanzaId, timeOf } from '../../src/server/stanza/ids.js';

describe('a stanza id', () => {
  it('sorts by code unit in the order of making, and never repeats', () => {
    const ids = Array.from({ length: 100_000 }, () => stanzaId());
    assert.deepEqual(ids.toSorted(), ids);
    assert.equal(new Set(ids).size, ids.length);
    assert.ok(ids.every((id) => /^[0-9a-v]{16}$/.test(id)));
  });

  it('tells when it was made', () => {
    const before = Date.now();
    const made = timeOf(stanzaId());
    assert.ok(made >= before && made <= Date.now() + 1000);
  });

  it('is no earlier than the one before, whatever the clock says', () => {
    const at = Date.now() + 60_000;
    const later = stanzaId(at);
    const earlier = stanzaId(at - 30_000);
    assert.equal(timeOf(later), at);
    assert.ok(earlier > later);
  });

  it('borrows from the next millisecond when one is full', () => {
    const at = Date.now() + 120_000;
    let last = stanzaId(at);
    for (let i = 0; i < 40_000; i++) {
      const id = stanzaId(at);
      if (id <= last) assert.fail(`${id} after ${last}`);
      last = id;
    }
    assert.equal(timeOf(last), at + 1);
  });

  it('carries the number of its node', () => {
    const at = Date.now() + 180_000;
    setNode(0);
    const zero = stanzaId(at);
    setNode(1023);
    const most = stanzaId(at + 1);
    setNode(0);
    assert.equal(zero.slice(12, 14), '00');
    assert.equal(most.slice(12, 14), 'vv');
    for (const node of [-1, 1024, 1.5, Number.NaN]) assert.throws(() => setNode(node), RangeError);
  });

  it('begins a time range', () => {
    const at = Date.now() + 240_000;
    const id = stanzaId(at);
    assert.ok(idAt(at) <= id && idAt(at + 1) > id);
    assert.equal(timeOf(idAt(at)), at);
    assert.equal(idAt(0), '0000000000000000');
    assert.equal(idAt(-1), idAt(0));
    assert.equal(idAt(0.5), idAt(1));
    assert.ok(idAt(Number.POSITIVE_INFINITY) > id);
  });

  it('is told from what is none', () => {
    for (const text of ['', 'x', 'W00000000000000', '000000000000000w', '00000000000000000']) {
      assert.ok(Number.isNaN(timeOf(text)), text);
    }
  });
});

describe('a random id', () => {
  it('has as many bits as asked for', () => {
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

  it('never comes twice, also when the pool is filled again', () => {
    const ids = new Set(Array.from({ length: 5000 }, () => randomId()));
    assert.equal(ids.size, 5000);
  });
});
