/**
 * RFC 6120 §6 with RFC 4616 (PLAIN), RFC 5802 and 7677 (SCRAM), RFC 4505 and XEP-0175 (ANONYMOUS), XEP-0178 (EXTERNAL),
 * XEP-0440 (channel bindings) and XEP-0474 (downgrade protection).
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { Jid } from '../../src/server/address/jid.js';
import { NS } from '../../src/server/stanza/ns.js';
import { makeSelfSigned } from '../../src/server/tls/self-signed.js';
import type { Storage } from '../../src/storage/contract.js';
import { base64, type Peer, password, plain, type Scene, scenario } from './dialogue.js';
import { type Attempt, attempts, bindingOf, channelBindings, greeted, hashOf, mechanisms, outcome } from './sasl.js';
import { digest, mac, Scram, saltPassword } from './scram.js';

const scrams = ['SCRAM-SHA-512', 'SCRAM-SHA-256', 'SCRAM-SHA-1'];
const pluses = scrams.map((name) => `${name}-PLUS`);

const auth = (mechanism: string, message?: string) =>
  `<auth xmlns='${NS.sasl}' mechanism='${mechanism}'>${message === undefined ? '' : base64(message)}</auth>`;
const failure = (condition: string) => `<failure xmlns='${NS.sasl}'><${condition}/></failure>`;

/** Addresses by which failures are counted: one for each scenario, so that scenarios do not slow each other down. */
let places = 1;
const newPlace = () => `127.1.0.${++places}`;
let people = 0;
const newName = () => `somebody-${++people}`;

// --- §6.3, XEP-0440: offered mechanisms ---------------------------------------------------------------------------

scenario('§6.3.3: mechanisms depend on the channel', async ({ connect }) => {
  const [, bare] = await greeted(connect);
  assert.deepEqual(mechanisms(bare), scrams);
  assert.deepEqual(channelBindings(bare), []);
  for (const transport of ['tls', 'starttls'] as const) {
    const [, features] = await greeted(connect, { transport });
    assert.deepEqual(mechanisms(features), [...pluses, ...scrams, 'PLAIN']);
    assert.deepEqual(mechanisms(features, 'sasl2'), [...pluses, ...scrams, 'PLAIN']);
    assert.deepEqual(channelBindings(features), ['tls-exporter', 'tls-server-end-point']);
  }
  // Browsers have no access to the channel.
  const [, framed] = await greeted(connect, { transport: 'wss' });
  assert.deepEqual(mechanisms(framed), [...scrams, 'PLAIN']);
  assert.deepEqual(channelBindings(framed), []);
  const [, old] = await greeted(connect, { transport: 'tls', tls: { maxVersion: 'TLSv1.2' } });
  assert.deepEqual(channelBindings(old), ['tls-server-end-point']);
});

scenario(
  '§6.3.3: disabled mechanisms are not offered',
  { config: { auth: { mechanisms: ['SCRAM-SHA-256'] } } },
  async ({ connect, stage }) => {
    await stage.account('romeo@localhost');
    const [peer, features] = await greeted(connect, { transport: 'tls' });
    assert.deepEqual(mechanisms(features), ['SCRAM-SHA-256-PLUS', 'SCRAM-SHA-256']);
    for (const mechanism of ['PLAIN', 'SCRAM-SHA-1']) {
      await peer.sends(auth(mechanism, 'n,,n=romeo,r=x'));
      await peer.receives(failure('invalid-mechanism'));
    }
  },
);

// --- §6.4: the mechanisms ------------------------------------------------------------------------------------------

for (const mechanism of [...scrams, ...pluses]) {
  scenario(`${mechanism} authenticates both sides`, async ({ connect, stage }) => {
    await stage.account('romeo@localhost');
    const bindings = mechanism.endsWith('-PLUS') ? (['tls-exporter', 'tls-server-end-point'] as const) : [undefined];
    for (const binding of bindings) {
      const [peer] = await greeted(connect, { transport: 'tls' });
      const attempt: Attempt = { mechanism, ...(binding !== undefined && { binding }) };
      assert.equal(outcome(await attempts(peer, attempt)), 'success');
      await peer.opens();
      await peer.receivesFeatures();
      await peer.binds('orchard');
      await peer.closes();
      await peer.isClosed();
    }
  });

  scenario(`${mechanism} fails alike for a wrong password and for a missing account`, async ({ connect, stage }) => {
    const [user, nobody] = [newName(), newName()];
    await stage.account(`${user}@localhost`);
    const address = newPlace();
    const [peer] = await greeted(connect, { transport: 'tls', address });
    const [other] = await greeted(connect, { transport: 'tls', address });
    const wrong = await attempts(peer, { mechanism, user, secret: 'wrong' });
    const unknown = await attempts(other, { mechanism, user: nobody });
    assert.equal(outcome(wrong), 'not-authorized');
    assert.equal(wrong.toString(), unknown.toString());
    assert.equal(outcome(await attempts(peer, { mechanism, user })), 'success');
  });
}

