import assert from 'node:assert/strict';
import { test } from 'node:test';
import pino from 'pino';
import { retention } from '../../src/modules/xep-0313-mam/retention.js';
import { idAt } from '../../src/server/stanza/ids.js';
import type { LogStore } from '../../src/storage/contract.js';
import { MemoryStorage } from '../../src/storage/memory.js';

const day = 86_400_000;
const now = Date.UTC(2026, 5, 1);
const log = pino({ level: 'silent' });

async function filled(owners: readonly string[], count: number): Promise<LogStore> {
  const store = new MemoryStorage().log('archive');
  for (const owner of owners)
    for (let n = 0; n < count; n++) await store.append(owner, { id: idAt(now - n * day), value: '<message/>' });
  return store;
}
const keeping = (more: Partial<Parameters<typeof retention>[1]> = {}) => ({
  domains: () => ['example.org', 'rooms.example.org'],
  messages: Number.POSITIVE_INFINITY,
  age: () => Number.POSITIVE_INFINITY,
  isEndless: () => false,
  ...more,
});

test('deletes what is too old, per owner', async () => {
  const store = await filled(['a@example.org', 'b@example.org', 'c@rooms.example.org', 'd@elsewhere.example'], 20);
  const step = retention(store, keeping({ age: (owner) => (owner.startsWith('b') ? 2 : 5) * day }), log);
  for (let n = 0; n < 3; n++) await step(now);
  assert.equal(await store.count('a@example.org', {}), 6);
  assert.equal(await store.count('b@example.org', {}), 3);
  assert.equal(await store.count('c@rooms.example.org', {}), 6);
  assert.equal(await store.count('d@elsewhere.example', {}), 20, 'another host keeps its own');
});

test('deletes the oldest of too many, in steps', async () => {
  const store = await filled(['a@example.org'], 1200);
  const step = retention(store, keeping({ messages: 10 }), log);
  await step(now);
  assert.equal(await store.count('a@example.org', {}), 700);
  for (let n = 0; n < 4; n++) await step(now);
  const { entries } = await store.page('a@example.org', { limit: 100 });
  assert.equal(entries.length, 10);
  assert.equal(entries.at(-1)!.id, idAt(now));
});

test('covers many archives, then pauses', async () => {
  const owners = Array.from({ length: 250 }, (_, n) => `u${n}@example.org`);
  const store = await filled(owners, 3);
  const step = retention(store, keeping({ messages: 1 }), log);
  for (let n = 0; n < 4; n++) await step(now);
  for (const owner of owners) assert.equal(await store.count(owner, {}), 1, owner);
  await store.append('u1@example.org', { id: idAt(now + 1), value: '<message/>' });
  await step(now + 1000);
  assert.equal(await store.count('u1@example.org', {}), 2, 'a round has just ended');
  for (let n = 0; n < 4; n++) await step(now + day);
  assert.equal(await store.count('u1@example.org', {}), 1);
});

test('does nothing without limits', async () => {
  const store = await filled(['a@example.org'], 3);
  await retention(store, keeping({ messages: 1, isEndless: () => true }), log)(now);
  assert.equal(await store.count('a@example.org', {}), 3);
});
