import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Jid } from '../../src/server/address/jid.js';
import type { Identity } from '../../src/server/stream/sasl/mechanism.js';
import { defaultPolicy, mechanismNames, offer, offered, offeredFast } from '../../src/server/stream/sasl/offer.js';
import { plain } from '../../src/server/stream/sasl/plain.js';
import { scram } from '../../src/server/stream/sasl/scram.js';
import { dueUpgrades } from '../../src/server/stream/sasl/upgrade.js';
import { context, fails, quickKeys, runOnce, runScram, salted, someAccounts } from './sasl-client.js';

const stream = {
  host: 'capulet.example',
  secure: true,
  channelBindingTypes: ['tls-exporter', 'tls-server-end-point'],
  hashes: ['SHA-512', 'SHA-256', 'SHA-1'],
} as const;
const everything = { ...defaultPolicy, mechanisms: mechanismNames };

test('strongest first; PLAIN and ANONYMOUS only if enabled', () => {
  assert.deepEqual(offer(defaultPolicy, stream), {
    mechanisms: [
      'SCRAM-SHA-512-PLUS',
      'SCRAM-SHA-256-PLUS',
      'SCRAM-SHA-1-PLUS',
      'SCRAM-SHA-512',
      'SCRAM-SHA-256',
      'SCRAM-SHA-1',
    ],
    channelBindingTypes: ['tls-exporter', 'tls-server-end-point'],
    fast: ['HT-SHA-256-EXPR', 'HT-SHA-256-ENDP', 'HT-SHA-256-NONE'],
    upgrades: ['UPGR-SCRAM-SHA-512', 'UPGR-SCRAM-SHA-256', 'UPGR-SCRAM-SHA-1'],
  });
  assert.deepEqual(offer(everything, stream).mechanisms.slice(-2), ['PLAIN', 'ANONYMOUS']);
});

test('the configuration decides the order', () => {
  const mechanisms = ['PLAIN', 'SCRAM-SHA-1', 'SCRAM-SHA-1-PLUS'] as const;
  assert.deepEqual(offer({ ...defaultPolicy, mechanisms }, stream).mechanisms, mechanisms);
});

test('-PLUS and bound tokens only with channel binding', () => {
  const unbound = offer(defaultPolicy, { ...stream, channelBindingTypes: [] });
  assert.deepEqual(unbound.mechanisms, ['SCRAM-SHA-512', 'SCRAM-SHA-256', 'SCRAM-SHA-1']);
  assert.deepEqual(unbound.channelBindingTypes, []);
  assert.deepEqual(unbound.fast, ['HT-SHA-256-NONE']);
  const endPoint = offer(defaultPolicy, { ...stream, channelBindingTypes: ['tls-server-end-point'] });
  assert.deepEqual(endPoint.channelBindingTypes, ['tls-server-end-point']);
  assert.deepEqual(endPoint.fast, ['HT-SHA-256-ENDP', 'HT-SHA-256-NONE']);
});

test('XEP-0440 §3: binding types only with a -PLUS mechanism', () => {
  const mechanisms = ['SCRAM-SHA-1', 'EXTERNAL'] as const;
  assert.deepEqual(offer({ ...defaultPolicy, mechanisms }, stream).channelBindingTypes, []);
});

test('SCRAM only for hashes with stored keys', () => {
  const { mechanisms, upgrades } = offer(defaultPolicy, { ...stream, hashes: ['SHA-1'] });
  assert.deepEqual(mechanisms, ['SCRAM-SHA-1-PLUS', 'SCRAM-SHA-1']);
  assert.deepEqual(upgrades, ['UPGR-SCRAM-SHA-1']);
});

test('EXTERNAL only with a certificate for an account of the host', () => {
  const has = (trusted: boolean, ...xmppAddresses: string[]) =>
    offer(defaultPolicy, { ...stream, clientCertificate: { trusted, xmppAddresses } }).mechanisms.includes('EXTERNAL');
  assert.equal(has(true, 'juliet@capulet.example'), true);
  assert.equal(has(false, 'juliet@capulet.example'), false);
  assert.equal(has(true, 'juliet@elsewhere.example'), false);
  assert.equal(has(true), false);
});