scenario('§6.5.10, RFC 5802: a missing account has a stable salt', async ({ connect, stage }) => {
  await stage.account('romeo@localhost');
  const seen = new Set<string>();
  for (const [user, count] of [
    ['nobody', 1],
    ['nobody', 1],
    ['nobody2', 2],
    ['romeo', 3],
  ] as const) {
    const [peer] = await greeted(connect);
    const scram = new Scram({ hash: 'SHA-256', user, password });
    await peer.sends(auth('SCRAM-SHA-256', scram.first()));
    scram.final(plain(await peer.receives(`<challenge xmlns='${NS.sasl}'>*</challenge>`)));
    const { s, i, h } = scram.challenge;
    assert.equal(Buffer.from(s!, 'base64').length, 16);
    assert.equal(i, '4096');
    assert.equal(Buffer.from(h!, 'base64').length, 32);
    seen.add(s!);
    assert.equal(seen.size, count);
  }
});

scenario('XEP-0474 §6.1: the challenge includes the offered mechanisms', async ({ connect, stage }) => {
  await stage.account('romeo@localhost');
  for (const transport of ['tcp', 'tls'] as const) {
    const [peer, features] = await greeted(connect, { transport });
    const scram = new Scram({ hash: 'SHA-256', user: 'romeo', password });
    await peer.sends(auth('SCRAM-SHA-256', scram.first()));
    scram.final(plain(await peer.receives(`<challenge xmlns='${NS.sasl}'>*</challenge>`)));
    const types = channelBindings(features);
    const offer = [mechanisms(features), ...(types.length === 0 ? [] : [types])];
    const text = offer.map((names) => [...names].sort().join('\x1e')).join('\x1f');
    assert.equal(scram.challenge.h, createHash('sha256').update(text).digest('base64'));
  }
});

scenario('PLAIN, with and without an initial response', async ({ connect, stage }) => {
  await stage.account('romeo@localhost');
  for (const message of [
    `\0romeo\0${password}`,
    `romeo@localhost\0romeo\0${password}`,
    `\0romeo@localhost\0${password}`,
    `\0ROMEO\0${password}`,
  ]) {
    const [peer] = await greeted(connect, { transport: 'tls' });
    await peer.sends(auth('PLAIN', message));
    const success = await peer.receives(`<success xmlns='${NS.sasl}'/>`);
    assert.equal(success.getText(), '');
    const [asked] = await greeted(connect, { transport: 'tls' });
    await asked.sends(auth('PLAIN'));
    const challenge = await asked.receives(`<challenge xmlns='${NS.sasl}'/>`);
    assert.equal(challenge.getText(), '');
    await asked.sends(`<response xmlns='${NS.sasl}'>${base64(message)}</response>`);
    await asked.receives(`<success xmlns='${NS.sasl}'/>`);
  }
});

scenario('PLAIN answers not-authorized for a wrong password and for a missing account', async ({ connect, stage }) => {
  await stage.account('romeo@localhost');
  const [peer] = await greeted(connect, { transport: 'tls', address: newPlace() });
  await peer.sends(auth('PLAIN', '\0romeo\0wrong'));
  const wrong = await peer.receives(failure('not-authorized'));
  await peer.sends(auth('PLAIN', '\0nobody\0wrong'));
  assert.equal((await peer.receives(failure('not-authorized'))).toString(), wrong.toString());
});

scenario('RFC 5802 §5.1: names with a comma and an equals sign', async ({ connect, stage }) => {
  await stage.account('a,b=c@localhost');
  const [peer] = await greeted(connect);
  assert.equal(outcome(await attempts(peer, { user: 'a,b=c' })), 'success');
});

scenario('RFC 8265 §4: equivalent passwords are equal', async ({ connect, stage }) => {
  await stage.account('romeo@localhost', 'pass\u0061\u0308word\u00a0x'.normalize('NFD'));
  const [peer] = await greeted(connect, { transport: 'tls' });
  await peer.sends(auth('PLAIN', '\0romeo\0passäword x'));
  await peer.receives(`<success xmlns='${NS.sasl}'/>`);
});

