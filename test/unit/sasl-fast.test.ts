import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import type { DeviceTokens } from '../../src/server/accounts/tokens.js';
import { Jid } from '../../src/server/address/jid.js';
import { type FastMechanism, fast } from '../../src/server/stream/sasl/fast.js';
import type { SaslContext } from '../../src/server/stream/sasl/mechanism.js';
import { MemoryStorage } from '../../src/storage/memory.js';
import { context, fails, quickKeys, runOnce, someAccounts } from './sasl-client.js';

const juliet = 'juliet@capulet.example';
const clientId = 'd4565fa7-4d72-4749-b3d3-740edbf87770';
const day = 86_400_000;
const exporter = Buffer.from('keying material of this connection');
const endPoint = Buffer.from('hash of the certificate');
const channelBinding: SaslContext['channelBinding'] = (type) => (type === 'tls-exporter' ? exporter : endPoint);
const data = { 'HT-SHA-256-NONE': '', 'HT-SHA-256-EXPR': exporter, 'HT-SHA-256-ENDP': endPoint } as const;

async function world() {
  const clock = { now: 1_000_000_000_000 };
  const storage = new MemoryStorage();
  const { accounts, events } = await someAccounts({ storage, now: () => clock.now, maxDevices: 3 });
  const issue = async (mechanism: FastMechanism = 'HT-SHA-256-NONE', id = clientId) => {
    const account = await accounts.get(juliet);
    return accounts.tokens.issue(juliet, { clientId: id, mechanism, epoch: account!.epoch, login: 'PLAIN' });
  };
  const login = (
    token: string,
    more: {
      mechanism?: FastMechanism;
      name?: string;
      fast?: Partial<SaslContext['fast']>;
      on?: Partial<SaslContext>;
    } = {},
  ) => {
    const { mechanism = 'HT-SHA-256-NONE', name = 'juliet' } = more;
    const hash = createHmac('sha256', token).update('Initiator').update(data[mechanism]).digest();
    const on = context(accounts, { channelBinding, fast: { clientId, ...more.fast }, ...more.on });
    return runOnce(fast(mechanism), on, Buffer.concat([Buffer.from(`${name}\0`), hash]));
  };
  return { accounts, events, clock, storage, issue, login };
}

for (const mechanism of ['HT-SHA-256-NONE', 'HT-SHA-256-EXPR', 'HT-SHA-256-ENDP'] as const) {
  test(`${mechanism}: a token authenticates both sides`, async () => {
    const { accounts, issue, login, clock } = await world();
    const { token, expires } = await issue(mechanism);
    assert.equal(expires, clock.now + 21 * day);
    assert.ok(Buffer.from(token, 'base64url').length >= 16);
    const { identity, data: answer } = await login(token, { mechanism });
    assert.equal(identity.jid.full, juliet);
    assert.equal(identity.mechanism, mechanism);
    assert.equal(identity.channelBound, mechanism !== 'HT-SHA-256-NONE');
    assert.equal(identity.byPassword, false);
    assert.equal(identity.tokenDue, undefined);
    assert.ok(await accounts.isCurrent(identity));
    assert.deepEqual(answer, createHmac('sha256', token).update('Responder').update(data[mechanism]).digest());
  });
}

test('§3.4: a token is bound to its mechanism, device and channel', async () => {
  const { issue, login } = await world();
  const { token } = await issue('HT-SHA-256-EXPR');
  await fails('not-authorized', () => login(token, { mechanism: 'HT-SHA-256-NONE' }));
  await fails('not-authorized', () => login(token, { mechanism: 'HT-SHA-256-ENDP' }));
  const on = { channelBinding: () => Buffer.from('another connection') };
  await fails('not-authorized', () => login(token, { mechanism: 'HT-SHA-256-EXPR', on }));
  await fails('not-authorized', () =>
    login(token, { mechanism: 'HT-SHA-256-EXPR', on: { channelBinding: () => undefined } }),
  );
  await fails('not-authorized', () => login(token, { mechanism: 'HT-SHA-256-EXPR', fast: { clientId: 'another' } }));
  assert.ok(await login(token, { mechanism: 'HT-SHA-256-EXPR' }));
});

test('wrong tokens, unknown names and devices without a token get the same answer', async () => {
  const { accounts, issue, login } = await world();
  await issue();
  await accounts.create(Jid.parse('romeo@capulet.example'), quickKeys('dagger'));
  for (const name of ['juliet', 'romeo', 'nobody', 'a b']) {
    assert.equal(await fails('not-authorized', () => login('not the token', { name })), undefined);
  }
});

