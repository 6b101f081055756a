/**
 * XEP-0175: anonymous accounts leave no data, and a new one gives nobody more than one account has: limits are counted
 * by network address.
 */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import type { Storage } from '../../src/storage/contract.js';
import { type Peer, type Scene, scenario } from './dialogue.js';
import { logsInAnonymously } from './phrases.js';
import { configures, enters, founds, joins, service } from './rooms.js';

const configOf = (modules: Readonly<Record<string, unknown>> = {}) => ({ auth: { anonymous: true }, modules });

const localOf = (peer: Peer): string => peer.jid.slice(0, peer.jid.indexOf('@'));

/** The stores that contain the word in an owner, a key or a value. */
async function mentions(storage: Storage, word: string): Promise<string[]> {
  const found: string[] = [];
  for (const { shape, name } of await storage.stores()) {
    const store = storage[shape](name);
    for (const owner of await store.owners({ limit: 10_000 })) {
      const content =
        shape === 'document'
          ? await storage.document(name).get(owner)
          : shape === 'map'
            ? [...(await storage.map(name).all(owner))]
            : await storage.log(name).page(owner, { limit: 10_000 });
      if (`${owner} ${JSON.stringify(content)}`.includes(word)) found.push(`${name} of ${owner}`);
    }
  }
  return found;
}

async function isForgotten(scene: Scene, local: string): Promise<void> {
  const { server, stage } = scene;
  // A session that is moving would be at no node.
  await stage.nodesAtRest();
  while (server.inspect().sessions > 1 || server.inspect().anonymous > 0)
    await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(await mentions(server.storage, local), []);
}

async function asks(peer: Peer, to: string, payload: string): Promise<string> {
  await peer.sends(`<iq type='set' id='q' to='${to}'>${payload}</iq>`);
  await peer.syncs();
  return String(peer.forgets().find(({ attrs }) => attrs.id === 'q')?.attrs.type);
}

scenario(
  '§2: no store contains data of an anonymous account after its session',
  { config: configOf(), alone: true },
  async (scene) => {
    const romeo = await scene.actor('romeo@localhost/orchard');
    await founds(romeo, 'hall', 'romeo', { 'muc#roomconfig_persistentroom': '1' });
    const peer = await logsInAnonymously(scene.connect);
    const local = localOf(peer);
    const bare = `${local}@localhost`;

    // rooms: its own, one with other occupants, and one where it has an affiliation
    await founds(peer, 'mine', 'guest', { 'muc#roomconfig_persistentroom': '1' });
    await founds(peer, 'shared', 'guest', { 'muc#roomconfig_persistentroom': '1' });
    await enters(romeo, 'shared', 'romeo');
    await enters(peer, 'hall', 'guest');
    for (const room of ['mine', 'shared', 'hall']) {
      await peer.sends(`<message to='${room}@${service}' type='groupchat'><body>hello</body></message>`);
      await peer.sends(`<iq type='set' id='q' to='${room}@${service}'><query xmlns='${NS.register}'>
      <x xmlns='${NS.dataForms}' type='submit'><field var='FORM_TYPE'><value>${NS.register}</value></field>
      <field var='muc#register_roomnick'><value>guest</value></field></x></query></iq>`);
    }
    await asks(
      romeo,
      `hall@${service}`,
      `<query xmlns='${NS.mucAdmin}'><item affiliation='admin' jid='${bare}'/></query>`,
    );
    await asks(peer, `hall@${service}`, `<request xmlns='${NS.mucToken}'/>`);
    await asks(peer, `shared@${service}`, `<request xmlns='${NS.mucToken}'/>`);
    await peer.sends(`<presence to='${service}'><rai xmlns='${NS.rai}'/></presence>`);

    // nodes: its own at the service and at its account, and one of romeo's that all may publish to
    const publishModel = `<publish-options><x xmlns='${NS.dataForms}' type='submit'><field var='FORM_TYPE'>
    <value>http://jabber.org/protocol/pubsub#publish-options</value></field>
    <field var='pubsub#access_model'><value>open</value></field>
    <field var='pubsub#publish_model'><value>open</value></field></x></publish-options>`;
    const publishing = (node: string) =>
      `<pubsub xmlns='${NS.pubsub}'><publish node='${node}'><item><x xmlns='test:x'/></item></publish>${publishModel}</pubsub>`;
    assert.equal(await asks(romeo, 'pubsub.localhost', publishing('open')), 'result');
    assert.equal(await asks(peer, 'pubsub.localhost', publishing('open')), 'error');
    assert.equal(await asks(peer, 'pubsub.localhost', publishing('mine')), 'result');
    await asks(peer, bare, publishing('pep'));
    await asks(
      peer,
      'pubsub.localhost',
      `<pubsub xmlns='${NS.pubsub}'><subscribe node='open' jid='${bare}'/></pubsub>`,
    );

    // data that the account stores, and shares with others
    for (const payload of [
      `<query xmlns='${NS.private}'><kept xmlns='test:kept'/></query>`,
      `<query xmlns='${NS.roster}'><item jid='romeo@localhost'/></query>`,
      `<vCard xmlns='${NS.vcardTemp}'><FN>Nobody</FN></vCard>`,
      `<block xmlns='${NS.blocking}'><item jid='tybalt@localhost'>
      <report xmlns='${NS.reporting}' reason='urn:xmpp:reporting:spam'/></item></block>`,
    ])
      await asks(peer, bare, payload);
    await peer.sends(`<presence to='romeo@localhost'/>`);
    await peer.syncs();
    assert.ok((await mentions(scene.server.storage, local)).length > 0);

    await romeo.forgets();
    await peer.closes();
    await isForgotten(scene, local);
    await romeo.syncs();
    // The room with other occupants is destroyed with the last of them, because it has no owner.
    await romeo.sends(`<presence to='shared@${service}/romeo' type='unavailable'/>`);
    await romeo.syncs();
    assert.ok((await scene.server.storage.document('muc_rooms').owners({ limit: 10 })).includes(`hall@${service}`));
    assert.ok(!(await scene.server.storage.document('muc_rooms').owners({ limit: 10 })).includes(`mine@${service}`));
  },
);

