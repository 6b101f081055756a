/** XEP-0484: FAST, with the HT mechanisms (draft-schmaus-kitten-sasl-ht-09). */
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { NS } from '../../src/server/stanza/ns.js';
import type { Element } from '../../src/server/xml/element.js';
import { base64, type ConnectOptions, type Peer, type Scene, scenario } from './dialogue.js';
import { attempts, bindingOf, greeted, outcome } from './sasl.js';

const id = 'd4565fa7-4d72-4749-b3d3-740edbf87770';
const agent = (uuid = id) => `<user-agent id='${uuid}'><device>Phone</device></user-agent>`;
const request = (mechanism: string) => `<request-token xmlns='${NS.fast}' mechanism='${mechanism}'/>`;

let places = 1;
const newPlace = () => `127.3.0.${++places}`;

type Ht = 'HT-SHA-256-EXPR' | 'HT-SHA-256-ENDP' | 'HT-SHA-256-NONE';
const all: readonly Ht[] = ['HT-SHA-256-EXPR', 'HT-SHA-256-ENDP', 'HT-SHA-256-NONE'];

interface Use {
  readonly fast?: string;
  readonly inline?: string;
  readonly user?: string;
  /** Of the connection to bind to, where it is another one. */
  readonly channel?: Peer;
}

/** Logs in with a token, and verifies the server's proof. */
async function uses(peer: Peer, mechanism: Ht, token: string, use: Use = {}): Promise<Element> {
  const { fast = `<fast xmlns='${NS.fast}'/>`, inline = agent(), user = 'romeo', channel = peer } = use;
  const binding =
    mechanism === 'HT-SHA-256-NONE'
      ? Buffer.alloc(0)
      : bindingOf(channel, mechanism === 'HT-SHA-256-EXPR' ? 'tls-exporter' : 'tls-server-end-point');
  const proof = (who: string) => createHmac('sha256', token).update(who).update(binding).digest();
  const message = Buffer.concat([Buffer.from(`${user}\0`), proof('Initiator')]);
  await peer.sends(
    `<authenticate xmlns='${NS.sasl2}' mechanism='${mechanism}'><initial-response>${base64(message)}</initial-response>${inline}${fast}</authenticate>`,
  );
  const end = await peer.receivesAny();
  if (end.name === 'success') assert.equal(end.getChildText('additional-data', NS.sasl2), base64(proof('Responder')));
  return end;
}

const tokenOf = (success: Element): string | undefined => success.getChild('token', NS.fast)?.attrs.token;

/** A token for romeo, obtained with the password. */
async function obtains(scene: Scene, mechanism: Ht, options: ConnectOptions = { transport: 'tls' }): Promise<string> {
  await scene.stage.account('romeo@localhost');
  const [peer] = await greeted(scene.connect, options);
  const success = await attempts(peer, { inline: agent() + request(mechanism) });
  const token = success.getChild('token', NS.fast)!;
  assert.ok(token.attrs.token!.length >= 32);
  assert.match(token.attrs.expiry!, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/);
  return token.attrs.token!;
}

const offered = (features: Element): string[] =>
  (
    features
      .getChild('authentication', NS.sasl2)
      ?.getChild('inline', NS.sasl2)
      ?.getChild('fast', NS.fast)
      ?.getChildren('mechanism') ?? []
  ).map((mechanism) => mechanism.getText());

scenario('§3.1: offered over secure channels', async ({ connect }) => {
  const [, features] = await greeted(connect, { transport: 'tls' });
  assert.deepEqual(offered(features), all);
  const [, old] = await greeted(connect, { transport: 'tls', tls: { maxVersion: 'TLSv1.2' } });
  assert.deepEqual(offered(old), ['HT-SHA-256-ENDP', 'HT-SHA-256-NONE']);
  const [, bare] = await greeted(connect);
  assert.deepEqual(offered(bare), []);
});

