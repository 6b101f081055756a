/**
 * A node that stops in order: its accounts and rooms move to the other nodes first, with their sessions. Clients of other
 * nodes notice nothing; its own resume there.
 */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import { type Peer, password, type ScenarioOptions, type Scene, scenario, type TransportName } from './dialogue.js';
import { living } from './moves.js';
import { enters, founds, service } from './rooms.js';

/** Each dialogue loses a node. */
const ownTwo: ScenarioOptions = { nodes: 2, alone: true };
const ownThree: ScenarioOptions = { nodes: 3, alone: true };

const transports: readonly TransportName[] = ['tcp', 'starttls', 'tls', 'websocket', 'wss', 'bosh'];

const localOf = (address: string): string => address.slice(0, address.indexOf('@'));

const chat = (to: string, id: string): string =>
  `<message to='${to}' type='chat' id='${id}'><body>${id}</body></message>`;

/** Stops a node, by its place in `stage.nodes`, of which it is removed. */
async function stops({ stage }: Scene, at: number): Promise<void> {
  const stopping = stage.nodes[at]!;
  await stopping.stop();
  stage.nodes = stage.nodes.filter((node) => node !== stopping);
}

async function resumes(scene: Scene, address: string, id: string, seen: number): Promise<Peer> {
  const again = await scene.connect({ node: 0 });
  await again.opens();
  await again.receivesFeatures();
  await again.authenticates(localOf(address), password);
  await again.sends(`<resume xmlns='${NS.sm}' previd='${id}' h='${seen}'/>`);
  return again;
}

for (const transport of transports)
  scenario(`a client of another node goes on when its home stops: ${transport}`, ownTwo, async (scene) => {
    const [juliet] = living(scene, 1, 1);
    const client = await scene.actor(`${juliet}/balcony`, { presence: true, node: 0, transport });
    await stops(scene, 1);
    await client.sends(chat(client.jid, 'self'));
    await client.receives(`<message from='${client.jid}' type='chat' id='self'/>`);
    await client.receivesNothing();
  });

scenario('messages under way while a node stops: none is lost, doubled or overtaken', ownThree, async (scene) => {
  const [romeo] = living(scene, 0, 1);
  const [juliet] = living(scene, 2, 1);
  const near = await scene.actor(`${romeo}/orchard`, { presence: true, node: 0 });
  const far = await scene.actor(`${juliet}/balcony`, { presence: true, node: 1 });
  const count = 200;
  const stopping = stops(scene, 2);
  for (let n = 0; n < count; n++) {
    await near.sends(chat(far.jid, `a${n}`));
    await far.sends(chat(near.jid, `b${n}`));
    if (n % 20 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  for (let n = 0; n < count; n++) {
    await far.receives(`<message from='${near.jid}' type='chat' id='a${n}'/>`);
    await near.receives(`<message from='${far.jid}' type='chat' id='b${n}'/>`);
  }
  await stopping;
  for (const peer of [near, far]) await peer.receivesNothing();
});

scenario('XEP-0198 §5: a client of the node that stops resumes at another', ownTwo, async (scene) => {
  const [romeo] = living(scene, 0, 1);
  const [juliet] = living(scene, 1, 1);
  const near = await scene.actor(`${romeo}/orchard`, { presence: true, node: 0 });
  const client = await scene.actor(`${juliet}/balcony`, { presence: true, node: 1 });
  const enabled = await client.managesStream();
  await client.sends(chat(near.jid, 'before'));
  await near.receives(`<message from='${client.jid}' type='chat' id='before'/>`);
  await stops(scene, 1);
  await client.receivesStreamError('system-shutdown');
  // Its session is at the other node, and has not ended: nobody is told that it is unavailable.
  await near.sends(chat(client.jid, 'meanwhile'));
  await near.receivesNothing();
  const again = await resumes(scene, juliet!, enabled.attrs.id!, 0);
  await again.receives(`<resumed xmlns='${NS.sm}' h='1' previd='${enabled.attrs.id}'/>`);
  await again.receives(`<message from='${near.jid}' type='chat' id='meanwhile'/>`);
});

scenario('XEP-0045: a room of the node that stops goes on, with its occupants', ownTwo, async (scene) => {
  const [romeo] = living(scene, 0, 1);
  const [juliet] = living(scene, 1, 1);
  const room = living(scene, 1, 1, service)[0]!;
  const name = localOf(room);
  const near = await scene.actor(`${romeo}/orchard`, { presence: true, node: 0 });
  const far = await scene.actor(`${juliet}/balcony`, { presence: true, node: 0 });
  await founds(near, name, 'Romeo');
  await enters(far, name, 'Juliet');
  await near.syncs();
  near.forgets();
  await stops(scene, 1);
  assert.equal(scene.stage.home(room), scene.stage.nodes[0]);
  await far.sends(`<message to='${room}' type='groupchat' id='1'><body>Still here</body></message>`);
  for (const peer of [near, far])
    await peer.receives(`<message from='${room}/Juliet' type='groupchat' id='1'><body>Still here</body></message>`);
});