scenario('§6.5.2: a disabled account', async ({ connect, stage, server }) => {
  await stage.account('romeo@localhost');
  await server.accounts.disable('romeo@localhost');
  const [peer] = await greeted(connect, { transport: 'tls', address: newPlace() });
  assert.equal(outcome(await attempts(peer)), 'account-disabled');
  assert.equal(outcome(await attempts(peer, { secret: 'wrong' })), 'not-authorized');
});

// --- §6.5: failures ------------------------------------------------------------------------------------------------

scenario('§6.5.7: a mechanism that is not offered', async ({ connect }) => {
  for (const mechanism of ['', 'DIGEST-MD5', 'EXTERNAL', 'ANONYMOUS', 'scram-sha-1', 'HT-SHA-256-NONE', '__proto__'])
    for (const transport of ['tcp', 'tls'] as const) {
      const [peer] = await greeted(connect, { transport });
      await peer.sends(auth(mechanism, 'x'));
      await peer.receives(failure('invalid-mechanism'));
    }
  const [peer] = await greeted(connect);
  for (const mechanism of ['PLAIN', 'SCRAM-SHA-1-PLUS']) {
    await peer.sends(auth(mechanism, '\0romeo\0pencil'));
    await peer.receives(failure('invalid-mechanism'));
  }
});

scenario('§6.5.5: invalid base64', async ({ connect }) => {
  for (const text of [
    'a',
    'ab',
    'abc',
    'ab=c',
    '====',
    'YQ==YQ==',
    'YQ== ',
    ' YQ==',
    'YW\nJj',
    'YQ=',
    'YQ',
    'YR==',
    'YW-_',
    '<a/>',
    '&amp;',
  ]) {
    const [peer] = await greeted(connect, { transport: 'tls' });
    await peer.sends(`<auth xmlns='${NS.sasl}' mechanism='PLAIN'>${text}</auth>`);
    await peer.receives(failure('incorrect-encoding'));
  }
});

scenario('§6.5.8: malformed messages', async ({ connect, stage }) => {
  await stage.account('romeo@localhost');
  const nothing = async (_: Peer) => {};
  const wrong: readonly (readonly [string, string, ((peer: Peer) => Promise<void>)?])[] = [
    ['a response without auth', `<response xmlns='${NS.sasl}'>YQ==</response>`],
    ['an unknown element', `<hello xmlns='${NS.sasl}'/>`],
    ['success from the client', `<success xmlns='${NS.sasl}'/>`],
    ['PLAIN without NUL', auth('PLAIN', 'romeo pencil')],
    ['PLAIN with one NUL', auth('PLAIN', 'romeo\0pencil')],
    ['PLAIN with three NULs', auth('PLAIN', '\0romeo\0pencil\0')],
    ['PLAIN without a password', auth('PLAIN', '\0romeo\0')],
    ['PLAIN without a name', auth('PLAIN', '\0\0pencil')],
    ['PLAIN with invalid UTF-8', `<auth xmlns='${NS.sasl}' mechanism='PLAIN'>AP8A/w==</auth>`],
    ['an empty PLAIN message', `<auth xmlns='${NS.sasl}' mechanism='PLAIN'>=</auth>`],
    ['SCRAM without a header', auth('SCRAM-SHA-1', 'n=romeo,r=abc')],
    ['SCRAM without a nonce', auth('SCRAM-SHA-1', 'n,,n=romeo')],
    ['SCRAM with a mandatory extension', auth('SCRAM-SHA-1', 'n,,m=x,n=romeo,r=abc')],
    ['SCRAM with a badly escaped name', auth('SCRAM-SHA-1', 'n,,n=ro=meo,r=abc')],
    ['SCRAM that binds without -PLUS', auth('SCRAM-SHA-1', 'p=tls-exporter,,n=romeo,r=abc')],
    ['SCRAM-PLUS without binding', auth('SCRAM-SHA-1-PLUS', 'n,,n=romeo,r=abc')],
    [
      'auth during authentication',
      auth('SCRAM-SHA-1', 'n,,n=romeo,r=abc'),
      async (peer) => {
        await peer.sends(auth('SCRAM-SHA-1', 'n,,n=romeo,r=abc'));
        await peer.receives(`<challenge xmlns='${NS.sasl}'>*</challenge>`);
      },
    ],
    [
      'the other profile during authentication',
      `<response xmlns='${NS.sasl2}'>YQ==</response>`,
      async (peer) => {
        await peer.sends(auth('SCRAM-SHA-1', 'n,,n=romeo,r=abc'));
        await peer.receives(`<challenge xmlns='${NS.sasl}'>*</challenge>`);
      },
    ],
    [
      'a final message without proof',
      `<response xmlns='${NS.sasl}'>${base64('c=biws,r=abc')}</response>`,
      async (peer) => {
        await peer.sends(auth('SCRAM-SHA-1', 'n,,n=romeo,r=abc'));
        await peer.receives(`<challenge xmlns='${NS.sasl}'>*</challenge>`);
      },
    ],
  ];
  for (const [title, xml, before = nothing] of wrong) {
    const [peer] = await greeted(connect, { transport: 'tls', name: title });
    await before(peer);
    await peer.sends(xml);
    const ns = xml.includes(NS.sasl2) ? NS.sasl2 : NS.sasl;
    await peer.receives(`<failure xmlns='${ns}'><malformed-request xmlns='${NS.sasl}'/></failure>`);
    // The stream can still be used (§6.4.5).
    assert.equal(outcome(await attempts(peer)), 'success');
  }
});

