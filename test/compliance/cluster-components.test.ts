/**
 * Components (XEP-0114) and a cluster: the connections of a component are at the home of its domain, whichever node it
 * connects to. The dialogues of xep-0114-component.test.ts also run with WAXWING_NODES=2 WAXWING_SPREAD=1.
 */
import assert from 'node:assert/strict';
import { ComponentPeer } from './component.js';
import { type Peer, type ScenarioOptions, type Scene, scenario } from './dialogue.js';
import { refusal } from './phrases.js';

const secret = 'a pound of apothecary';
const two: ScenarioOptions = {
  nodes: 2,
  alone: true,
  config: { listen: { component: ['127.0.0.1:0'] }, components: { mantua: { secret, connections: 2 } } },
};

const homeOf = ({ stage }: Scene): number => stage.nodes.indexOf(stage.home('mantua'));

function connected({ stage }: Scene, at: number): Promise<ComponentPeer> {
  return new ComponentPeer(stage.port('component', stage.nodes[at]), 'mantua', secret).logsIn();
}

/** A user whose account lives at the node, and who is connected there. */
async function userAt({ stage, actor }: Scene, at: number): Promise<Peer> {
  for (let n = 0; ; n++) {
    const address = `user${n}@localhost`;
    if (stage.home(address) === stage.nodes[at]) return actor(`${address}/orchard`, { presence: true, node: at });
  }
}

const chat = (id: string) => `<message to='friar@mantua' type='chat' id='${id}'><body>${id}</body></message>`;

scenario('a component reaches all users from any node, and they reach it', two, async (scene) => {
  const { stage } = scene;
  const home = homeOf(scene);
  const users = [await userAt(scene, 0), await userAt(scene, 1)];
  for (const at of [home, 1 - home]) {
    const friar = await connected(scene, at);
    const lines = stage.nodes.map(({ components }) => components.figures[0]!.connections.length);
    assert.deepEqual([lines[home], lines[1 - home]], [1, 0]);
    for (const user of users) {
      for (let n = 0; n < 20; n++) await user.sends(chat(`${n}`));
      for (let n = 0; n < 20; n++) {
        const { attrs } = await friar.hears('message');
        assert.deepEqual([attrs.id, attrs.from], [`${n}`, user.jid]);
      }
      friar.says(`<message from='friar@mantua' to='${user.jid}' type='chat' id='late'><body>late</body></message>`);
      await user.receives(`<message from='friar@mantua' type='chat' id='late'><body>late</body></message>`);
    }
    friar.says('</stream:stream>');
    await friar.hearsEnd();
  }
  for (const user of users) {
    await user.sends(chat('gone'));
    await user.receives(
      `<message type='error' from='friar@mantua' id='gone'>${refusal('wait', 'remote-server-timeout')}</message>`,
    );
  }
});

scenario('connections through different nodes share the senders', two, async (scene) => {
  const friars = [await connected(scene, 0), await connected(scene, 1)];
  const user = await userAt(scene, 1 - homeOf(scene));
  for (const id of ['1', '2', '3']) await user.sends(chat(id));
  const heard = await Promise.race(friars.map(async (friar) => ({ friar, first: await friar.hears('message') })));
  assert.equal(heard.first.attrs.id, '1');
  for (const id of ['2', '3']) assert.equal((await heard.friar.hears('message')).attrs.id, id);
  for (const { socket } of friars) socket.destroy();
});

scenario('a wrong secret is refused through another node', two, async (scene) => {
  const { stage } = scene;
  const enemy = new ComponentPeer(stage.port('component', stage.nodes[1 - homeOf(scene)]), 'mantua', secret);
  enemy.opens();
  await enemy.hearsOpen();
  enemy.handshake('a pound of flesh, no more');
  await enemy.hearsStreamError('not-authorized');
});

scenario('a component of a node that stops connects to another, which is the home then', two, async (scene) => {
  const home = homeOf(scene);
  const user = await userAt(scene, 1 - home);
  const friar = await connected(scene, 1 - home);
  await user.sends(chat('1'));
  await friar.hears('message');
  await scene.stage.nodes[home]!.stop();
  // Its domain moves before the node closes its streams.
  await friar.hearsStreamError('reset');
  const again = await connected(scene, 1 - home);
  await user.sends(chat('2'));
  assert.equal((await again.hears('message')).attrs.id, '2');
  again.socket.destroy();
});
