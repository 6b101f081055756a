import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SaslError } from '../../src/server/stream/sasl/mechanism.js';
import { defaultPolicy, mechanismNames, offered, offeredFast } from '../../src/server/stream/sasl/offer.js';
import { context, someAccounts } from './sasl-client.js';

/** Numbers below `limit`, the same ones on every run. */
function seeded(seed: number) {
  let state = seed;
  return (limit: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
}

const fast = ['HT-SHA-256-EXPR', 'HT-SHA-256-NONE'] as const;
const seeds = [
  'n,,n=juliet,r=abc',
  'p=tls-exporter,a=juliet@capulet.example,n=juliet,r=abc,x=y',
  'c=biws,r=abc,p=AAAA',
  '\0juliet\0pencil',
  'juliet@capulet.example',
  `juliet\0${'x'.repeat(32)}`,
];

test('for any input, a mechanism sends a challenge or a SASL failure', async () => {
  const { accounts } = await someAccounts();
  const random = seeded(5802);
  const on = context(accounts, {
    mechanisms: mechanismNames,
    channelBindingTypes: ['tls-exporter'],
    channelBinding: () => Buffer.from('data'),
    clientCertificate: { trusted: true, xmppAddresses: ['juliet@capulet.example'] },
    fast: { clientId: 'fuzz' },
  });
  const mutated = (): Buffer => {
    const bytes = [...Buffer.from(seeds[random(seeds.length)]!)];
    for (let changes = random(4); changes > 0; changes--) {
      const at = random(bytes.length + 1);
      if (random(2) === 0) bytes.splice(at, random(3));
      else bytes.splice(at, random(2), random(4) === 0 ? random(256) : ',=\0@/anyp'.charCodeAt(random(9)));
    }
    return Buffer.from(bytes);
  };
  const mechanisms = [
    // PLAIN costs milliseconds for each password: sasl-plain.test.ts has its messages.
    ...mechanismNames
      .filter((name) => name !== 'PLAIN')
      .map((name) => offered({ mechanisms: mechanismNames }, name, defaultPolicy)),
    ...fast.map((name) => offeredFast({ fast }, name)),
  ];
  for (let round = 0; round < 4000; round++) {
    const mechanism = mechanisms[random(mechanisms.length)]!;
    const exchange = mechanism.start(on);
    try {
      const step = await exchange.step(random(10) === 0 ? undefined : mutated());
      if (step.success === undefined) await exchange.step(mutated());
      // Without a secret there is only the certificate's account, and an address of one's own.
      else assert.ok(mechanism.name === 'EXTERNAL' || step.success.anonymous);
    } catch (error) {
      assert.ok(error instanceof SaslError, `${mechanism.name}: ${error}`);
    }
  }
});
