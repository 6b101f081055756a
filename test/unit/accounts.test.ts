import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AccountError, type AccountEvent, type AccountFailure, Accounts } from '../../src/server/accounts/index.js';
import { keysOf } from '../../src/server/accounts/keys.js';
import { Jid } from '../../src/server/address/jid.js';
import { MemoryStorage } from '../../src/storage/memory.js';
import { quickKeys, salted, someAccounts } from './sasl-client.js';

const juliet = 'juliet@capulet.example';
const nurse = Jid.parse('nurse@capulet.example');

const refused = (failure: AccountFailure) => (error: unknown) =>
  error instanceof AccountError && error.failure === failure;
const types = (events: readonly AccountEvent[]) => events.map(({ type, jid }) => `${type} ${jid.full}`);

/** A storage that counts the reads of accounts. */
function counted() {
  const storage = new MemoryStorage();
  const store = storage.document('accounts');
  const reads = { count: 0 };
  const get = store.get.bind(store);
  store.get = (owner) => {
    reads.count++;
    return get(owner);
  };
  return { storage, reads };
}

test('an account can be created only once', async () => {
  const { accounts, events } = await someAccounts();
  assert.equal(await accounts.exists(nurse.bare), false);
  await accounts.create(nurse, 'how now', { role: 'admin' });
  assert.equal(await accounts.exists(nurse.bare), true);
  await assert.rejects(accounts.create(nurse, 'how now'), refused('conflict'));
  assert.deepEqual(types(events), [`accountCreated ${juliet}`, `accountCreated ${nurse.full}`]);
  const account = await accounts.get(nurse.bare);
  assert.equal(account?.role, 'admin');
  assert.equal(account?.disabled, false);
  assert.deepEqual(new Set(account?.hashes), new Set(['SHA-1', 'SHA-256', 'SHA-512']));
  assert.equal(await accounts.get('nobody@capulet.example'), undefined);
});

test('one of two concurrent creations of an account succeeds', async () => {
  const storage = new MemoryStorage();
  const nodes = [
    await Accounts.open({ storage, iterations: 4096 }),
    await Accounts.open({ storage, iterations: 4096 }),
  ];
  const passwords = ['first password', 'second password', 'third password', 'fourth password'];
  const outcomes = await Promise.allSettled(passwords.map((p, at) => nodes[at % 2]!.create(nurse, p)));
  assert.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 1);
  for (const outcome of outcomes) if (outcome.status === 'rejected') assert.ok(refused('conflict')(outcome.reason));
});

test('the name of an account is user@host', async () => {
  const { accounts } = await someAccounts();
  for (const jid of ['capulet.example', 'nurse@capulet.example/kitchen']) {
    await assert.rejects(accounts.create(Jid.parse(jid), 'how now'), refused('invalid-name'));
  }
});

test('passwords have a minimum length in characters, and follow OpaqueString', async () => {
  const { accounts } = await someAccounts({ minPasswordLength: 6 });
  for (const password of ['', 'short', '😀😀😀😀😀']) {
    const failure = password === '' ? 'password-invalid' : 'password-too-short';
    await assert.rejects(accounts.create(nurse, password), refused(failure));
    await assert.rejects(accounts.setPassword(juliet, password), refused(failure));
  }
  for (const password of ['bell\u0007ring', 'x'.repeat(1025)]) {
    await assert.rejects(accounts.create(nurse, password), refused('password-invalid'));
  }
  await accounts.create(nurse, '😀😀😀😀😀😀');
  assert.ok(await accounts.verifyPassword(nurse.bare, '😀😀😀😀😀😀'));
});

test('RFC 8265 §4.2: other spaces and other forms of a letter are the same password', async () => {
  const { accounts } = await someAccounts();
  await accounts.create(nurse, 'cafe\u0301\u00a0au lait');
  assert.ok(await accounts.verifyPassword(nurse.bare, 'caf\u00e9 au lait'));
  assert.equal(await accounts.verifyPassword(nurse.bare, 'Caf\u00e9 au lait'), undefined);
});

