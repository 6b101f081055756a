import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Jid } from '../../src/server/address/jid.js';
import { anonymous } from '../../src/server/stream/sasl/anonymous.js';
import { authenticateServer, external } from '../../src/server/stream/sasl/external.js';
import { context, fails, quickKeys, runOnce, someAccounts } from './sasl-client.js';

const certificate = (...xmppAddresses: string[]) => ({ clientCertificate: { trusted: true, xmppAddresses } });

test('XEP-0178 §2: a certificate with one address authenticates that account', async () => {
  const { accounts } = await someAccounts();
  const on = context(accounts, certificate('Juliet@capulet.example', 'juliet@elsewhere.example', 'capulet.example'));
  for (const message of ['', 'juliet@capulet.example', 'JULIET@capulet.example']) {
    const { identity } = await runOnce(external, on, message);
    assert.equal(identity.jid.full, 'juliet@capulet.example');
    assert.equal(identity.mechanism, 'EXTERNAL');
    assert.ok(await accounts.isCurrent(identity));
  }
  assert.deepEqual(await external.start(on).step(undefined), { challenge: Buffer.alloc(0) });
});

test('XEP-0178 §2: with several addresses the client has to choose', async () => {
  const { accounts } = await someAccounts();
  await accounts.create(Jid.parse('nurse@capulet.example'), quickKeys('pencil'));
  const on = context(accounts, certificate('juliet@capulet.example', 'nurse@capulet.example'));
  await fails('invalid-authzid', () => runOnce(external, on, ''));
  assert.equal((await runOnce(external, on, 'nurse@capulet.example')).identity.local, 'nurse');
});

test('only addresses in the certificate, of this host, with an account', async () => {
  const { accounts } = await someAccounts();
  await accounts.create(Jid.parse('romeo@capulet.example'), quickKeys('dagger'));
  const juliet = context(accounts, certificate('juliet@capulet.example'));
  for (const authzid of [
    'romeo@capulet.example',
    'juliet',
    'juliet@capulet.example/x',
    'juliet@elsewhere.example',
    '@',
  ]) {
    await fails('invalid-authzid', () => runOnce(external, juliet, authzid));
  }
  for (const addresses of [
    [],
    ['juliet@elsewhere.example'],
    ['capulet.example'],
    ['juliet@capulet.example/x'],
    ['nobody@capulet.example'],
  ]) {
    await fails('not-authorized', () => runOnce(external, context(accounts, certificate(...addresses)), ''));
  }
  await fails('not-authorized', () => runOnce(external, context(accounts), ''));
  const untrusted = { clientCertificate: { trusted: false, xmppAddresses: ['juliet@capulet.example'] } };
  await fails('not-authorized', () => runOnce(external, context(accounts, untrusted), ''));
  for (const message of [Buffer.from([0xff]), 'juliet\0', 'x'.repeat(4000)]) {
    await fails('malformed-request', () => runOnce(external, juliet, message));
  }
  await accounts.disable('juliet@capulet.example');
  await fails('account-disabled', () => runOnce(external, juliet, ''));
});

test('XEP-0178 §3: a server authenticates as the domain of its stream header', async () => {
  const peer = { from: Jid.parse('montague.example'), certifies: (domain: string) => domain === 'montague.example' };
  assert.equal(authenticateServer(Buffer.alloc(0), peer).full, 'montague.example');
  assert.equal(authenticateServer(Buffer.from('Montague.example'), peer).full, 'montague.example');
  await fails('invalid-authzid', () => authenticateServer(Buffer.from('capulet.example'), peer));
  await fails('invalid-authzid', () => authenticateServer(Buffer.from('romeo@montague.example'), peer));
  await fails('not-authorized', () =>
    authenticateServer(Buffer.alloc(0), { ...peer, from: Jid.parse('capulet.example') }),
  );
  await fails('not-authorized', () =>
    authenticateServer(Buffer.alloc(0), { ...peer, from: Jid.parse('romeo@montague.example') }),
  );
  await fails('malformed-request', () => authenticateServer(Buffer.from([0xc3]), peer));
});

test('XEP-0175: an anonymous user gets a new address', async () => {
  const { accounts } = await someAccounts();
  const first = await runOnce(anonymous, context(accounts), undefined);
  const second = await runOnce(anonymous, context(accounts), 'sirhc');
  for (const { identity } of [first, second]) {
    assert.match(identity.local, /^[0-9a-f-]{36}$/);
    assert.equal(identity.jid.full, `${identity.local}@capulet.example`);
    assert.equal(identity.anonymous, true);
    assert.equal(identity.byPassword, false);
    assert.equal(await accounts.isCurrent(identity), true);
    assert.equal(await accounts.exists(identity.jid.bare), false);
  }
  assert.notEqual(first.identity.local, second.identity.local);
  for (const trace of ['x'.repeat(256), Buffer.from([0xff])]) {
    await fails('malformed-request', () => runOnce(anonymous, context(accounts), trace));
  }
});
