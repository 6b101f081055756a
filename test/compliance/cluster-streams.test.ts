/**
 * Clients that connect to another node than the home of their account: their streams are relayed. The dialogues about
 * logging in run in this way with WAXWING_NODES=2 WAXWING_SPREAD=1.
 */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import {
  base64,
  type Peer,
  password,
  type ScenarioOptions,
  type Scene,
  scenario,
  type TransportName,
} from './dialogue.js';
import { attempts, greeted, outcome } from './sasl.js';

const two: ScenarioOptions = { nodes: 2 };
/** For dialogues that stop nodes. */
const ownTwo: ScenarioOptions = { nodes: 2, alone: true };
const transports: readonly TransportName[] = ['tcp', 'starttls', 'tls', 'websocket', 'wss', 'bosh'];

/** Without a header, as after SASL2. */
const features = `<features xmlns='${NS.stream}'/>`;

/** Names of accounts that live at the node, the first `count` of them. */
function living({ stage }: Scene, at: number, count: number): string[] {
  const names: string[] = [];
  for (let n = 0; names.length < count; n++) {
    const address = `user${n}@localhost`;
    if (stage.home(address) === stage.nodes[at]) names.push(address);
  }
  return names;
}

const localOf = (address: string): string => address.slice(0, address.indexOf('@'));

/** An account of the second node, with a client at the first. */
async function relayed(scene: Scene, transport: TransportName = 'tcp'): Promise<Peer> {
  const [juliet] = living(scene, 1, 1);
  return scene.actor(`${juliet}/balcony`, { node: 0, transport });
}

for (const transport of transports)
  scenario(`a client reaches its account from any node: ${transport}`, two, async (scene) => {
    const [romeo] = living(scene, 0, 1);
    const [juliet] = living(scene, 1, 1);
    const near = await scene.actor(`${romeo}/orchard`, { presence: true, node: 0 });
    const far = await scene.actor(`${juliet}/balcony`, { presence: true, node: 0, transport });
    assert.deepEqual(
      scene.stage.nodes.map((node) => node.sessions.of(juliet!).length),
      [0, 1],
    );
    // More than the window, and characters of one to four bytes
    const text = 'ä😀 &lt;&amp; x '.repeat(8_000);
    await near.sends(`<message to='${juliet}' type='chat' id='1'><body>${text}</body></message>`);
    await far.receives(`<message from='${near.jid}' type='chat' id='1'><body>${text}</body></message>`);
    await far.sends(`<message to='${romeo}' type='chat' id='2'><body>${text}</body></message>`);
    await near.receives(`<message from='${far.jid}' type='chat' id='2'><body>${text}</body></message>`);
    await far.closes();
  });

for (const [mechanism, transport] of [
  ['SCRAM-SHA-1', 'tcp'],
  ['SCRAM-SHA-256-PLUS', 'starttls'],
  ['SCRAM-SHA-512-PLUS', 'tls'],
] as const)
  for (const profile of ['SASL', 'SASL2'])
    scenario(`RFC 5802: ${mechanism} authenticates at the home, by ${profile}`, two, async (scene) => {
      const [juliet] = living(scene, 1, 1);
      await scene.stage.account(juliet!);
      const [peer] = await greeted(scene.connect, { node: 0, transport });
      const inline = profile === 'SASL2' ? { inline: '' } : {};
      assert.equal(outcome(await attempts(peer, { mechanism, user: localOf(juliet!), ...inline })), 'success');
      if (profile === 'SASL') {
        await peer.opens();
        await peer.receivesFeatures();
      } else await peer.receives(features);
    });

for (const isAsked of [false, true])
  scenario(
    `RFC 4616: PLAIN authenticates at the home${isAsked ? ', with its message requested' : ''}`,
    two,
    async (scene) => {
      const [juliet] = living(scene, 1, 1);
      await scene.stage.account(juliet!);
      const [peer] = await greeted(scene.connect, { node: 0, transport: 'tls' });
      const message = base64(`\0${localOf(juliet!)}\0${password}`);
      await peer.sends(`<auth xmlns='${NS.sasl}' mechanism='PLAIN'>${isAsked ? '' : message}</auth>`);
      if (isAsked) {
        await peer.receives(`<challenge xmlns='${NS.sasl}'/>`);
        await peer.sends(`<response xmlns='${NS.sasl}'>${message}</response>`);
      }
      await peer.receives(`<success xmlns='${NS.sasl}'/>`);
      await peer.opens();
      await peer.receivesFeatures();
    },
  );

