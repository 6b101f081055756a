/** Logins to the account page: what is stored of them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Login, Logins } from '../../src/modules/account-page/logins.js';
import { takeClocks } from './clocks.js';
import { startHost } from './module-host.js';

async function started(most = 10) {
  const { host, storage, account, accounts, stop } = await startHost([]);
  const owner = await account('romeo');
  const { epoch } = (await accounts.get(owner.bare))!;
  const store = storage.map<Login>('logins');
  const logins = new Logins(host, store, () => most);
  const open = (key: string, seconds = 100) => logins.open(owner, { key, epoch, address: '127.0.0.1', seconds });
  return { owner, store, logins, open, accounts, stop };
}

test('a form counts as sent for good, however many follow it', async () => {
  const { owner, store, logins, open, stop } = await started();
  assert.ok(await open('key'));
  const forms = Array.from({ length: 300 }, (_, at) => ({ nonce: `nonce ${at}`, at: 1000 + at }));
  for (const form of forms) assert.equal(await logins.use(owner, 'key', form), 'in');
  for (const form of forms) assert.equal(await logins.use(owner, 'key', form), 'sent');
  // A form that was made before those that are forgotten is not known any more.
  assert.equal(await logins.use(owner, 'key', { nonce: 'early', at: 1001 }), 'sent');
  assert.equal(await logins.use(owner, 'key', { nonce: 'new', at: 2000 }), 'in');
  assert.ok((await store.get(owner.bare, 'key'))!.used.length <= 50);
  await stop();
});

test('of the same form at once, one counts', async () => {
  const { owner, logins, open, stop } = await started();
  await open('key');
  const form = { nonce: 'nonce', at: 1 };
  const standings = await Promise.all([1, 2, 3].map(() => logins.use(owner, 'key', form)));
  assert.deepEqual(standings, ['in', 'sent', 'sent']);
  await stop();
});

test('they are bounded, end in time and with the password, and are tidied away', async () => {
  const { owner, store, logins, open, accounts, stop } = await started(3);
  const clocks = takeClocks({ still: true });
  try {
    for (const key of ['a', 'b', 'c', 'd']) {
      clocks.pass(1);
      await open(key);
    }
    assert.deepEqual(
      (await logins.list(owner)).map(([key]) => key),
      ['d', 'c', 'b'],
    );
    assert.equal(await logins.use(owner, 'a', null), 'none');
    assert.equal(await logins.use(owner, 'b', null), 'in');
    assert.equal(await logins.use(owner, 'other', { nonce: 'n', at: 1 }), 'none');
    clocks.pass(50_000);
    await open('e', 1000);
    clocks.pass(50_000);
    assert.deepEqual(
      (await logins.list(owner)).map(([key]) => key),
      ['e'],
    );
    await logins.tidy();
    assert.deepEqual([...(await store.all(owner.bare)).keys()], ['e']);
    await accounts.setPassword(owner.bare, 'another password');
    assert.equal(await logins.use(owner, 'e', null), 'none');
    assert.deepEqual(await logins.list(owner), []);
    assert.equal(await open('f'), false);
  } finally {
    clocks.restore();
  }
  await stop();
});