scenario('§6.5.6: a client can only authorize as itself', async ({ connect, stage }) => {
  await stage.account('romeo@localhost');
  await stage.account('juliet@localhost');
  for (const authzid of [
    'juliet@localhost',
    'romeo@elsewhere.example',
    'localhost',
    'romeo',
    'romeo@localhost/orchard',
  ]) {
    const [peer] = await greeted(connect, { transport: 'tls' });
    await peer.sends(auth('PLAIN', `${authzid}\0romeo\0${password}`));
    await peer.receives(failure('invalid-authzid'));
    assert.equal(outcome(await attempts(peer, { header: `n,a=${authzid},` })), 'invalid-authzid');
  }
  const [peer] = await greeted(connect);
  assert.equal(outcome(await attempts(peer, { header: 'n,a=romeo@localhost,' })), 'success');
});

scenario('XEP-0388 §4.4: the account has to match the header', async ({ connect, stage }) => {
  await stage.account('romeo@localhost');
  const [peer] = await greeted(connect, {}, { from: 'juliet@localhost' });
  assert.equal(outcome(await attempts(peer, { header: 'n,a=romeo@localhost,' })), 'invalid-authzid');
});

scenario('§6.3.8: accounts of another host do not exist here', async ({ connect, stage }) => {
  await stage.account('romeo@elsewhere.example');
  const [peer] = await greeted(connect, { address: newPlace() });
  for (const user of ['romeo@elsewhere.example', 'romeo']) {
    assert.equal(outcome(await attempts(peer, { user })), 'not-authorized');
  }
  const [there] = await greeted(connect, { host: 'elsewhere.example' });
  assert.equal(outcome(await attempts(there)), 'success');
});

scenario('§6.5.1: a client may abort and try again', async ({ connect, stage }) => {
  await stage.account('romeo@localhost');
  const [peer] = await greeted(connect);
  await peer.sends(auth('SCRAM-SHA-1'));
  await peer.receives(`<challenge xmlns='${NS.sasl}'/>`);
  await peer.sends(`<abort xmlns='${NS.sasl}'/>`);
  await peer.receives(failure('aborted'));
  assert.equal(outcome(await attempts(peer)), 'success');
});

const few = (more: object) => ({ config: { auth: { attempts_per_stream: 10, ...more } } });

scenario('§6.4.5: the stream is closed after some failures', async ({ connect, stage }) => {
  await stage.account('romeo@localhost');
  const [peer] = await greeted(connect, { address: newPlace() });
  for (let at = 0; at < 3; at++) assert.equal(outcome(await attempts(peer, { secret: 'wrong' })), 'not-authorized');
  await peer.receivesStreamError('policy-violation');
});

scenario('§6.4.5: one password tried with several mechanisms is one attempt', async ({ connect, stage }) => {
  await stage.account('romeo@localhost');
  const address = newPlace();
  for (let connection = 0; connection < 6; connection++) {
    const [peer, features] = await greeted(connect, { transport: 'tls', address });
    for (const mechanism of mechanisms(features)) {
      if (mechanism === 'PLAIN') {
        await peer.sends(auth('PLAIN', '\0romeo\0wrong'));
        await peer.receives(failure('not-authorized'));
      } else assert.equal(outcome(await attempts(peer, { mechanism, secret: 'wrong' })), 'not-authorized');
    }
    await peer.closes();
    await peer.isClosed();
  }
  const [peer] = await greeted(connect, { address });
  assert.equal(outcome(await attempts(peer)), 'success');
});