test('without encryption neither PLAIN nor tokens, unless PLAIN is allowed', () => {
  const open = { ...stream, secure: false, channelBindingTypes: [] };
  assert.ok(!offer(everything, open).mechanisms.includes('PLAIN'));
  assert.deepEqual(offer(everything, open).fast, []);
  assert.ok(offer({ ...everything, plainWithoutTls: true }, open).mechanisms.includes('PLAIN'));
});

test('only offered mechanisms can be used (RFC 6120 §6.5.7)', async () => {
  const offer1 = offer(defaultPolicy, stream);
  assert.equal(offered(offer1, 'SCRAM-SHA-256', defaultPolicy)?.name, 'SCRAM-SHA-256');
  for (const name of ['PLAIN', 'ANONYMOUS', 'EXTERNAL', 'scram-sha-1', 'HT-SHA-256-NONE', 'toString', '']) {
    assert.equal(offered(offer1, name, defaultPolicy), undefined);
  }
  assert.equal(offeredFast(offer1, 'HT-SHA-256-NONE')?.name, 'HT-SHA-256-NONE');
  assert.equal(offeredFast(offer1, 'SCRAM-SHA-1'), undefined);
  assert.equal(offeredFast({ fast: ['HT-SHA-256-NONE'] }, 'HT-SHA-256-EXPR'), undefined);
  const { accounts } = await someAccounts();
  const open = context(accounts, { secure: false });
  const lax = { ...everything, plainWithoutTls: true };
  const insecure = offered(offer(lax, { ...stream, secure: false }), 'PLAIN', lax)!;
  assert.equal((await runOnce(insecure, open, '\0juliet\0pencil')).identity.local, 'juliet');
  await fails('encryption-required', () => runOnce(offered(offer(everything, stream), 'PLAIN', everything)!, open, ''));
});

const bare = 'imported@capulet.example';
const tasks = ['UPGR-SCRAM-SHA-256', 'UPGR-SCRAM-SHA-512', 'UPGR-NONSENSE'];
async function imported() {
  const { accounts } = await someAccounts();
  await accounts.create(Jid.parse(bare), quickKeys('pencil', ['SHA-1']));
  const scram1 = scram('SHA-1', { plus: false });
  const identity = await runScram(scram1, context(accounts), { hash: 'SHA-1', name: 'imported' });
  return { accounts, identity };
}

test('XEP-0480: a client provides missing keys of its account, and logs in with them', async () => {
  const { accounts, identity } = await imported();
  const due = await dueUpgrades(identity, tasks, accounts);
  assert.deepEqual(
    due.map(({ task }) => task),
    ['UPGR-SCRAM-SHA-512', 'UPGR-SCRAM-SHA-256'],
  );
  const { salt, iterations, finish } = due[1]!;
  assert.ok(salt.length >= 16 && iterations >= 4096);
  await finish(salted('SHA-256', 'pencil', salt, iterations));
  await runScram(scram('SHA-256', { plus: false }), context(accounts), { name: 'imported' });
  assert.deepEqual(
    (await dueUpgrades(identity, tasks, accounts)).map(({ task }) => task),
    ['UPGR-SCRAM-SHA-512'],
  );
  assert.deepEqual(await dueUpgrades(identity, [], accounts), []);
});

test('XEP-0480: no task for an account with all keys', async () => {
  const { accounts } = await someAccounts();
  const { identity } = await runOnce(plain(), context(accounts), '\0juliet\0pencil');
  assert.deepEqual(await dueUpgrades(identity, tasks, accounts), []);
});

test('XEP-0480: a hash of the wrong length, or for an old password, is refused', async () => {
  const { accounts, identity } = await imported();
  const [sha512] = await dueUpgrades(identity, tasks, accounts);
  await fails('malformed-request', () => sha512!.finish(Buffer.alloc(32)));
  await fails('malformed-request', () => sha512!.finish(Buffer.alloc(0)));
  await accounts.setPassword(bare, 'brushes');
  const before = await accounts.credentials(bare, 'SHA-512');
  await fails('credentials-expired', () => sha512!.finish(Buffer.alloc(64)));
  assert.deepEqual(await accounts.credentials(bare, 'SHA-512'), before);
});

test('XEP-0480: a task cannot change the password', async () => {
  const { accounts, identity } = await imported();
  const byToken: Identity = { ...identity, mechanism: 'HT-SHA-256-NONE', byPassword: false };
  assert.deepEqual(await dueUpgrades(byToken, tasks, accounts), []);
});