scenario(
  'rooms of anonymous accounts from one address are counted together, and none remains',
  { config: configOf({ muc: { rooms_per_user: 5 } }), alone: true },
  async (scene) => {
    const peers: Peer[] = [];
    let made = 0;
    for (let n = 0; n < 24; n++) {
      const peer = await logsInAnonymously(scene.connect);
      peers.push(peer);
      await peer.sends(joins(`r${n}@${service}/guest`));
      await peer.syncs();
      if (peer.forgets().some(({ name, attrs }) => name === 'presence' && attrs.type === undefined)) {
        made++;
        await configures(peer, `r${n}`, { 'muc#roomconfig_persistentroom': '1' });
      }
    }
    assert.equal(made, 5);
    // Others are not concerned.
    const romeo = await scene.actor('romeo@localhost/orchard');
    await founds(romeo, 'hall', 'romeo');
    for (const peer of peers) await peer.closes();
    const { server, stage } = scene;
    await stage.nodesAtRest();
    while (server.inspect().sessions > 1 || server.inspect().anonymous > 0)
      await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(await server.storage.document('muc_rooms').owners({ limit: 100 }), [`hall@${service}`]);
  },
);

scenario(
  'a room is deleted with the anonymous account that owned it, if nobody else is on its lists',
  { alone: true },
  async ({ actor, server }) => {
    for (const name of ['tybalt', 'paris']) {
      const owner = await actor(`${name}@localhost/street`);
      await founds(owner, name, name, { 'muc#roomconfig_persistentroom': '1' });
    }
    const paris = await actor('paris@localhost/street');
    await asks(
      paris,
      `paris@${service}`,
      `<query xmlns='${NS.mucAdmin}'><item affiliation='member' jid='romeo@localhost'/></query>`,
    );
    for (const name of ['tybalt', 'paris']) await server.accounts.remove(`${name}@localhost`);
    const stays = async () => (await server.storage.document('muc_rooms').owners({ limit: 10 })).join();
    while ((await stays()) !== `paris@${service}`) await new Promise((resolve) => setImmediate(resolve));
  },
);