scenario('§6.4.5: the same mechanism again, or another account, is another attempt', async ({ connect, stage }) => {
  await stage.account('romeo@localhost');
  const [peer] = await greeted(connect, { address: newPlace() });
  for (const [user, mechanism] of [
    ['romeo', 'SCRAM-SHA-1'],
    ['romeo', 'SCRAM-SHA-256'],
    ['romeo', 'SCRAM-SHA-256'],
    ['romeo', 'SCRAM-SHA-512'],
    ['nobody', 'SCRAM-SHA-1'],
  ] as const)
    assert.equal(outcome(await attempts(peer, { user, mechanism, secret: 'wrong' })), 'not-authorized');
  await peer.receivesStreamError('policy-violation');
});

scenario(
  '§6.4.5: a failure before the password check is not an attempt',
  few({ failures_per_account: 3 }),
  async ({ connect, stage }) => {
    await stage.account('malformed@localhost');
    const [peer] = await greeted(connect, { address: newPlace() });
    for (let at = 0; at < 3; at++) {
      const broken = { user: 'malformed', mechanism: 'SCRAM-SHA-512', final: () => 'no proof' };
      assert.equal(outcome(await attempts(peer, broken)), 'malformed-request');
      const guess = { user: 'malformed', mechanism: 'SCRAM-SHA-256', secret: 'wrong' };
      assert.equal(outcome(await attempts(peer, guess)), 'not-authorized');
    }
    assert.equal(outcome(await attempts(peer, { user: 'malformed' })), 'temporary-auth-failure');
  },
);

scenario('XEP-0388 §2.4: nothing else during authentication', async ({ connect, stage }) => {
  await stage.account('romeo@localhost');
  for (const xml of [`<iq type='get' id='1'><query xmlns='${NS.register}'/></iq>`, '<presence/>', `<a xmlns='b'/>`]) {
    const [peer] = await greeted(connect, { transport: 'tls' });
    await peer.sends(auth('SCRAM-SHA-1', 'n,,n=romeo,r=abc'));
    await peer.receives(`<challenge xmlns='${NS.sasl}'>*</challenge>`);
    await peer.sends(xml);
    await peer.receivesStreamError('not-authorized');
  }
});

// --- RFC 5802: modified messages ------------------------------------------------------------------------------------

scenario('RFC 5802 §5.1: nonce, channel binding and proof are compared as a whole', async ({ connect, stage }) => {
  const changes: readonly (readonly [string, (message: string) => string])[] = [
    ['another nonce', (message) => message.replace(/r=[^,]+/, 'r=abcdefgh')],
    ['a shorter nonce', (message) => message.replace(/(r=[^,]+)[^,],/, '$1,')],
    ['another header', (message) => message.replace('c=biws', `c=${base64('y,,')}`)],
    ['an invalid proof', (message) => message.replace(/p=.*/, 'p=YQ==')],
    ['a proof with a flipped bit', (message) => message.replace(/p=(.)/, (_, c) => `p=${c === 'A' ? 'B' : 'A'}`)],
  ];
  for (const [title, final] of changes) {
    const user = newName();
    await stage.account(`${user}@localhost`);
    const [peer] = await greeted(connect, { address: newPlace(), name: title });
    assert.equal(outcome(await attempts(peer, { user, final })), 'not-authorized');
  }
});

scenario('RFC 5802 §6: a downgrade of channel binding is detected', async ({ connect, stage }) => {
  await stage.account('romeo@localhost');
  const [over] = await greeted(connect, { transport: 'tls', address: newPlace() });
  assert.equal(outcome(await attempts(over, { header: 'y,,' })), 'not-authorized');
  // Correct if no channel binding was offered.
  const [bare] = await greeted(connect);
  assert.equal(outcome(await attempts(bare, { header: 'y,,' })), 'success');
});

scenario('RFC 5802 §6: channel binding of another channel', async ({ connect, stage }) => {
  await stage.account('romeo@localhost');
  const address = newPlace();
  const [peer] = await greeted(connect, { transport: 'tls', address });
  const [other] = await greeted(connect, { transport: 'tls', address });
  const mechanism = 'SCRAM-SHA-256-PLUS';
  const binding = bindingOf(other, 'tls-exporter');
  assert.equal(outcome(await attempts(peer, { mechanism, binding })), 'not-authorized');
  const header = 'p=tls-unique,,';
  assert.equal(outcome(await attempts(peer, { mechanism, header, binding })), 'not-authorized');
});

