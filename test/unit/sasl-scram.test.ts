import assert from 'node:assert/strict';
import { test } from 'node:test';
import { digest, hmac, keysOf, type ScramHash, saltPassword } from '../../src/server/accounts/keys.js';
import { Jid } from '../../src/server/address/jid.js';
import { SaslError } from '../../src/server/stream/sasl/mechanism.js';
import { scram } from '../../src/server/stream/sasl/scram.js';
import { attributes, context, fails, quickKeys, runScram, someAccounts } from './sasl-client.js';

const scram256 = scram('SHA-256', { plus: false });
const scram256plus = scram('SHA-256', { plus: true });
const binding = Buffer.from('the very channel');
const bound = {
  channelBinding: (type: string) => (type === 'tls-exporter' ? binding : undefined),
  channelBindingTypes: ['tls-exporter', 'tls-server-end-point'],
  mechanisms: ['SCRAM-SHA-256-PLUS', 'SCRAM-SHA-256'],
};

for (const [rfc, hash, clientFirst, serverFirst, withoutProof, proof, verifier] of [
  [
    'RFC 5802 §5',
    'SHA-1',
    'n=user,r=fyko+d2lbbFgONRv9qkxdawL',
    'r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096',
    'c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j',
    'v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=',
    'rmF9pqV8S7suAoZWja4dJRkFsKQ=',
  ],
  [
    'RFC 7677 §3',
    'SHA-256',
    'n=user,r=rOprNGfwEbeRWgbNEkqO',
    'r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096',
    'c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0',
    'dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=',
    '6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=',
  ],
] as const) {
  test(`${rfc}: the example's proof and verifier match the keys`, async () => {
    const { s = '', i } = attributes(Buffer.from(serverFirst));
    const salt = Buffer.from(s, 'base64');
    const keys = keysOf(hash, await saltPassword(hash, 'pencil', salt, Number(i)), salt, Number(i));
    const authMessage = `${clientFirst},${serverFirst},${withoutProof}`;
    const signature = hmac(hash, keys.storedKey, authMessage);
    const clientKey = Buffer.from(proof, 'base64').map((byte, at) => byte ^ signature[at]!);
    assert.deepEqual(digest(hash, Buffer.from(clientKey)), keys.storedKey);
    assert.equal(hmac(hash, keys.serverKey, authMessage).toString('base64'), verifier);
  });
}

for (const hash of ['SHA-1', 'SHA-256', 'SHA-512'] as const satisfies ScramHash[]) {
  test(`SCRAM-${hash} authenticates`, async () => {
    const { accounts } = await someAccounts();
    const identity = await runScram(scram(hash, { plus: false }), context(accounts), { hash });
    assert.equal(identity.jid.full, 'juliet@capulet.example');
    assert.equal(identity.local, 'juliet');
    assert.equal(identity.mechanism, `SCRAM-${hash}`);
    assert.equal(identity.channelBound, false);
    assert.equal(identity.anonymous, false);
    assert.ok(await accounts.isCurrent(identity));
  });

  test(`SCRAM-${hash}-PLUS uses channel binding`, async () => {
    const { accounts } = await someAccounts();
    const identity = await runScram(scram(hash, { plus: true }), context(accounts, bound), {
      hash,
      header: 'p=tls-exporter,,',
      binding,
    });
    assert.equal(identity.mechanism, `SCRAM-${hash}-PLUS`);
    assert.equal(identity.channelBound, true);
  });
}

test('names are unescaped, normalised, and may be the bare address', async () => {
  const { accounts } = await someAccounts();
  await accounts.create(Jid.parse('a=b,c@capulet.example'), quickKeys('pencil'));
  for (const [name, expected] of [
    ['JULIET', 'juliet'],
    ['juliet@capulet.example', 'juliet'],
    ['a=3Db=2Cc', 'a=b,c'],
  ] as const) {
    const identity = await runScram(scram256, context(accounts), { name });
    assert.equal(identity.local, expected);
  }
});

test('requests a missing initial response with an empty challenge (RFC 4422 §5)', async () => {
  const { accounts } = await someAccounts();
  const exchange = scram256.start(context(accounts));
  assert.deepEqual(await exchange.step(undefined), { challenge: Buffer.alloc(0) });
  const { challenge } = await exchange.step(Buffer.from('n,,n=juliet,r=abc'));
  assert.match(String(challenge), /^r=abc/);
});