test('malformed messages, and a request without a device', async () => {
  const { accounts, login } = await world();
  const on = context(accounts, { fast: { clientId } });
  for (const message of [
    '',
    'juliet',
    'juliet\0',
    'juliet\0short',
    `\0${'x'.repeat(32)}`,
    `juliet\0${'x'.repeat(33)}`,
    `${'x'.repeat(4000)}\0${'x'.repeat(32)}`,
    Buffer.concat([Buffer.from([0xff, 0]), Buffer.alloc(32)]),
  ]) {
    await fails('malformed-request', () => runOnce(fast('HT-SHA-256-NONE'), on, message));
  }
  await fails('malformed-request', () => login('x', { on: { fast: undefined } }));
  await fails('malformed-request', () => login('x', { fast: { clientId: '' } }));
  await fails('malformed-request', () => login('x', { fast: { clientId: 'x'.repeat(65) } }));
  await fails('encryption-required', () => login('x', { on: { secure: false } }));
  assert.deepEqual(await fast('HT-SHA-256-NONE').start(on).step(undefined), { challenge: Buffer.alloc(0) });
});

test('§3.5: the previous token is valid until the new one is used', async () => {
  const { clock, issue, login } = await world();
  const first = (await issue()).token;
  await login(first);
  clock.now += 2 * day;
  assert.equal((await login(first)).identity.tokenDue, 'HT-SHA-256-NONE');
  const lost = (await issue()).token; // never arrived
  await login(first);
  const second = (await issue()).token;
  await fails('credentials-expired', () => login(lost));
  await login(first);
  assert.equal((await login(second)).identity.tokenDue, undefined);
  await fails('credentials-expired', () => login(first));
  await login(second);
  await fails('not-authorized', () => login('not the token'));
});

test('§4.2: an expired token is reported to its holder', async () => {
  const { clock, issue, login } = await world();
  const { token, expires } = await issue();
  clock.now = expires - 1;
  await login(token);
  clock.now = expires;
  await fails('credentials-expired', () => login(token));
  await fails('not-authorized', () => login('not the token'));
});

test('§3.4: a count has to increase, and is optional', async () => {
  const { issue, login } = await world();
  const { token } = await issue();
  await login(token, { fast: { clientId, count: 5 } });
  await fails('not-authorized', () => login(token, { fast: { clientId, count: 5 } }));
  await fails('not-authorized', () => login(token, { fast: { clientId, count: 4 } }));
  await login(token, { fast: { clientId, count: 6 } });
  await login(token);
  await fails('not-authorized', () => login(token, { fast: { clientId, count: 6 } }));
  // Two at once: one of them.
  const twice = await Promise.allSettled([7, 7].map((count) => login(token, { fast: { clientId, count } })));
  assert.deepEqual(twice.map(({ status }) => status).sort(), ['fulfilled', 'rejected']);
});

test('§3.6: a token that is invalidated is valid once', async () => {
  const { accounts, clock, issue, login } = await world();
  const first = (await issue()).token;
  await login(first);
  clock.now += 2 * day;
  const second = (await issue()).token;
  const { identity } = await login(first, { fast: { clientId, invalidate: true } });
  assert.equal(identity.tokenDue, undefined);
  await fails('credentials-expired', () => login(first));
  await fails('credentials-expired', () => login(second));
  await fails('not-authorized', () => login('not the token'));
  assert.deepEqual(await accounts.tokens.devices(juliet), []);
});

test('tokens are revoked with the password, explicitly, and with the account', async () => {
  const { accounts, events, issue, login } = await world();
  const phone = (await issue('HT-SHA-256-NONE', 'phone')).token;
  const desk = (await issue('HT-SHA-256-NONE', 'desk')).token;
  const at = (clientId: string) => ({ fast: { clientId } });
  await accounts.revokeTokens(juliet, 'phone');
  assert.deepEqual(events.at(-1), { type: 'tokensRevoked', jid: Jid.parse(juliet), clientId: 'phone' });
  await fails('credentials-expired', () => login(phone, at('phone')));
  assert.deepEqual(
    (await accounts.tokens.devices(juliet)).map(({ clientId }) => clientId),
    ['desk'],
  );
  await login(desk, at('desk'));
  await accounts.disable(juliet);
  await fails('account-disabled', () => login(desk, at('desk')));
  await accounts.enable(juliet);
  await login(desk, at('desk'));
  await accounts.setPassword(juliet, 'brushes');
  assert.deepEqual(await accounts.tokens.devices(juliet), []);
  await fails('credentials-expired', () => login(desk, at('desk')));
  await fails('not-authorized', () => login('not the token', at('desk')));
  const again = (await issue('HT-SHA-256-NONE', 'desk')).token;
  await login(again, at('desk'));
  await accounts.revokeTokens(juliet);
  await fails('credentials-expired', () => login(again, at('desk')));
  await fails('credentials-expired', () => login(desk, at('desk')));
  const last = (await issue('HT-SHA-256-NONE', 'desk')).token;
  await accounts.remove(juliet);
  await accounts.create(Jid.parse(juliet), quickKeys('pencil'));
  await fails('not-authorized', () => login(last, at('desk')));
});