scenario('§6: the password changes during the exchange', async ({ connect, stage, server }) => {
  await stage.account('romeo@localhost');
  const [peer] = await greeted(connect, { address: newPlace() });
  const scram = new Scram({ hash: 'SHA-1', user: 'romeo', password });
  await peer.sends(auth('SCRAM-SHA-1', scram.first()));
  const final = scram.final(plain(await peer.receives(`<challenge xmlns='${NS.sasl}'>*</challenge>`)));
  await server.accounts.setPassword('romeo@localhost', 'another');
  await peer.sends(`<response xmlns='${NS.sasl}'>${base64(final)}</response>`);
  await peer.receives(failure('not-authorized'));
});

scenario('§6: deleting an account closes its half-authenticated streams', async ({ connect, stage, server }) => {
  await stage.account('romeo@localhost');
  const [peer] = await greeted(connect);
  await peer.authenticates('romeo');
  await server.accounts.remove('romeo@localhost');
  await peer.receivesStreamError('not-authorized');
});

// --- §13.9.5: guessing ------------------------------------------------------------------------------------------------

scenario(
  'an account is locked only at the address that guesses',
  few({ failures_per_account: 3 }),
  async ({ connect, stage }) => {
    await stage.account('guessed@localhost');
    const home = newPlace();
    const away = newPlace();
    const [owner] = await greeted(connect, { address: home });
    assert.equal(outcome(await attempts(owner, { user: 'guessed' })), 'success');
    const [guesser] = await greeted(connect, { address: away });
    for (let at = 0; at < 3; at++)
      assert.equal(outcome(await attempts(guesser, { user: 'guessed', secret: 'wrong' })), 'not-authorized');
    // Also with the right password: else one could go on guessing.
    assert.equal(outcome(await attempts(guesser, { user: 'guessed' })), 'temporary-auth-failure');
    for (const address of [home, newPlace()]) {
      const [again] = await greeted(connect, { address });
      assert.equal(outcome(await attempts(again, { user: 'guessed' })), 'success');
    }
    const [other] = await greeted(connect, { address: away });
    await stage.account('romeo@localhost');
    assert.equal(outcome(await attempts(other)), 'success');
  },
);

scenario(
  'concurrent guesses count like sequential ones',
  few({ failures_per_account: 3 }),
  async ({ connect, stage }) => {
    await stage.account('crowded@localhost');
    const address = newPlace();
    const peers = await Promise.all(Array.from({ length: 8 }, () => greeted(connect, { transport: 'tls', address })));
    const outcomes = await Promise.all(
      peers.map(async ([peer]) => {
        await peer.sends(auth('PLAIN', '\0crowded\0wrong'));
        return outcome(await peer.receivesAny());
      }),
    );
    assert.equal(outcomes.filter((one) => one === 'not-authorized').length, 3);
    assert.equal(outcomes.filter((one) => one === 'temporary-auth-failure').length, 5);
  },
);

scenario(
  'an old password locks out neither its owner nor others at the address',
  few({ failures_per_account: 3, failures_per_address: 3 }),
  async ({ connect, stage }) => {
    const address = newPlace();
    for (const user of ['old-password', 'neighbour']) {
      await stage.account(`${user}@localhost`);
      const [peer] = await greeted(connect, { address });
      assert.equal(outcome(await attempts(peer, { user })), 'success');
    }
    const [device] = await greeted(connect, { address });
    for (let at = 0; at < 6; at++)
      assert.equal(outcome(await attempts(device, { user: 'old-password', secret: 'old' })), 'not-authorized');
    for (const user of ['old-password', 'neighbour']) {
      const [peer] = await greeted(connect, { address });
      assert.equal(outcome(await attempts(peer, { user })), 'success');
    }
  },
);

scenario('a missing account is locked in the same way', few({ failures_per_account: 3 }), async ({ connect }) => {
  const [guesser] = await greeted(connect, { address: newPlace() });
  for (let at = 0; at < 3; at++) assert.equal(outcome(await attempts(guesser, { user: 'noone' })), 'not-authorized');
  assert.equal(outcome(await attempts(guesser, { user: 'noone' })), 'temporary-auth-failure');
});