test('an authorization identity has to be the account itself', async () => {
  const { accounts } = await someAccounts();
  await accounts.create(Jid.parse('romeo@capulet.example'), quickKeys('pencil'));
  const identity = await runScram(scram256, context(accounts), { header: 'n,a=Juliet@Capulet.example,' });
  assert.equal(identity.local, 'juliet');
  for (const other of ['romeo@capulet.example', 'juliet@capulet.example/balcony', 'juliet', 'capulet.example', '@']) {
    await fails('invalid-authzid', () => runScram(scram256, context(accounts), { header: `n,a=${other},` }));
  }
  // XEP-0388 §4.4: nor anybody but whom the stream header named
  await fails('invalid-authzid', () =>
    runScram(scram256, context(accounts, { from: Jid.parse('romeo@capulet.example') }), {
      header: 'n,a=juliet@capulet.example,',
    }),
  );
});

test('malformed first messages', async () => {
  const { accounts } = await someAccounts();
  for (const message of [
    '',
    'n',
    'n,',
    'n,,',
    'x,,n=juliet,r=abc',
    'n,a=,n=juliet,r=abc',
    'n,juliet,n=juliet,r=abc',
    'n,a=x=y,n=juliet,r=abc',
    ',,n=juliet,r=abc',
    'N,,n=juliet,r=abc',
    'p=,,n=juliet,r=abc',
    'p=tls unique,,n=juliet,r=abc',
    'n,,r=abc,n=juliet',
    'n,,n=juliet',
    'n,,n=juliet,',
    'n,,n=juliet,r=',
    'n,,n=juliet,r=a b',
    'n,,n=juliet,r=ab\x7f',
    'n,,n=juliet,r=abé',
    'n,,n=,r=abc',
    'n,,n=jul=iet,r=abc',
    'n,,n=juliet=2c,r=abc',
    'n,,n=juliet=3,r=abc',
    'n,,n=juli\0et,r=abc',
    'n,,m=ext,n=juliet,r=abc',
    'n,,n=juliet,r=abc,m=ext',
    'n,,n=juliet,r=abc,x',
    'n,,n=juliet,r=abc,1=x',
    'n,,n=juliet,r=abc,x=',
    'n,,n=juliet,r=abc,',
    Buffer.from([0x6e, 0x2c, 0x2c, 0x6e, 0x3d, 0xc3, 0x28, 0x2c, 0x72, 0x3d, 0x61]),
    `n,,n=juliet,r=${'a'.repeat(9000)}`,
    // channel binding that the mechanism does not have
    'p=tls-exporter,,n=juliet,r=abc',
  ]) {
    await fails('malformed-request', () => scram256.start(context(accounts)).step(Buffer.from(message)));
  }
});

test('optional extensions are ignored', async () => {
  const { accounts } = await someAccounts();
  const exchange = scram256.start(context(accounts));
  const { challenge } = await exchange.step(Buffer.from('n,,n=juliet,r=abc,x=1=2,y=z'));
  assert.match(String(challenge), /^r=abc/);
});

test('invalid account names are not authorized', async () => {
  const { accounts } = await someAccounts();
  for (const name of ['a b', 'juliet@montague.example', 'juliet@capulet.example/balcony', '@', 'a"b', '\ufeffjuliet']) {
    await fails('not-authorized', () => runScram(scram256, context(accounts), { name }));
  }
});

test('the flags y, n and p (RFC 5802 §6)', async () => {
  const { accounts } = await someAccounts();
  // y: the client can bind and thinks that we cannot. True where no -PLUS was offered, a downgrade where one was.
  const identity = await runScram(scram256, context(accounts), { header: 'y,,' });
  assert.equal(identity.channelBound, false);
  await fails('not-authorized', () => runScram(scram256, context(accounts, bound), { header: 'y,,' }));
  // n: the client cannot bind; also where we can.
  assert.ok(await runScram(scram256, context(accounts, bound), { header: 'n,,' }));
  // A -PLUS mechanism without channel binding is invalid.
  for (const header of ['y,,', 'n,,']) {
    await fails('malformed-request', () => runScram(scram256plus, context(accounts, bound), { header }));
  }
  // Types that were not offered, or cannot be had.
  for (const header of ['p=tls-unique,,', 'p=tls-server-end-point,,', 'p=toString,,']) {
    await fails('not-authorized', () => runScram(scram256plus, context(accounts, bound), { header, binding }));
  }
});

