/** XEP-0220: server dialback in all three roles, and impersonation. */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import { DialbackKeys } from '../../src/server/stream/s2s/dialback.js';
import { makeSelfSigned } from '../../src/server/tls/self-signed.js';
import { refusal } from './phrases.js';
import { Impostor, lure, play, type Servers } from './servers.js';

const [montague, capulet] = ['montague.example', 'capulet.example'];
/** No authority that is trusted made it. */
const unknown = (domain: string) => makeSelfSigned([domain, `conference.${domain}`]);
const lenient = { require_valid_certificate: false };
const secret = 's3cr3tf0rd14lb4ck';
const keys = new DialbackKeys(secret);

/** Capulet receives; Montague is the authoritative server, with a secret that the test knows. */
const receiving = {
  [capulet]: { s2s: lenient },
  [montague]: { certificate: unknown(montague), s2s: { dialback_secret: secret } },
};

const header = `from='montague.example' to='capulet.example'`;
const impostor = (servers: Servers) => Impostor.connect(servers.stage(capulet).port('s2s'), header);
const result = (key: string, from = montague, to = capulet) =>
  `<db:result from='${from}' to='${to}'>${key}</db:result>`;
const keyFor = (streamId: string, originating = montague, target = capulet) =>
  keys.make({ receiving: target, originating, streamId });
const message = (from: string, to: string, body: string) =>
  `<message from='${from}' to='${to}' type='chat'><body>${body}</body></message>`;
const condition = (content: string) => /<error [^>]*type="cancel"[^>]*><([a-z-]+)/.exec(content)?.[1];

play(
  'servers with untrusted certificates use dialback if it is allowed',
  {
    [montague]: { certificate: unknown(montague), s2s: lenient },
    [capulet]: { certificate: unknown(capulet), s2s: lenient },
  },
  async (servers) => {
    const romeo = await servers.stage(montague).actor('romeo@montague.example/orchard', { presence: true });
    const juliet = await servers.stage(capulet).actor('juliet@capulet.example/balcony', { presence: true });
    await romeo.sends(`<message to='juliet@capulet.example' type='chat' id='1'><body>Juliet</body></message>`);
    await juliet.receives(
      `<message from='romeo@montague.example/orchard' type='chat' id='1'><body>Juliet</body></message>`,
    );
    await juliet.sends(`<message to='romeo@montague.example' type='chat' id='2'><body>Romeo</body></message>`);
    await romeo.receives(
      `<message from='juliet@capulet.example/balcony' type='chat' id='2'><body>Romeo</body></message>`,
    );
  },
);

play(
  '§2.2.1: a key confirmed by the authoritative server authenticates, for several pairs',
  receiving,
  async (servers) => {
    const juliet = await servers.stage(capulet).actor('juliet@capulet.example/balcony', { presence: true });
    const friend = impostor(servers);
    const { id, features } = await friend.opensWithTls();
    assert.match(features.content, new RegExp(`<dialback xmlns="${NS.dialbackFeature}"><errors/></dialback>`));
    for (const from of [montague, `conference.${montague}`]) {
      friend.says(result(keyFor(id, from), from));
      const { attrs } = await friend.hearsElement('result');
      assert.deepEqual({ ...attrs }, { from: capulet, to: from, type: 'valid' });
      friend.says(message(`a@${from}/b`, 'juliet@capulet.example', from));
      await juliet.receives(message(`a@${from}/b`, 'juliet@capulet.example', from));
    }
    // A pair is a pair: the other domain of ours was not asked for.
    friend.says(message(`a@${montague}/b`, `room@conference.${capulet}`, '?'));
    await friend.hearsError('not-authorized');
  },
);

play(
  '§2.2.1: a wrong key ends the stream, or only its pair if others are authenticated',
  receiving,
  async (servers) => {
    const juliet = await servers.stage(capulet).actor('juliet@capulet.example/balcony', { presence: true });
    const enemy = impostor(servers);
    await enemy.opensWithTls();
    enemy.says(result('0'.repeat(64)));
    const { attrs } = await enemy.hearsElement('result');
    assert.deepEqual({ ...attrs }, { from: capulet, to: montague, type: 'invalid' });
    assert.equal((await enemy.hears()).kind, 'close');

    const friend = impostor(servers);
    const { id } = await friend.opensWithTls();
    friend.says(result(keyFor(id)));
    await friend.hearsElement('result');
    // The key of another pair.
    friend.says(result(keyFor(id), `conference.${montague}`));
    assert.equal(condition((await friend.hearsElement('result')).content), 'forbidden');
    friend.says(message('a@montague.example/b', 'juliet@capulet.example', 'still here'));
    await juliet.receives(message('a@montague.example/b', 'juliet@capulet.example', 'still here'));
  },
);

play('§2.5: failed verifications, and their conditions', receiving, async (servers) => {
  const enemy = impostor(servers);
  const { id } = await enemy.opensWithTls();
  for (const [from, to, wanted] of [
    [montague, 'verona.example', 'item-not-found'],
    [capulet, capulet, 'forbidden'],
    [`conference.${capulet}`, capulet, 'forbidden'],
    ['nowhere.example', capulet, 'remote-server-not-found'],
    // DNS leads to a server that does not know the domain.
    ['padua.example', capulet, 'remote-server-not-found'],
  ] as const) {
    servers.leads('padua.example', servers.stage(montague).port('s2s'));
    enemy.says(result(keyFor(id, from, to), from, to));
    const { attrs, content } = await enemy.hearsElement('result');
    assert.deepEqual([attrs.from, attrs.to, attrs.type, condition(content)], [to, from, 'error', wanted]);
  }
  enemy.says(`<db:result from='${montague}'>0</db:result>`);
  await enemy.hearsError('improper-addressing');
});