scenario(
  'an address that guesses at many accounts is locked, except for accounts that logged in from there',
  few({ failures_per_address: 3 }),
  async ({ connect, stage }) => {
    await stage.account('romeo@localhost');
    await stage.account('at-home@localhost');
    const address = newPlace();
    const [before] = await greeted(connect, { address });
    assert.equal(outcome(await attempts(before, { user: 'at-home' })), 'success');
    const [guesser] = await greeted(connect, { address });
    for (const user of ['a', 'b', 'c']) assert.equal(outcome(await attempts(guesser, { user })), 'not-authorized');
    const [next] = await greeted(connect, { address });
    assert.equal(outcome(await attempts(next)), 'temporary-auth-failure');
    const [known] = await greeted(connect, { address });
    assert.equal(outcome(await attempts(known, { user: 'at-home', secret: 'wrong' })), 'not-authorized');
    assert.equal(outcome(await attempts(known, { user: 'at-home' })), 'success');
    const [elsewhere] = await greeted(connect, { address: newPlace() });
    assert.equal(outcome(await attempts(elsewhere)), 'success');
  },
);

// --- XEP-0178: EXTERNAL -----------------------------------------------------------------------------------------------

const folder = mkdtempSync(join(tmpdir(), 'waxwing-external-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const certificates = {
  romeo: makeSelfSigned(['romeo@localhost']),
  both: makeSelfSigned(['juliet@localhost', 'romeo@localhost', 'romeo@elsewhere.example']),
  nobody: makeSelfSigned(['nobody@localhost']),
  elsewhere: makeSelfSigned(['romeo@elsewhere.example']),
  untrusted: makeSelfSigned(['romeo@localhost']),
};
const authorities = join(folder, 'authorities.pem');
writeFileSync(
  authorities,
  [certificates.romeo, certificates.both, certificates.nobody, certificates.elsewhere]
    .map(({ certificate }) => certificate)
    .join(''),
);
const asking = { config: { tls: { client_certificates: true, client_authorities: [authorities] } } };
const by = (name: keyof typeof certificates) => ({
  transport: 'tls' as const,
  tls: { cert: certificates[name].certificate, key: certificates[name].key },
});

scenario(
  'XEP-0178 §2: a certificate with one address, with and without an authorization identity',
  asking,
  async ({ connect, stage }) => {
    await stage.account('romeo@localhost');
    for (const message of ['', 'romeo@localhost']) {
      for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
        const options = by('romeo');
        const [peer, features] = await greeted(connect, { ...options, tls: { ...options.tls, maxVersion: version } });
        assert.equal(mechanisms(features)[0], 'EXTERNAL');
        await peer.sends(
          `<auth xmlns='${NS.sasl}' mechanism='EXTERNAL'>${message === '' ? '=' : base64(message)}</auth>`,
        );
        await peer.receives(`<success xmlns='${NS.sasl}'/>`);
        await peer.opens();
        await peer.receivesFeatures();
        await peer.binds('orchard');
        assert.equal(peer.jid, 'romeo@localhost/orchard');
        peer.cut();
      }
    }
  },
);

scenario('XEP-0178 §2: a certificate with several addresses', asking, async ({ connect, stage }) => {
  await stage.account('romeo@localhost');
  await stage.account('juliet@localhost');
  const [peer] = await greeted(connect, by('both'));
  await peer.sends(auth('EXTERNAL'));
  await peer.receives(`<challenge xmlns='${NS.sasl}'/>`);
  await peer.sends(`<response xmlns='${NS.sasl}'/>`);
  await peer.receives(failure('invalid-authzid'));
  await peer.sends(auth('EXTERNAL', 'romeo@elsewhere.example'));
  await peer.receives(failure('invalid-authzid'));
  await peer.sends(auth('EXTERNAL', 'juliet@localhost'));
  await peer.receives(`<success xmlns='${NS.sasl}'/>`);
});

scenario('XEP-0178 §2: certificates that do not authenticate anybody here', asking, async ({ connect, stage }) => {
  await stage.account('romeo@localhost');
  for (const name of ['untrusted', 'elsewhere'] as const) {
    const [peer, features] = await greeted(connect, by(name));
    assert.ok(!mechanisms(features).includes('EXTERNAL'));
    await peer.sends(auth('EXTERNAL', 'romeo@localhost'));
    await peer.receives(failure('invalid-mechanism'));
  }
  const [without, features] = await greeted(connect, { transport: 'tls' });
  assert.ok(!mechanisms(features).includes('EXTERNAL'));
  assert.equal(outcome(await attempts(without)), 'success');
  const [nobody] = await greeted(connect, { ...by('nobody'), address: newPlace() });
  await nobody.sends(auth('EXTERNAL', 'nobody@localhost'));
  await nobody.receives(failure('not-authorized'));
});