test('a nonce of another exchange fails, even with a valid proof', async () => {
  const { accounts } = await someAccounts();
  for (const nonce of [() => 'fyko+d2lbbFgONRv9qkxdawL', (r: string) => `${r}x`, (r: string) => r.slice(1)]) {
    await fails('not-authorized', () => runScram(scram256, context(accounts), { nonce }));
  }
});

test('a channel binding that is not offered is refused, even if it is available', async () => {
  const { accounts } = await someAccounts();
  const on = context(accounts, { ...bound, channelBinding: () => binding });
  for (const header of ['p=tls-unique,,', 'p=tls-server-end-points,,']) {
    await fails('not-authorized', () => runScram(scram256plus, on, { header, binding }));
  }
});

test('accounts of another host do not exist', async () => {
  const { accounts } = await someAccounts();
  await accounts.create(Jid.parse('romeo@montague.example'), quickKeys('pencil'));
  await fails('not-authorized', () => runScram(scram256, context(accounts), { name: 'romeo@montague.example' }));
});

test('a binding of another channel fails', async () => {
  const { accounts } = await someAccounts();
  for (const other of [Buffer.from('another channel'), Buffer.alloc(0), Buffer.concat([binding, binding])]) {
    await fails('not-authorized', () =>
      runScram(scram256plus, context(accounts, bound), { header: 'p=tls-exporter,,', binding: other }),
    );
  }
});

test('a final message changed at any position fails', async () => {
  const { accounts } = await someAccounts();
  let length = 0;
  await runScram(scram256, context(accounts), {
    final: (message) => {
      length = message.length;
      return message;
    },
  });
  for (let at = 0; at < length; at++) {
    await assert.rejects(
      runScram(scram256, context(accounts), {
        final: (message) => {
          const changed = message[at] === 'A' ? 'B' : 'A';
          return message.slice(0, at) + changed + message.slice(at + 1);
        },
      }),
      SaslError,
    );
  }
});

test('final messages: binding and nonce are compared as a whole, and the grammar is checked', async () => {
  const { accounts } = await someAccounts();
  const attempt = (final: (message: string) => string) => () => runScram(scram256, context(accounts), { final });
  await fails(
    'not-authorized',
    attempt((m) => m.replace('c=biws', 'c=eSws')),
  ); // n,, became y,,
  await fails(
    'not-authorized',
    attempt((m) => m.replace('c=biws', 'c=biwsAA==')),
  );
  await fails(
    'not-authorized',
    attempt((m) => m.replace('c=biws', 'c=biw')),
  );
  await fails(
    'not-authorized',
    attempt((m) => m.replace('c=biws', 'c=')),
  );
  await fails(
    'not-authorized',
    attempt((m) => m.replace(/r=[^,]*/, 'r=fyko+d2lbbFgONRv9qkxdawL')),
  );
  await fails(
    'not-authorized',
    attempt((m) => m.replace(/r=([^,]*)/, 'r=$1x')),
  );
  await fails(
    'not-authorized',
    attempt((m) => m.replace(/r=([^,]*)/, 'r=')),
  );
  await fails(
    'not-authorized',
    attempt((m) => m.replace(/p=.*/, 'p=')),
  );
  await fails(
    'not-authorized',
    attempt((m) => m.replace(/p=.*/, 'p=AAAA')),
  );
  await fails(
    'not-authorized',
    attempt((m) => m.replace(/,p=/, ',x=y,p=')),
  ); // signed over
  await fails(
    'malformed-request',
    attempt((m) => m.replace(/,p=.*/, '')),
  );
  await fails(
    'malformed-request',
    attempt((m) => m.replace(/p=(.*)/, 'p= $1')),
  );
  await fails(
    'malformed-request',
    attempt((m) => m.replace(/p=(.*)=/, 'p=$1')),
  );
  await fails(
    'malformed-request',
    attempt((m) => `${m},x=y`),
  );
  await fails(
    'malformed-request',
    attempt((m) => m.replace(/,p=/, ',m=y,p=')),
  );
  await fails(
    'malformed-request',
    attempt((m) => m.replace(/^(c=[^,]*),(r=[^,]*)/, '$2,$1')),
  );
  await fails(
    'malformed-request',
    attempt(() => ''),
  );
  await fails(
    'malformed-request',
    attempt((m) => `${m}\0`),
  );
  await fails(
    'malformed-request',
    attempt((m) => m + 'A'.repeat(9000)),
  );
});