scenario('XEP-0388 §4: stanzas sent before <success/> arrives are not lost', two, async (scene) => {
  const [juliet] = living(scene, 1, 1);
  await scene.stage.account(juliet!);
  const [peer] = await greeted(scene.connect, { node: 0, transport: 'tls' });
  const message = base64(`\0${localOf(juliet!)}\0${password}`);
  await peer.sends(
    `<authenticate xmlns='${NS.sasl2}' mechanism='PLAIN'><initial-response>${message}</initial-response>
     <bind xmlns='${NS.bind2}'/></authenticate><iq type='get' id='p' to='localhost'><ping xmlns='${NS.ping}'/></iq>`,
  );
  await peer.receives(`<success xmlns='${NS.sasl2}'><bound xmlns='${NS.bind2}'/></success>`);
  await peer.receives(features);
  await peer.receives(`<iq type='result' id='p'/>`);
});

scenario(
  'RFC 6120 §13.9.5: an address that guesses at accounts of several homes is locked at all nodes',
  { ...two, config: { auth: { failures_per_address: 4 } } },
  async (scene) => {
    const address = '127.1.3.1';
    const guessed = [0, 1].flatMap((at) => living(scene, at, 2));
    for (const [at, account] of guessed.entries()) {
      await scene.stage.account(account);
      const [guesser] = await greeted(scene.connect, { address, node: at % 2 });
      assert.equal(outcome(await attempts(guesser, { user: localOf(account), secret: 'wrong' })), 'not-authorized');
      await scene.stage.nodesAtRest();
    }
    for (const [at, account] of [0, 1].map((at) => living(scene, at, 3)[2]!).entries()) {
      await scene.stage.account(account);
      const [locked] = await greeted(scene.connect, { address, node: at });
      assert.equal(outcome(await attempts(locked, { user: localOf(account) })), 'temporary-auth-failure');
      const [other] = await greeted(scene.connect, { address: '127.1.3.2', node: at });
      assert.equal(outcome(await attempts(other, { user: localOf(account) })), 'success');
    }
  },
);

scenario('attempts of a client that tries accounts of several homes are counted together', two, async (scene) => {
  const [romeo] = living(scene, 0, 1);
  const [juliet] = living(scene, 1, 1);
  for (const address of [romeo!, juliet!]) await scene.stage.account(address);
  const [peer] = await greeted(scene.connect, { node: 0, transport: 'tls', address: '127.9.0.1' });
  const most = scene.server.config.auth.attempts_per_stream;
  for (let n = 0; n < most; n++) {
    const user = localOf(n % 2 === 0 ? juliet! : romeo!);
    await peer.sends(`<auth xmlns='${NS.sasl}' mechanism='PLAIN'>${base64(`\0${user}\0wrong`)}</auth>`);
    await peer.receives(`<failure xmlns='${NS.sasl}'><not-authorized/></failure>`);
  }
  await peer.receivesStreamError('policy-violation');
});

scenario('XEP-0198 §5: after its gateway is lost, a session is resumed through another node', ownTwo, async (scene) => {
  const [juliet] = living(scene, 1, 1);
  const [romeo] = living(scene, 1, 2).slice(1);
  const client = await scene.actor(`${juliet}/balcony`, { node: 0, presence: true });
  const enabled = await client.managesStream();
  const near = await scene.actor(`${romeo}/orchard`, { node: 1, presence: true });
  await scene.stage.nodes[0]!.stop();
  await client.receivesStreamError('system-shutdown');
  await near.sends(`<message to='${juliet}' type='chat' id='m'><body>Are you there?</body></message>`);
  await near.syncs();
  const again = await scene.connect({ node: 1 });
  await again.opens();
  await again.receivesFeatures();
  await again.authenticates(localOf(juliet!));
  await again.sends(`<resume xmlns='${NS.sm}' previd='${enabled.attrs.id}' h='0'/>`);
  await again.receives(`<resumed xmlns='${NS.sm}'/>`);
  await again.receives(`<message from='${near.jid}' type='chat' id='m'><body>Are you there?</body></message>`);
});

for (const transport of transports)
  scenario(`RFC 6120 §4.9.3.20: a client is notified that its gateway stops: ${transport}`, ownTwo, async (scene) => {
    const client = await relayed(scene, transport);
    await scene.stage.nodes[0]!.stop();
    await client.receivesStreamError('system-shutdown');
  });

scenario('a client that does not read blocks no other, and loses nothing', two, async (scene) => {
  const slow = await relayed(scene);
  const [romeo] = living(scene, 0, 1);
  const near = await scene.actor(`${romeo}/orchard`, { node: 0 });
  slow.stopsReading();
  const text = 'x'.repeat(10_000);
  for (let n = 0; n < 100; n++)
    await near.sends(`<message to='${slow.jid}' type='chat' id='${n}'><body>${text}</body></message>`);
  await near.syncs();
  slow.readsAgain();
  for (let n = 0; n < 100; n++)
    await slow.receives(`<message from='${near.jid}' type='chat' id='${n}'><body>${text}</body></message>`);
});
