import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Jid } from '../../src/server/address/jid.js';
import { SaslError } from '../../src/server/stream/sasl/mechanism.js';
import { plain } from '../../src/server/stream/sasl/plain.js';
import { context, fails, quickKeys, runOnce, someAccounts } from './sasl-client.js';

const mechanism = plain();

test('authenticates with name and password', async () => {
  const { accounts } = await someAccounts();
  for (const message of [
    '\0juliet\0pencil',
    '\0JULIET\0pencil',
    '\0juliet@capulet.example\0pencil',
    'juliet@capulet.example\0juliet\0pencil',
  ]) {
    const { identity, data } = await runOnce(mechanism, context(accounts), message);
    assert.equal(identity.jid.full, 'juliet@capulet.example');
    assert.equal(identity.local, 'juliet');
    assert.equal(identity.mechanism, 'PLAIN');
    assert.equal(identity.byPassword, true);
    assert.equal(data, undefined);
  }
});

test('requests a missing initial response', async () => {
  const { accounts } = await someAccounts();
  const exchange = mechanism.start(context(accounts));
  assert.deepEqual(await exchange.step(undefined), { challenge: Buffer.alloc(0) });
  assert.ok((await exchange.step(Buffer.from('\0juliet\0pencil'))).success);
});

test('a wrong password and a missing account get the same answer', async () => {
  const { accounts } = await someAccounts();
  await accounts.create(Jid.parse('keyless@capulet.example'), {});
  const texts = new Set<string | undefined>();
  for (const message of ['\0juliet\0Pencil', '\0nobody\0pencil', '\0keyless\0pencil', '\0juliet\0pencil\u0007']) {
    texts.add(await fails('not-authorized', () => runOnce(mechanism, context(accounts), message)));
  }
  assert.equal(texts.size, 1);
});

test('malformed messages', async () => {
  const { accounts } = await someAccounts();
  for (const message of [
    '',
    'juliet',
    'juliet\0pencil',
    '\0juliet\0',
    '\0\0pencil',
    '\0juliet\0pencil\0',
    '\0juliet\0pen\0cil',
    '\0\0\0',
    `\0juliet\0${'x'.repeat(10_000)}`,
    Buffer.from('\0juliet\0penc\xefl', 'latin1'),
  ]) {
    await fails('malformed-request', () => runOnce(mechanism, context(accounts), message));
  }
});

test('nobody can authenticate as another', async () => {
  const { accounts } = await someAccounts();
  await accounts.create(Jid.parse('romeo@capulet.example'), quickKeys('dagger'), { role: 'admin' });
  for (const authzid of ['romeo@capulet.example', 'romeo', 'juliet', 'juliet@capulet.example/balcony', 'a b']) {
    await fails('invalid-authzid', () => runOnce(mechanism, context(accounts), `${authzid}\0juliet\0pencil`));
  }
});

test('not without encryption, unless allowed', async () => {
  const { accounts } = await someAccounts();
  const open = context(accounts, { secure: false });
  await fails('encryption-required', () => runOnce(mechanism, open, undefined));
  await fails('encryption-required', () => runOnce(mechanism, open, '\0juliet\0pencil'));
  const { identity } = await runOnce(plain({ insecure: true }), open, '\0juliet\0pencil');
  assert.equal(identity.local, 'juliet');
});

test('a disabled account is reported only for the right password', async () => {
  const { accounts } = await someAccounts();
  await accounts.disable('juliet@capulet.example');
  await fails('account-disabled', () => runOnce(mechanism, context(accounts), '\0juliet\0pencil'));
  await fails('not-authorized', () => runOnce(mechanism, context(accounts), '\0juliet\0pen'));
});

test('a password that changes during its check is invalid', async () => {
  const { accounts } = await someAccounts();
  await accounts.get('juliet@capulet.example');
  const attempt = fails('not-authorized', () => runOnce(mechanism, context(accounts), '\0juliet\0pencil'));
  await accounts.remove('juliet@capulet.example');
  await attempt;
});

test('an account imported with one hash gets the others with its password', async () => {
  const { accounts } = await someAccounts();
  const bare = 'imported@capulet.example';
  await accounts.create(Jid.parse(bare), quickKeys('pencil', ['SHA-1']));
  await runOnce(mechanism, context(accounts), '\0imported\0pencil');
  assert.deepEqual(new Set((await accounts.get(bare))?.hashes), new Set(['SHA-1', 'SHA-256', 'SHA-512']));
  assert.ok(await accounts.verifyPassword(bare, 'pencil'));
});

test('with too many concurrent checks the failure is temporary', async () => {
  const { accounts } = await someAccounts();
  const attempts = Array.from({ length: 150 }, () => accounts.verifyPassword('juliet@capulet.example', 'pencil'));
  const settled = Promise.allSettled(attempts);
  await fails('temporary-auth-failure', () => runOnce(mechanism, context(accounts), '\0juliet\0pencil'));
  const outcomes = new Set((await settled).map(({ status }) => status));
  assert.deepEqual(outcomes, new Set(['fulfilled', 'rejected']));
  assert.ok(await runOnce(mechanism, context(accounts), '\0juliet\0pencil'));
});

test('a locked account is refused before the password is checked', async () => {
  const { accounts } = await someAccounts();
  const on = context(accounts, {
    admit: (bare) => {
      assert.equal(bare, 'juliet@capulet.example');
      throw new SaslError('temporary-auth-failure');
    },
  });
  await fails('temporary-auth-failure', () => runOnce(mechanism, on, '\0juliet\0pencil'));
});