test('a wrong password, a missing account and missing keys look the same', async () => {
  const { accounts } = await someAccounts();
  await accounts.create(Jid.parse('imported@capulet.example'), quickKeys('pencil', ['SHA-1']));
  const shape = async (name: string) => {
    const exchange = scram256.start(context(accounts));
    const { challenge } = await exchange.step(Buffer.from(`n,,n=${name},r=abc`));
    const { r = '', s = '', i, h } = attributes(challenge!);
    assert.equal(Buffer.from(s, 'base64').length, 16);
    const text = await fails('not-authorized', () =>
      exchange.step(Buffer.from(`c=biws,r=${r},p=${Buffer.alloc(32, 7).toString('base64')}`)),
    );
    return { rest: { length: challenge!.length, nonce: r.length, i, h, text }, salt: s };
  };
  const real = await shape('juliet');
  const nobody = await shape('nobody');
  const imported = await shape('imported');
  assert.deepEqual(nobody.rest, real.rest);
  assert.deepEqual(imported.rest, real.rest);
  // The salt stays the same for a name and hash, in every spelling, and differs from name to name.
  assert.equal((await shape('NOBODY')).salt, nobody.salt);
  assert.notEqual((await shape('nobody2')).salt, nobody.salt);
  await fails('not-authorized', () => runScram(scram256, context(accounts), { password: 'pencils' }));
  await fails('not-authorized', () => runScram(scram256, context(accounts), { name: 'nobody' }));
});

test('salts of missing accounts are stable across restarts', async () => {
  const { MemoryStorage } = await import('../../src/storage/memory.js');
  const { Accounts } = await import('../../src/server/accounts/index.js');
  const storage = new MemoryStorage();
  const salt = async () =>
    (await (await Accounts.open({ storage })).credentials('nobody@capulet.example', 'SHA-256')).salt.toString('hex');
  assert.equal(await salt(), await salt());
});

test('a disabled account is reported only after a valid proof', async () => {
  const { accounts } = await someAccounts();
  await accounts.disable('juliet@capulet.example');
  await fails('account-disabled', () => runScram(scram256, context(accounts)));
  await fails('not-authorized', () => runScram(scram256, context(accounts), { password: 'wrong' }));
});

test('a changed password, or a deleted account, between the messages fails the exchange', async () => {
  for (const change of ['password', 'account'] as const) {
    const { accounts } = await someAccounts();
    const on = context(accounts);
    let exchange = scram256.start(on);
    await fails('not-authorized', () =>
      runScram(
        {
          name: 'SCRAM-SHA-256',
          start: () => ({
            step: async (message) => {
              if (String(message).startsWith('n,,')) return exchange.step(message);
              if (change === 'account') await accounts.remove('juliet@capulet.example');
              else await accounts.setPassword('juliet@capulet.example', 'brushes');
              const second = exchange;
              exchange = scram256.start(on);
              return second.step(message);
            },
          }),
        },
        on,
      ),
    );
  }
});

test("XEP-0474 §6.3: the example's offer has the example's hash", async () => {
  const { accounts } = await someAccounts();
  const h = async (mechanisms: string[], channelBindingTypes: string[]) => {
    const exchange = scram('SHA-1', { plus: false }).start(context(accounts, { mechanisms, channelBindingTypes }));
    return attributes((await exchange.step(Buffer.from('n,,n=user,r=abc'))).challenge!).h;
  };
  const example = 'G6k/rBLDqgOhRRaCuuatSDFkJ08=';
  const mechanisms = ['SCRAM-SHA-1-PLUS', 'SCRAM-SHA-1'];
  assert.equal(await h(mechanisms, ['tls-server-end-point', 'tls-exporter']), example);
  assert.equal(await h(mechanisms.toReversed(), ['tls-exporter', 'tls-server-end-point']), example);
  assert.equal(await h(mechanisms, []), digest('SHA-1', 'SCRAM-SHA-1\x1eSCRAM-SHA-1-PLUS').toString('base64'));
});

test('a locked account is refused before any key is read', async () => {
  const { accounts } = await someAccounts();
  const asked: string[] = [];
  const on = context(accounts, {
    admit: (bare) => {
      asked.push(bare);
      throw new SaslError('temporary-auth-failure');
    },
  });
  await fails('temporary-auth-failure', () => runScram(scram256, on, { name: 'Juliet' }));
  assert.deepEqual(asked, ['juliet@capulet.example']);
});
