/** Block lists that others publish (XEP-0060): fetched, followed, and heeded in rooms and against strangers. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { Jid } from '../../src/server/address/jid.js';
import { defineModule } from '../../src/server/module/index.js';
import { NS } from '../../src/server/stanza/ns.js';
import { MemoryStorage } from '../../src/storage/memory.js';
import { type Peer, type Scene, scenario } from './dialogue.js';
import { refusal } from './phrases.js';
import { configure, owner, pubsub } from './pubsub.js';
import { founds, grants, item, joins, service } from './rooms.js';

const node = 'muc_bans_sha256';
const source = 'pubsub.elsewhere.example';
const hash = (text: string) => createHash('sha256').update(text).digest('hex');
const config = (more: object = {}) => ({
  modules: { rtbl: { lists: [`${source}/${node}`], ...more }, strangers: { local_users: 'strangers' } },
});
const room = `hall@${service}`;

async function does(peer: Peer, request: string): Promise<void> {
  await peer.sends(request);
  await peer.receives(`<iq type='result' id='p'/>`);
}

const publishes = (peer: Peer, id: string) =>
  does(
    peer,
    pubsub(
      'set',
      `<publish node='${node}'><item id='${id}'><report xmlns='${NS.reporting}' reason='urn:xmpp:reporting:spam'/></item></publish>`,
      source,
    ),
  );
const retracts = (peer: Peer, id: string) =>
  does(peer, pubsub('set', `<retract node='${node}' notify='true'><item id='${id}'/></retract>`, source));

/** The publisher of the list with these items, which the server has fetched. */
async function keeper({ actor, server }: Scene, ...listed: string[]): Promise<Peer> {
  const peer = await actor('keeper@elsewhere.example/tower');
  await does(peer, pubsub('set', `<create node='${node}'/>`, source));
  await does(peer, configure(node, { access_model: 'open', max_items: 'max' }, source));
  for (const who of listed) await publishes(peer, hash(who));
  await server.host('localhost')!.provided('blockLists')!.sync();
  return peer;
}

const isOut = async (peer: Peer, nick: string) => {
  await peer.sends(joins(`${room}/${nick}`));
  await peer.receives(`<presence type='error' from='${room}/${nick}'>${refusal('auth', 'forbidden')}</presence>`);
};
const isIn = async (peer: Peer, nick: string) => {
  await peer.sends(joins(`${room}/${nick}`));
  await peer.syncs();
  const seen = peer.forgets().map(String).join();
  assert.match(seen, /code="110"/, seen);
};

scenario('listed accounts and domains cannot join rooms', { config: config(), alone: true }, async (scene) => {
  const { actor } = scene;
  await keeper(scene, 'tybalt@localhost', 'elsewhere.example');
  const nurse = await actor('nurse@localhost/kitchen');
  await founds(nurse, 'hall', 'nurse');
  await isOut(await actor('tybalt@localhost/street'), 'tybalt');
  await isOut(await actor('paris@elsewhere.example/street'), 'paris');
  await isIn(await actor('juliet@localhost/balcony'), 'juliet');
  const metrics = await scene.server.metrics.text();
  assert.match(metrics.text, /waxwing_rtbl_refused_total 2/);
});

scenario("addresses on a room's own lists are not affected", { config: config(), alone: true }, async (scene) => {
  const { actor } = scene;
  await keeper(scene, 'tybalt@localhost');
  const nurse = await actor('nurse@localhost/kitchen');
  await founds(nurse, 'hall', 'nurse');
  await grants(nurse, 'hall', 'tybalt@localhost', 'member');
  await isIn(await actor('tybalt@localhost/street'), 'tybalt');
});