for (const mechanism of all) {
  scenario(`§3.4: a token can be used repeatedly (${mechanism})`, async (scene) => {
    const token = await obtains(scene, mechanism);
    for (const inline of [agent(), `${agent()}<bind xmlns='${NS.bind2}'/>`]) {
      const [peer] = await greeted(scene.connect, { transport: 'tls' }, { from: 'romeo@localhost' });
      const success = await uses(peer, mechanism, token, { inline });
      assert.equal(success.name, 'success');
      assert.equal(tokenOf(success), undefined);
      await peer.receives(`<features xmlns='${NS.stream}'/>`);
    }
  });
}

scenario('§3.2, §4.1: no token without an offered mechanism, a client id, or a request', async (scene) => {
  await scene.stage.account('romeo@localhost');
  for (const inline of [
    request('HT-SHA-256-NONE'),
    agent() + request('HT-SHA-1-NONE'),
    agent() + request('SCRAM-SHA-1'),
    agent(),
  ]) {
    const [peer] = await greeted(scene.connect, { transport: 'tls' });
    assert.equal(tokenOf(await attempts(peer, { inline })), undefined);
  }
  const [peer] = await greeted(scene.connect, { transport: 'tls', address: newPlace() });
  assert.equal(
    tokenOf(await attempts(peer, { secret: 'wrong', inline: agent() + request('HT-SHA-256-NONE') })),
    undefined,
  );
});

scenario('§3.4: a token is for one client, one mechanism and one channel', async (scene) => {
  const none = await obtains(scene, 'HT-SHA-256-NONE');
  const address = newPlace();
  const [one] = await greeted(scene.connect, { transport: 'tls', address });
  const other = agent(id.replace('d4', 'd5'));
  assert.equal(outcome(await uses(one, 'HT-SHA-256-NONE', none, { inline: other })), 'not-authorized');
  assert.equal(outcome(await uses(one, 'HT-SHA-256-ENDP', none)), 'not-authorized');
  const bound = await obtains(scene, 'HT-SHA-256-EXPR');
  const [two] = await greeted(scene.connect, { transport: 'tls', address });
  const [three] = await greeted(scene.connect, { transport: 'tls', address });
  assert.equal(outcome(await uses(two, 'HT-SHA-256-EXPR', bound, { channel: three })), 'not-authorized');
  assert.equal(outcome(await uses(two, 'HT-SHA-256-EXPR', bound)), 'success');
});

scenario('§3.4: wrong tokens, and those of missing accounts', async (scene) => {
  await scene.stage.account('juliet@localhost');
  const [peer] = await greeted(scene.connect, { transport: 'tls', address: newPlace() });
  const wrong = await uses(peer, 'HT-SHA-256-NONE', 'wrong', { user: 'juliet' });
  const unknown = await uses(peer, 'HT-SHA-256-NONE', 'wrong', { user: 'noone' });
  assert.equal(outcome(wrong), 'not-authorized');
  assert.equal(wrong.toString(), unknown.toString());
  assert.equal(outcome(await uses(peer, 'HT-SHA-256-NONE', 'wrong', { inline: '' })), 'malformed-request');
  await peer.receivesStreamError('policy-violation');
});

scenario('§4.2: revoked tokens do not count as guesses', async (scene) => {
  const mechanism = 'HT-SHA-256-NONE';
  const token = await obtains(scene, mechanism);
  await scene.server.accounts.revokeTokens('romeo@localhost');
  const address = newPlace();
  for (let at = 0; at < 40; at++) {
    const [peer] = await greeted(scene.connect, { transport: 'tls', address });
    assert.equal(outcome(await uses(peer, mechanism, token)), 'credentials-expired');
    await peer.closes();
  }
  const [peer] = await greeted(scene.connect, { transport: 'tls', address });
  assert.equal(outcome(await attempts(peer)), 'success');
});

