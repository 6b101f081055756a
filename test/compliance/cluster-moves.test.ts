/**
 * Accounts and rooms that move to another node of the cluster, with the sessions and occupants that they have: nobody
 * notices. The other dialogues run in this way with WAXWING_MOVING=SEED.
 */
import assert from 'node:assert/strict';
import { Jid } from '../../src/server/address/jid.js';
import { NS } from '../../src/server/stanza/ns.js';
import { type ScenarioOptions, type Scene, scenario, type TransportName } from './dialogue.js';

const two: ScenarioOptions = { nodes: 2 };
const three: ScenarioOptions = { nodes: 3 };

/** Moves an address to a node, by its place in `stage.nodes`. */
async function moves({ stage }: Scene, address: string, at: number): Promise<void> {
  const jid = Jid.parse(address);
  const from = stage.home(address).node!;
  const to = stage.nodes[at]!.node!;
  if (from !== to) await from.give([from.slotOf(jid)], to.name.id);
  while (!stage.nodes.every(({ node }) => node!.isAtRest)) await new Promise((resolve) => setImmediate(resolve));
  assert.ok(stage.home(address) === stage.nodes[at]);
}

/** Names of accounts or rooms that live at the node, the first `count` of them. */
function living({ stage }: Scene, at: number, count: number, domain = 'localhost'): string[] {
  const names: string[] = [];
  for (let n = 0; names.length < count; n++) {
    const address = `user${n}@${domain}`;
    if (stage.home(address) === stage.nodes[at]) names.push(address);
  }
  return names;
}

const transports: readonly TransportName[] = ['tcp', 'starttls', 'tls', 'websocket', 'wss'];

for (const transport of transports)
  scenario(
    `a session moves from node to node and back, wherever its client is connected: ${transport}`,
    three,
    async (scene) => {
      const [romeo] = living(scene, 0, 1);
      const [juliet] = living(scene, 1, 1);
      const near = await scene.actor(`${romeo}/orchard`, { presence: true, node: 0, transport });
      const far = await scene.actor(`${juliet}/balcony`, { presence: true, node: 0, transport });
      for (const [round, at] of [1, 2, 0, 2, 1, 0].entries()) {
        await moves(scene, juliet!, at);
        await near.sends(`<message to='${juliet}' type='chat' id='a${round}'><body>${round}</body></message>`);
        await far.receives(`<message from='${near.jid}' type='chat' id='a${round}'><body>${round}</body></message>`);
        await far.sends(`<message to='${romeo}' type='chat' id='b${round}'><body>${round}</body></message>`);
        await near.receives(`<message from='${far.jid}' type='chat' id='b${round}'><body>${round}</body></message>`);
        await moves(scene, romeo!, (at + 1) % 3);
      }
      await far.closes();
      await far.isClosed();
    },
  );

scenario('presence goes with the session', two, async (scene) => {
  const [juliet] = living(scene, 1, 1);
  const phone = await scene.actor(`${juliet}/phone`, {
    presence: `<presence><show>away</show><priority>5</priority></presence>`,
  });
  const tablet = await scene.actor(`${juliet}/tablet`, { presence: true });
  await phone.syncs();
  phone.forgets();
  await moves(scene, juliet!, 0);
  const laptop = await scene.actor(`${juliet}/laptop`, { node: 0 });
  await laptop.sends('<presence/>');
  await laptop.receivesAnyOrder([
    `<presence from='${phone.jid}'><show>away</show><priority>5</priority></presence>`,
    `<presence from='${tablet.jid}'/>`,
    `<presence from='${laptop.jid}'/>`,
  ]);
  await phone.receives(`<presence from='${laptop.jid}'/>`);
  await phone.closes();
  await laptop.receives(`<presence from='${phone.jid}' type='unavailable'/>`);
});

scenario('XEP-0198: counts and unacknowledged stanzas go with the session', two, async (scene) => {
  const [romeo] = living(scene, 0, 1);
  const [juliet] = living(scene, 1, 1);
  const near = await scene.actor(`${romeo}/orchard`, { presence: true });
  const far = await scene.actor(`${juliet}/balcony`, { presence: true });
  await far.sends(`<enable xmlns='${NS.sm}' resume='true'/>`);
  const enabled = await far.receives(`<enabled xmlns='${NS.sm}'/>`);
  await far.sends(`<message to='${romeo}' type='chat' id='1'><body>one</body></message>`);
  await near.receives(`<message type='chat' id='1'/>`);
  await near.sends(`<message to='${juliet}' type='chat' id='2'><body>two</body></message>`);
  await far.receives(`<message type='chat' id='2'/>`);
  await far.receives(`<r xmlns='${NS.sm}'/>`);
  await moves(scene, juliet!, 0);
  await far.sends(`<r xmlns='${NS.sm}'/>`);
  await far.receives(`<a xmlns='${NS.sm}' h='1'/>`);
  await near.sends(`<message to='${juliet}' type='chat' id='3'><body>three</body></message>`);
  await far.receives(`<message type='chat' id='3'/>`);
  far.cut();
  await moves(scene, juliet!, 1);
  const again = await scene.connect({ account: juliet! });
  await again.opens();
  await again.receivesFeatures();
  await again.authenticates(Jid.parse(juliet!).local!);
  await again.sends(`<resume xmlns='${NS.sm}' previd='${enabled.attrs.id}' h='1'/>`);
  await again.receives(`<resumed xmlns='${NS.sm}' h='1' previd='${enabled.attrs.id}'/>`);
  await again.receives(`<message type='chat' id='3'/>`);
});