test('SCRAM keys are stored with one salt for each hash, but no password', async () => {
  const storage = new MemoryStorage();
  const { accounts } = await someAccounts({ storage });
  await accounts.create(nurse, 'correct horse');
  const stored = JSON.stringify(await storage.document('accounts').get(nurse.bare));
  assert.ok(!stored.includes('correct horse'));
  const salts = new Set<string>();
  for (const hash of ['SHA-1', 'SHA-256', 'SHA-512'] as const) {
    const keys = await accounts.credentials(nurse.bare, hash);
    assert.equal(keys.account?.bare, nurse.bare);
    assert.equal(keys.iterations, 4096);
    assert.equal(keys.salt.length, 16);
    salts.add(keys.salt.toString('hex'));
    assert.ok(!stored.includes(salted(hash, 'correct horse', keys.salt, 4096).toString('base64')));
  }
  assert.equal(salts.size, 3);
});

test('iterations are 10000 by default, and at least 4096', async () => {
  assert.equal((await Accounts.open({ storage: new MemoryStorage() })).iterations, 10_000);
  assert.equal((await Accounts.open({ storage: new MemoryStorage(), iterations: 1 })).iterations, 4096);
});

test('a password is verified and changed; the old one becomes invalid', async () => {
  const { accounts, events } = await someAccounts();
  const before = await accounts.verifyPassword(juliet, 'pencil');
  assert.ok(before);
  await accounts.setPassword(juliet, 'brushes');
  assert.equal(await accounts.verifyPassword(juliet, 'pencil'), undefined);
  const after = await accounts.verifyPassword(juliet, 'brushes');
  assert.notEqual(after?.epoch, before.epoch);
  assert.equal(events.at(-1)?.type, 'passwordChanged');
  await assert.rejects(accounts.setPassword('nobody@capulet.example', 'brushes'), refused('not-found'));
  assert.equal(await accounts.verifyPassword('nobody@capulet.example', 'brushes'), undefined);
});

test('a password that changes during its check is invalid', async () => {
  const { accounts } = await someAccounts({ hashes: ['SHA-256'] });
  const salt = Buffer.alloc(16);
  const slow = keysOf('SHA-256', salted('SHA-256', 'how now', salt, 60_000), salt, 60_000);
  await accounts.create(nurse, { 'SHA-256': slow });
  const checking = accounts.verifyPassword(nurse.bare, 'how now');
  await accounts.setPassword(nurse.bare, 'brushes');
  assert.equal(await checking, undefined);
});

test('an authentication is valid as long as the account and its password', async () => {
  const { accounts } = await someAccounts();
  const { epoch } = (await accounts.get(juliet))!;
  const identity = { jid: Jid.parse(juliet), epoch, anonymous: false };
  assert.equal(await accounts.isCurrent(identity), true);
  await accounts.disable(juliet);
  assert.equal(await accounts.isCurrent(identity), false);
  await accounts.enable(juliet);
  assert.equal(await accounts.isCurrent(identity), true);
  await accounts.setPassword(juliet, 'brushes');
  assert.equal(await accounts.isCurrent(identity), false);
  assert.equal(await accounts.isCurrent({ ...identity, jid: nurse }), false);
});

test('disabling, enabling and role changes emit events if something changes', async () => {
  const { accounts, events } = await someAccounts();
  events.length = 0;
  await accounts.disable(juliet);
  await accounts.disable(juliet);
  assert.equal((await accounts.get(juliet))?.disabled, true);
  await accounts.setRole(juliet, 'admin');
  await accounts.setRole(juliet, 'admin');
  await accounts.enable(juliet);
  await accounts.enable(juliet);
  assert.deepEqual(
    events.map(({ type }) => type),
    ['accountDisabled', 'roleChanged', 'accountEnabled'],
  );
  assert.equal((await accounts.get(juliet))?.role, 'admin');
  await accounts.setRole(juliet, 'user');
  assert.equal((await accounts.get(juliet))?.role, 'user');
  for (const change of [
    accounts.disable(nurse.bare),
    accounts.enable(nurse.bare),
    accounts.setRole(nurse.bare, 'user'),
  ]) {
    await assert.rejects(change, refused('not-found'));
  }
});