play('§3.1: unsolicited responses are ignored', receiving, async (servers) => {
  for (const xml of [
    `<db:result from='${montague}' to='${capulet}' type='valid'/>`,
    `<db:result from='${capulet}' to='${montague}' type='valid'/>`,
    `<db:verify from='${montague}' to='${capulet}' id='{id}' type='valid'/>`,
  ]) {
    const enemy = impostor(servers);
    const { id } = await enemy.opensWithTls();
    enemy.says(`${xml.replace('{id}', id)}${message('romeo@montague.example', 'juliet@capulet.example', 'false')}`);
    await enemy.hearsError('not-authorized');
  }
});

play('§2.2.2: the authoritative server verifies its own keys', receiving, async (servers) => {
  const asker = Impostor.connect(servers.stage(montague).port('s2s'), `from='capulet.example' to='montague.example'`);
  await asker.opensWithTls();
  for (const [key, to, type] of [
    [keyFor('some-id'), montague, 'valid'],
    [`\n${keyFor('some-id')}\n`, montague, 'valid'],
    [keyFor('another-id'), montague, 'invalid'],
    [keyFor('some-id', capulet, montague), montague, 'invalid'],
    ['', montague, 'invalid'],
    [keyFor('some-id'), 'verona.example', 'error'],
  ] as const) {
    asker.says(`<db:verify from='${capulet}' to='${to}' id='some-id'>${key}</db:verify>`);
    const { attrs, content } = await asker.hearsElement('verify');
    assert.deepEqual([attrs.from, attrs.to, attrs.id, attrs.type], [to, capulet, 'some-id', type]);
    assert.equal(condition(content), type === 'error' ? 'item-not-found' : undefined);
  }
});

play(
  'with required certificates, that of the authoritative server has to be valid',
  { [capulet]: {}, [montague]: { s2s: { dialback_secret: secret } } },
  async (servers) => {
    // As a certificate for servers alone: it does not count for who opens a connection.
    const friend = impostor(servers);
    const { id } = await friend.opensWithTls();
    friend.says(result(keyFor(id)));
    assert.equal((await friend.hearsElement('result')).attrs.type, 'valid');
  },
);

play(
  'with required certificates, a peer without a valid one is not trusted',
  { ...receiving, [capulet]: {} },
  async (servers) => {
    const friend = impostor(servers);
    const { id } = await friend.opensWithTls();
    friend.says(result(keyFor(id)));
    const { attrs, content } = await friend.hearsElement('result');
    assert.deepEqual([attrs.type, condition(content)], ['error', 'remote-server-timeout']);
    friend.says(message('romeo@montague.example', 'juliet@capulet.example', 'false'));
    await friend.hearsError('not-authorized');
  },
);

const sends = (id: string) =>
  `<message to='juliet@capulet.example' type='chat' id='${id}'><body>${id}</body></message>`;
const initiating = { [montague]: { s2s: { ...lenient, dialback_secret: secret } } };

play('§2.1.1: stanzas wait for the response to their own key', initiating, async (servers) => {
  const romeo = await servers.stage(montague).actor('romeo@montague.example/orchard', { presence: true });
  const trap = await lure(`from='${capulet}' to='${montague}'`);
  servers.leads(capulet, trap.port);
  await romeo.sends(sends('1'));
  const server = await trap.next();
  await server.answers(unknown(capulet), 'some-id');
  const { attrs, content } = await server.hearsElement('result');
  assert.deepEqual({ ...attrs }, { from: montague, to: capulet });
  assert.equal(content, keyFor('some-id'));
  for (const [from, to] of [
    ['verona.example', montague],
    [capulet, 'verona.example'],
    [montague, capulet],
  ])
    server.says(`<db:result from='${from}' to='${to}' type='valid'/>`);
  server.says(`<db:verify from='${capulet}' to='${montague}' id='some-id' type='valid'/>`);
  // It has read all that, and still waits.
  server.says(`<db:result from='${capulet}' to='${montague}' type='valid'/>`);
  assert.equal((await server.hearsElement('message')).attrs.id, '1');
  await romeo.receivesNothing();
});

for (const [answer, type, wanted] of [
  [`type='invalid'`, 'cancel', 'internal-server-error'],
  [`type='error'`, 'wait', 'remote-server-timeout'],
] as const)
  play(`§2.1.1: with ${answer} stanzas are returned`, initiating, async (servers) => {
    const romeo = await servers.stage(montague).actor('romeo@montague.example/orchard', { presence: true });
    const trap = await lure(`from='${capulet}' to='${montague}'`);
    servers.leads(capulet, trap.port);
    await romeo.sends(sends('1'));
    const server = await trap.next();
    await server.answers(unknown(capulet), 'some-id');
    await server.hearsElement('result');
    server.says(`<db:result from='${capulet}' to='${montague}' ${answer}/>`);
    await romeo.receives(
      `<message type='error' id='1' from='juliet@capulet.example'>${refusal(type, wanted)}</message>`,
    );
    assert.equal((await server.hears()).kind, 'close');
  });