scenario('§3.4: the count has to increase', async (scene) => {
  const token = await obtains(scene, 'HT-SHA-256-NONE');
  const fast = (count: string) => `<fast xmlns='${NS.fast}' count='${count}'/>`;
  for (const [count, end] of [
    ['1', 'success'],
    ['1', 'not-authorized'],
    ['7', 'success'],
    ['6', 'not-authorized'],
    ['8', 'success'],
    ['-1', 'malformed-request'],
    ['x', 'malformed-request'],
  ] as const) {
    const [peer] = await greeted(scene.connect, { transport: 'tls', address: newPlace() });
    assert.equal(outcome(await uses(peer, 'HT-SHA-256-NONE', token, { fast: fast(count) })), end, count);
  }
});

scenario(
  '§3.5: a token due for rotation is replaced, and valid until the new one is used',
  { config: { auth: { fast_token_rotate_seconds: 0 } } },
  async (scene) => {
    const mechanism = 'HT-SHA-256-NONE';
    const first = await obtains(scene, mechanism);
    const use = async (token: string) => {
      const [peer] = await greeted(scene.connect, { transport: 'tls', address: newPlace() });
      return uses(peer, mechanism, token);
    };
    const second = tokenOf(await use(first))!;
    assert.notEqual(second, first);
    // The answer may have been lost.
    const third = tokenOf(await use(first))!;
    assert.notEqual(third, second);
    assert.equal(outcome(await use(second)), 'credentials-expired');
    assert.equal(outcome(await use(third)), 'success');
    assert.equal(outcome(await use(first)), 'credentials-expired');
  },
);

scenario('§3.6: a client may invalidate its token', async (scene) => {
  const mechanism = 'HT-SHA-256-ENDP';
  const token = await obtains(scene, mechanism);
  const [peer] = await greeted(scene.connect, { transport: 'tls' });
  const success = await uses(peer, mechanism, token, { fast: `<fast xmlns='${NS.fast}' invalidate='true'/>` });
  assert.equal(success.name, 'success');
  assert.equal(tokenOf(success), undefined);
  const [again] = await greeted(scene.connect, { transport: 'tls', address: newPlace() });
  assert.equal(outcome(await uses(again, mechanism, token)), 'credentials-expired');
});

scenario('§4.2: a token is revoked with the password, and with the account', async (scene) => {
  const { server, connect, stage } = scene;
  const token = await obtains(scene, 'HT-SHA-256-NONE');
  await server.accounts.disable('romeo@localhost');
  const [peer] = await greeted(connect, { transport: 'tls', address: newPlace() });
  assert.equal(outcome(await uses(peer, 'HT-SHA-256-NONE', token)), 'account-disabled');
  await server.accounts.enable('romeo@localhost');
  assert.equal(outcome(await uses(peer, 'HT-SHA-256-NONE', token)), 'success');
  await server.accounts.setPassword('romeo@localhost', 'another');
  const [changed] = await greeted(connect, { transport: 'tls', address: newPlace() });
  assert.equal(outcome(await uses(changed, 'HT-SHA-256-NONE', token)), 'credentials-expired');
  // §4.2: on to other mechanisms.
  assert.equal(outcome(await attempts(changed, { secret: 'another' })), 'success');
  await server.accounts.remove('romeo@localhost');
  await stage.account('romeo@localhost');
  const [anew] = await greeted(connect, { transport: 'tls', address: newPlace() });
  assert.equal(outcome(await uses(anew, 'HT-SHA-256-NONE', token)), 'not-authorized');
});

scenario('§3.4: a token login can resume a session', async (scene) => {
  const token = await obtains(scene, 'HT-SHA-256-EXPR');
  const romeo = await scene.actor('romeo@localhost/orchard', { presence: true });
  const { id: previd } = (await romeo.managesStream()).attrs;
  romeo.cut();
  const [peer] = await greeted(scene.connect, { transport: 'tls' });
  const inline = `${agent()}<resume xmlns='${NS.sm}' previd='${previd}' h='0'/>`;
  const success = await uses(peer, 'HT-SHA-256-EXPR', token, { inline });
  assert.equal(success.getChild('resumed', NS.sm)?.attrs.previd, previd);
});