test('a token issued for a password that changes meanwhile is invalid', async () => {
  const { accounts, login } = await world();
  const { epoch } = (await accounts.get(juliet))!;
  await accounts.setPassword(juliet, 'brushes');
  const { token } = await accounts.tokens.issue(juliet, {
    clientId,
    mechanism: 'HT-SHA-256-NONE',
    epoch,
    login: 'PLAIN',
  });
  await fails('credentials-expired', () => login(token));
});

test('a password change during the check of a token fails the login', async () => {
  const { accounts, storage, issue, login } = await world();
  const { token } = await issue();
  const { epoch } = (await accounts.get(juliet))!;
  const store = storage.map('fast_tokens');
  const set = store.set.bind(store);
  let changed: Promise<void> | undefined;
  store.set = async (owner, entries) => {
    if (changed !== undefined) return set(owner, entries);
    changed = accounts.setPassword(juliet, 'brushes');
    while ((await accounts.get(juliet))?.epoch === epoch) await setImmediate();
    return set(owner, entries);
  };
  await fails('credentials-expired', () => login(token));
  await changed;
});

test('devices per account are limited: the one whose token expires first is evicted', async () => {
  const { accounts, clock, issue } = await world();
  for (const id of ['d', 'c', 'b', 'a']) {
    await issue('HT-SHA-256-NONE', id);
    clock.now += 1000;
  }
  assert.deepEqual(
    (await accounts.tokens.devices(juliet)).map(({ clientId }) => clientId),
    ['a', 'b', 'c'],
  );
  await issue('HT-SHA-256-NONE', 'b');
  assert.equal((await accounts.tokens.devices(juliet)).length, 3);
  clock.now += 30 * day;
  assert.deepEqual(await accounts.tokens.devices(juliet), []);
});

test('the stored record of an unbound token cannot be used to log in', async () => {
  const { storage, issue } = await world();
  const { token } = await issue('HT-SHA-256-NONE');
  const stored = await storage.map<DeviceTokens>('fast_tokens').get(juliet, clientId);
  const proof = createHmac('sha256', token).update('Initiator').digest();
  for (const encoding of ['hex', 'base64', 'latin1'] as const) {
    assert.ok(!JSON.stringify(stored).includes(proof.toString(encoding)));
  }
  assert.ok(!JSON.stringify(stored).includes(token));
});

test('a device is listed with its own description, its first and its latest use', async () => {
  const { accounts, clock, login } = await world();
  const { epoch } = (await accounts.get(juliet))!;
  const mechanism = 'HT-SHA-256-NONE';
  const since = clock.now;
  const agent = { software: 'Gajim', device: "Juliet's phone" };
  await accounts.tokens.issue(juliet, { clientId, mechanism, epoch, login: 'SCRAM-SHA-256', agent });
  clock.now += day;
  const { token } = await accounts.tokens.issue(juliet, { clientId, mechanism, epoch, login: mechanism });
  const listed = {
    clientId,
    ...agent,
    login: 'SCRAM-SHA-256',
    since,
    issued: clock.now,
    expires: clock.now + 21 * day,
  };
  assert.deepEqual(await accounts.tokens.devices(juliet), [{ ...listed, seen: clock.now }]);
  const used = (clock.now += day);
  await login(token);
  clock.now += 3_599_999;
  await login(token);
  assert.deepEqual(await accounts.tokens.devices(juliet), [{ ...listed, seen: used }]);
  clock.now += 1;
  await login(token);
  assert.deepEqual(await accounts.tokens.devices(juliet), [{ ...listed, seen: clock.now }]);
});
