/** What modules offer to each other where they can do without, and messages to the host itself. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import type { Reports } from '../../src/modules/xep-0377-reports/services.js';
import { Jid } from '../../src/server/address/jid.js';
import { defineModule, serverMessage } from '../../src/server/module/index.js';
import { startHost } from './module-host.js';

const reports = { get: async () => undefined } as unknown as Reports;

const provider = defineModule({
  name: 'provider',
  summary: 'Provides.',
  implements: {},
  provides: ['reports'],
  start: ({ provide }) => {
    provide('reports', reports);
    return [];
  },
});

const wanting = (seen: unknown[]) =>
  defineModule({
    name: 'wanting',
    summary: 'Wants.',
    implements: {},
    wants: ['reports'],
    start: ({ services }) => {
      seen.push(services.reports);
      return [];
    },
  });

test('a module finds an optional service, wherever its module is in the list', async () => {
  const seen: unknown[] = [];
  const { stop } = await startHost([wanting(seen), provider]);
  after(stop);
  assert.deepEqual(seen, [reports]);
});

test('and works without it', async () => {
  const seen: unknown[] = [];
  const { stop } = await startHost([wanting(seen)]);
  after(stop);
  assert.deepEqual(seen, [undefined]);
});

test('a message to the host goes to the first handler that takes it; others are refused', async () => {
  const taken: (string | undefined)[] = [];
  const taker = defineModule({
    name: 'taker',
    summary: 'Takes.',
    implements: {},
    start: () => [
      serverMessage(({ id }) => {
        taken.push(id);
        return id === 'mine' ? 'handled' : undefined;
      }),
    ],
  });
  const { connect, account, stop } = await startHost([taker]);
  after(stop);
  await account('alice');
  const alice = connect(Jid.parse('alice@example.org/a').full);
  assert.equal(await alice.asks('<message id="mine" to="example.org"/>'), '');
  assert.match(await alice.asks('<message id="other" to="example.org"/>'), /id="other".*<service-unavailable /);
  assert.deepEqual(taken, ['mine', 'other']);
});