test('concurrent changes are all applied', async () => {
  const { accounts } = await someAccounts();
  await Promise.all([
    accounts.setRole(juliet, 'admin'),
    accounts.disable(juliet),
    accounts.setPassword(juliet, 'brushes'),
    accounts.addKeys(juliet, 'not its epoch', quickKeys('wrong')),
  ]);
  const account = await accounts.verifyPassword(juliet, 'brushes');
  assert.deepEqual([account?.role, account?.disabled], ['admin', true]);
});

test('existence is cached in both senses, and updated by changes', async () => {
  const { storage, reads } = counted();
  const { accounts } = await someAccounts({ storage });
  reads.count = 0;
  for (let times = 0; times < 3; times++) {
    assert.equal(await accounts.exists(juliet), true);
    assert.equal(await accounts.exists(nurse.bare), false);
  }
  assert.equal(reads.count, 1); // the nurse, once: juliet is cached since her creation
  assert.equal(accounts.exists(juliet), true);
  assert.equal(accounts.exists(nurse.bare), false);
  await accounts.create(nurse, 'how now');
  assert.equal(accounts.exists(nurse.bare), true);
  await accounts.remove(nurse.bare);
  assert.equal(accounts.exists(nurse.bare), false);
  // A change by another process is seen after its notification.
  const other = await Accounts.open({ storage, iterations: 4096 });
  await other.create(nurse, 'how now, nurse');
  accounts.uncache(nurse.bare);
  assert.equal(await accounts.exists(nurse.bare), true);
});

test('the cache is bounded', async () => {
  const { storage, reads } = counted();
  const { accounts } = await someAccounts({ storage, cacheSize: 4 });
  for (let at = 0; at < 10; at++) await accounts.exists(`user${at}@capulet.example`);
  reads.count = 0;
  await accounts.exists(juliet);
  assert.equal(reads.count, 1);
});

test('the accounts of a host are listed in pages', async () => {
  const { accounts } = await someAccounts();
  for (const name of ['d', 'b', 'a', 'c']) await accounts.create(Jid.parse(`${name}@montague.example`), {});
  await accounts.disable('b@montague.example');
  const page = async (after?: string) => {
    const { accounts: found, next } = await accounts.list('montague.example', { after, limit: 3 });
    return { found: found.map(({ bare, disabled }) => `${bare.split('@')[0]}${disabled ? '-' : ''}`), next };
  };
  assert.deepEqual(await page(), { found: ['a', 'b-', 'c'], next: 'c@montague.example' });
  assert.deepEqual(await page('c@montague.example'), { found: ['d'], next: undefined });
  assert.deepEqual((await accounts.list('example', { limit: 10 })).accounts, []);
});

test('a removed account no longer exists; its name is free once all handlers are done', async () => {
  const seen: string[] = [];
  const { accounts } = await someAccounts({
    onEvent: async (event) => {
      seen.push(event.type);
      if (event.type !== 'accountDeleted') return;
      assert.equal(await accounts.exists(juliet), false);
      assert.equal(await accounts.verifyPassword(juliet, 'pencil'), undefined);
      assert.equal((await accounts.credentials(juliet, 'SHA-256')).account, undefined);
      assert.deepEqual((await accounts.list('capulet.example', { limit: 10 })).accounts, []);
      await assert.rejects(accounts.setPassword(juliet, 'brushes'), refused('not-found'));
    },
  });
  assert.equal(await accounts.remove(juliet), true);
  assert.equal(await accounts.remove(juliet), false);
  assert.deepEqual(seen, ['accountCreated', 'accountDeleted']);
  await accounts.create(Jid.parse(juliet), 'brushes');
  assert.ok(await accounts.verifyPassword(juliet, 'brushes'));
});