scenario('XEP-0060 §7.1.2, §7.2.2: changes apply immediately', { config: config(), alone: true }, async (scene) => {
  const { actor, stage } = scene;
  const peer = await keeper(scene);
  const nurse = await actor('nurse@localhost/kitchen', { presence: true });
  await founds(nurse, 'hall', 'nurse');
  const tybalt = await actor('tybalt@localhost/street', { presence: true });
  await isIn(tybalt, 'tybalt');
  nurse.forgets();
  await publishes(peer, hash('tybalt@localhost').toUpperCase());
  await stage.settle();
  // a present occupant loses their voice
  await tybalt.sends(`<message id='m' type='groupchat' to='${room}'><body>x</body></message>`);
  await tybalt.receives(`<message id='m' type='error'>${refusal('auth', 'forbidden')}</message>`);
  await tybalt.sends(`<message id='m' type='chat' to='${room}/nurse'><body>x</body></message>`);
  await tybalt.receives(`<message id='m' type='error'>${refusal('auth', 'forbidden')}</message>`);
  const again = await actor('tybalt@localhost/square');
  await isOut(again, 'tybalt');
  await retracts(peer, hash('tybalt@localhost').toUpperCase());
  await stage.settle();
  await isIn(again, 'tybalt');
});

scenario('XEP-0060 §8.4, §8.5: an emptied list, a removed list', { config: config(), alone: true }, async (scene) => {
  const { actor, stage } = scene;
  const peer = await keeper(scene, 'tybalt@localhost');
  const nurse = await actor('nurse@localhost/kitchen');
  await founds(nurse, 'hall', 'nurse');
  const tybalt = await actor('tybalt@localhost/street');
  await isOut(tybalt, 'tybalt');
  await does(peer, owner('set', `<purge node='${node}'/>`, source));
  await stage.settle();
  await isIn(tybalt, 'tybalt');
  await tybalt.sends(`<presence type='unavailable' to='${room}/tybalt'/>`);
  await tybalt.syncs();
  tybalt.forgets();
  await publishes(peer, hash('tybalt@localhost'));
  await stage.settle();
  await isOut(tybalt, 'tybalt');
  await does(peer, owner('set', `<delete node='${node}'/>`, source));
  await stage.settle();
  await isIn(tybalt, 'tybalt');
});

scenario('only the publishing service can change the list', { config: config(), alone: true }, async (scene) => {
  const { actor, stage } = scene;
  await keeper(scene);
  const nurse = await actor('nurse@localhost/kitchen');
  await founds(nurse, 'hall', 'nurse');
  const liar = await actor('liar@elsewhere.example/x');
  await liar.sends(`<message to='localhost' type='headline'><event xmlns='${NS.pubsubEvent}'><items node='${node}'>
    <item id='${hash('juliet@localhost')}'/></items></event></message>`);
  await stage.settle();
  await isIn(await actor('juliet@localhost/balcony'), 'juliet');
});

const lasting = new MemoryStorage();
/** Whether Paris is listed when modules start, by node: no list is fetched before all of them have. */
const isParisListed: boolean[] = [];
const early = defineModule({
  name: 'early',
  summary: 'Looks at block lists when it starts.',
  implements: {},
  needs: ['blockLists'],
  start: ({ host, services: { blockLists } }) => {
    if (host.domain === 'localhost') isParisListed.push(blockLists.isListed(Jid.parse('paris@localhost'), 'rooms'));
    return [];
  },
});
scenario(
  'a list is available after a restart, and fetched again',
  { config: config(), storage: () => lasting, modules: [early], stays: 'about a restart' },
  async (scene) => {
    const { actor, stage } = scene;
    const peer = await keeper(scene, 'tybalt@localhost', 'paris@localhost');
    peer.cut();
    const isListed = (bare: string) =>
      scene.server
        .host('localhost')!
        .provided('blockLists')!
        .isListed({ bare, domain: 'localhost' } as never, 'rooms');
    isParisListed.length = 0;
    await stage.restart(async (storage) => {
      // As if it had been removed while the server was not subscribed
      const items = storage.map('pubsub_items');
      const [key] = [...(await items.all(source)).keys()].filter((one) => one.includes(hash('paris@localhost')));
      await items.delete(source, [key!]);
    });
    assert.deepEqual(
      isParisListed,
      stage.nodes.map(() => true),
      'before it has asked',
    );
    await scene.server.host('localhost')!.provided('blockLists')!.sync();
    assert.equal(isListed('paris@localhost'), false);
    assert.equal(isListed('tybalt@localhost'), true);
    const again = await actor('keeper@elsewhere.example/tower');
    await publishes(again, hash('iago@localhost'));
    await stage.settle();
    assert.equal(isListed('iago@localhost'), true, 'told of changes again');
  },
);