// --- XEP-0175: ANONYMOUS ------------------------------------------------------------------------------------------------

/** Logs in without an account, and binds. */
async function logsInAnonymously(connect: Scene['connect'], trace?: string): Promise<Peer> {
  const [peer, features] = await greeted(connect);
  assert.ok(mechanisms(features).includes('ANONYMOUS'));
  await peer.sends(auth('ANONYMOUS', trace));
  await peer.receives(`<success xmlns='${NS.sasl}'/>`);
  await peer.opens();
  await peer.receivesFeatures();
  await peer.binds('orchard');
  return peer;
}

/** The stores that have anything of this owner. */
async function storesOf(storage: Storage, owner: string): Promise<string[]> {
  const all = await storage.stores();
  const owners = await Promise.all(all.map(({ shape, name }) => storage[shape](name).owners({ limit: 1000 })));
  return all.filter((_, at) => owners[at]!.includes(owner)).map(({ name }) => name);
}

scenario(
  'XEP-0175: an anonymous account',
  { config: { auth: { anonymous: true } } },
  async ({ connect, actor, server }) => {
    const juliet = await actor('juliet@localhost/balcony', { presence: true });
    const peer = await logsInAnonymously(connect);
    const jid = Jid.parse(peer.jid);
    assert.match(jid.local!, /^[0-9a-f-]{36}$/);
    await peer.sends(`<message to='juliet@localhost' type='chat'><body>boo</body></message>`);
    await juliet.receives(`<message from='${peer.jid}' type='chat'><body>boo</body></message>`);
    await juliet.sends(`<message to='${peer.jid}' type='chat'><body>who?</body></message>`);
    await peer.receives(`<message type='chat'><body>who?</body></message>`);
    assert.equal(await server.accounts.exists(jid.bare), false);
    const other = await logsInAnonymously(connect, 'a trace');
    assert.notEqual(Jid.parse(other.jid).local, jid.local);
  },
);

scenario(
  'XEP-0175: data of an anonymous account is deleted with its session',
  { config: { auth: { anonymous: true } }, alone: true },
  async ({ connect, stage }) => {
    const { server } = stage;
    const stores = async (peer: Peer) => storesOf(server.storage, Jid.parse(peer.jid).bare);
    const peer = await logsInAnonymously(connect);
    const payloads = [
      `<query xmlns='${NS.private}'><kept xmlns='test:kept'/></query>`,
      `<query xmlns='${NS.roster}'><item jid='juliet@localhost'/></query>`,
      `<vCard xmlns='${NS.vcardTemp}'><FN>Nobody</FN></vCard>`,
    ];
    for (const [at, payload] of payloads.entries()) {
      await peer.sends(`<iq type='set' id='keep${at}'>${payload}</iq>`);
      await peer.receives(`<iq type='result' id='keep${at}'/>`);
    }
    assert.ok((await stores(peer)).includes('passing'));
    assert.ok((await stores(peer)).length >= 4);
    await peer.closes();
    while ((await stores(peer)).length > 0) await new Promise((resolve) => setImmediate(resolve));
  },
);

scenario(
  'XEP-0175: or after a crash, at the next start',
  { config: { auth: { anonymous: true } }, alone: true },
  async ({ stage }) => {
    const owner = 'somebody@localhost';
    await stage.restart(async (storage) => {
      await storage.document('passing').set(owner, true);
      await storage.document('vcards').set(owner, '<vCard/>');
      assert.deepEqual((await storesOf(storage, owner)).sort(), ['passing', 'vcards']);
    });
    assert.deepEqual(await storesOf(stage.server.storage, owner), []);
  },
);

// --- over WebSocket -------------------------------------------------------------------------------------------------------

scenario('the same over WebSocket', async ({ connect, stage }) => {
  await stage.account('romeo@localhost');
  const [peer] = await greeted(connect, { transport: 'wss', address: newPlace() });
  assert.equal(outcome(await attempts(peer, { secret: 'wrong' })), 'not-authorized');
  assert.equal(outcome(await attempts(peer, { mechanism: 'SCRAM-SHA-512' })), 'success');
});

scenario('the keys of all hashes belong to one password', async ({ stage, server }) => {
  await stage.account('romeo@localhost', 'a password');
  for (const hash of scrams.map(hashOf)) {
    const { salt, iterations, storedKey } = await server.accounts.credentials('romeo@localhost', hash);
    const key = saltPassword(hash, 'a password', salt, iterations);
    assert.deepEqual(digest(hash, mac(hash, key, 'Client Key')), storedKey);
  }
});
