import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DomainCounts } from '../../src/server/stream/s2s/domains.js';

const sends = (counts: DomainCounts, domain: string, times: number) => {
  for (let n = 0; n < times; n++) counts.sent(domain);
};
const total = ({ named, others }: DomainCounts) =>
  [...named.values()].reduce((sum, { sent }) => sum + sent, others.sent);

test('the first domains have counts of their own, all others share one', () => {
  const counts = new DomainCounts(2, 0);
  sends(counts, 'a.example', 3);
  counts.received('b.example');
  sends(counts, 'c.example', 4);
  counts.received('d.example');
  assert.deepEqual([...counts.named.keys()], ['a.example', 'b.example']);
  assert.deepEqual([counts.named.get('a.example')!.sent, counts.named.get('b.example')!.received], [3, 1]);
  assert.deepEqual([counts.others.sent, counts.others.received], [4, 1]);
});

test('a busy domain displaces the least busy one, and no shared count decreases', () => {
  const counts = new DomainCounts(2, 0);
  sends(counts, 'a.example', 30);
  sends(counts, 'b.example', 1);
  sends(counts, 'c.example', 12);
  assert.deepEqual([...counts.named.keys()], ['a.example', 'b.example']);
  assert.equal(counts.others.sent, 12);
  sends(counts, 'c.example', 2);
  assert.deepEqual([...counts.named.keys()], ['a.example', 'c.example']);
  assert.equal(counts.others.sent, 12);
  assert.equal(counts.named.get('c.example')!.sent, 2);
  // The displaced domain needs to be busier than the others to come back.
  sends(counts, 'b.example', 5);
  assert.equal(counts.named.has('b.example'), false);
  assert.equal(counts.others.sent, 17);
});

test('many domains: memory is bounded, and every event is counted once', () => {
  const counts = new DomainCounts(10, 0);
  for (let n = 0; n < 10; n++) sends(counts, `busy${n}.example`, 1000);
  for (let n = 0; n < 5000; n++) sends(counts, `n${n}.example`, 3);
  assert.equal(counts.named.size, 10);
  assert.ok([...counts.named.keys()].every((name) => name.startsWith('busy')));
  assert.equal(total(counts), 10 * 1000 + 5000 * 3);
});

test('a domain that becomes idle is eventually replaced by another', () => {
  const counts = new DomainCounts(1, 0);
  sends(counts, 'old.example', 1000);
  for (let hour = 1; hour <= 12; hour++) counts.sweep(hour * 3_600_000);
  sends(counts, 'new.example', 20);
  assert.deepEqual([...counts.named.keys()], ['new.example']);
});

test('a domain that is only claimed gets no counts of its own', () => {
  const counts = new DomainCounts(2, 0);
  counts.failed('claimed.example', 'verification', false);
  counts.failed('wanted.example', 'dns', true);
  counts.failed('wanted.example', 'verification', false);
  assert.deepEqual([...counts.named.keys()], ['wanted.example']);
  assert.deepEqual(
    [...counts.named.get('wanted.example')!.failures],
    [
      ['dns', 1],
      ['verification', 1],
    ],
  );
  assert.deepEqual([...counts.others.failures], [['verification', 1]]);
});