scenario('a missing list, and items that are not hashes', { config: config(), alone: true }, async (scene) => {
  const blockLists = scene.server.host('localhost')!.provided('blockLists');
  await blockLists!.sync();
  const peer = await keeper(scene);
  await publishes(peer, 'tybalt@localhost');
  await blockLists!.sync();
  const nurse = await scene.actor('nurse@localhost/kitchen');
  await founds(nurse, 'hall', 'nurse');
  await isIn(await scene.actor('tybalt@localhost/street'), 'tybalt');
});

scenario('a listed local domain is ignored', { config: config(), alone: true }, async (scene) => {
  await keeper(scene, 'localhost');
  const nurse = await scene.actor('nurse@localhost/kitchen');
  await nurse.sends(joins(`${room}/nurse`));
  await nurse.receives(
    `<presence from='${room}/nurse'><x xmlns='${NS.mucUser}'>${item('owner', 'moderator')}</x></presence>`,
  );
});

scenario('entries are limited', { config: config({ max_items: 2 }), alone: true }, async (scene) => {
  await keeper(scene, 'a@localhost', 'b@localhost', 'c@localhost');
  const listed = ['a', 'b', 'c'].filter((local) =>
    scene.server
      .host('localhost')!
      .provided('blockLists')!
      .isListed({ bare: `${local}@localhost`, domain: 'localhost' } as never, 'rooms'),
  );
  assert.equal(listed.length, 2);
});

scenario(
  'listed unknown senders are refused if configured',
  { config: config({ strangers: true, rooms: false }), alone: true },
  async (scene) => {
    const { actor } = scene;
    await keeper(scene, 'tybalt@localhost');
    const juliet = await actor('juliet@localhost/balcony', { presence: true });
    const tybalt = await actor('tybalt@localhost/street', { presence: true });
    const romeo = await actor('romeo@localhost/orchard', { presence: true });
    await tybalt.sends(`<message id='m' type='chat' to='juliet@localhost'><body>x</body></message>`);
    await tybalt.receives(`<message id='m' type='error'>${refusal('cancel', 'policy-violation')}</message>`);
    await tybalt.sends(`<presence id='s' type='subscribe' to='juliet@localhost'/>`);
    await tybalt.receives(
      `<presence id='s' type='error' from='juliet@localhost'>${refusal('cancel', 'policy-violation')}</presence>`,
    );
    await romeo.sends(`<message id='m' type='chat' to='juliet@localhost'><body>x</body></message>`);
    await juliet.receives(`<message id='m' type='chat'/>`);
    // romeo is her contact
    await juliet.sends(`<message id='m' type='chat' to='tybalt@localhost'><body>x</body></message>`);
    await tybalt.receives(`<message id='m' type='chat'/>`);
    await tybalt.sends(`<message id='y' type='chat' to='juliet@localhost'><body>x</body></message>`);
    await juliet.receives(`<message id='y' type='chat'/>`);
    const nurse = await actor('nurse@localhost/kitchen');
    await founds(nurse, 'hall', 'nurse');
    await isIn(tybalt, 'tybalt');
  },
);

scenario('XEP-0059: a list of several pages', { config: config(), alone: true }, async (scene) => {
  const peer = await keeper(scene);
  for (let at = 0; at < 450; at++) await publishes(peer, hash(`u${at}@localhost`));
  // Changes received meanwhile are dropped: the server has to fetch the list.
  await scene.stage.restart(async (storage) => storage.map('rtbl').forget('localhost'));
  const blockLists = scene.server.host('localhost')!.provided('blockLists')!;
  await blockLists.sync();
  for (let at = 0; at < 450; at++)
    assert.ok(blockLists.isListed({ bare: `u${at}@localhost`, domain: 'localhost' } as never, 'rooms'), String(at));
});