test('an interrupted removal is completed before the name is used again', async () => {
  const storage = new MemoryStorage();
  const reported: string[] = [];
  let broken = true;
  const onEvent = ({ type }: AccountEvent) => {
    reported.push(type);
    if (broken && type === 'accountDeleted') throw new Error('the disk is full');
  };
  const { accounts } = await someAccounts({ storage, onEvent });
  await assert.rejects(accounts.remove(juliet), /disk is full/);
  assert.equal(await accounts.exists(juliet), false);
  await assert.rejects(accounts.create(Jid.parse(juliet), 'brushes'), /disk is full/);
  broken = false;
  const restarted = await Accounts.open({ storage, iterations: 4096, onEvent });
  assert.equal(await restarted.exists(juliet), false);
  reported.length = 0;
  await restarted.create(Jid.parse(juliet), 'brushes2');
  assert.deepEqual(reported, ['accountDeleted', 'accountCreated']);
  assert.ok(await restarted.verifyPassword(juliet, 'brushes2'));
});

test('keys from another server are imported, also for a disabled account', async () => {
  const { accounts } = await someAccounts();
  await accounts.create(nurse, quickKeys('how now', ['SHA-1']), { disabled: true });
  const account = await accounts.verifyPassword(nurse.bare, 'how now');
  assert.deepEqual([account?.hashes, account?.disabled], [['SHA-1'], true]);
  assert.equal(await accounts.lacksKeys(nurse.bare, 'SHA-256'), true);
  assert.equal(await accounts.lacksKeys(nurse.bare, 'SHA-1'), false);
  assert.equal(await accounts.lacksKeys('nobody@capulet.example', 'SHA-1'), false);
});

test('keys with too few iterations are replaced on the next login with PLAIN', async () => {
  const { accounts } = await someAccounts({ iterations: 5000 });
  const account = (await accounts.verifyPassword(juliet, 'pencil'))!;
  assert.equal((await accounts.credentials(juliet, 'SHA-1')).iterations, 4096);
  await accounts.completeKeys(account, 'pencil');
  assert.equal((await accounts.credentials(juliet, 'SHA-1')).iterations, 5000);
  const after = (await accounts.verifyPassword(juliet, 'pencil'))!;
  assert.equal(after.epoch, account.epoch); // the same password: nothing ends
  await accounts.setPassword(juliet, 'brushes');
  await accounts.completeKeys(account, 'pencil'); // too late
  assert.equal(await accounts.verifyPassword(juliet, 'pencil'), undefined);
  assert.ok(await accounts.verifyPassword(juliet, 'brushes'));
});

test('only configured keys are created', async () => {
  const { accounts } = await someAccounts({ hashes: ['SHA-256'] });
  await accounts.create(nurse, 'how now');
  assert.deepEqual((await accounts.get(nurse.bare))?.hashes, ['SHA-256']);
});

test('logins are recorded at once and written later', async () => {
  const clock = { now: 1000 };
  const storage = new MemoryStorage();
  const { accounts } = await someAccounts({ storage, now: () => clock.now });
  assert.equal(await accounts.lastLogin(juliet), undefined);
  accounts.noteLogin(juliet);
  accounts.noteLogin(nurse.bare); // has no account
  clock.now = 2000;
  assert.equal(await accounts.lastLogin(juliet), 1000);
  const restarted = await Accounts.open({ storage });
  assert.equal(await restarted.lastLogin(juliet), undefined);
  await accounts.writeLogins();
  assert.equal(await restarted.lastLogin(juliet), 1000);
  assert.equal(await restarted.lastLogin(nurse.bare), undefined);
  await accounts.remove(juliet);
  assert.equal(await restarted.lastLogin(juliet), undefined);
});
