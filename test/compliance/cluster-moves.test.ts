/**
 * Accounts and rooms that move to another node of the cluster, with the sessions and occupants that they have: nobody
 * notices. The other dialogues run in this way with WAXWING_MOVING=SEED.
 */
import assert from 'node:assert/strict';
import { Jid } from '../../src/server/address/jid.js';
import { LocalNetwork } from '../../src/server/cluster/local-link.js';
import { NS } from '../../src/server/stanza/ns.js';
import { type Peer, type ScenarioOptions, scenario, type TransportName } from './dialogue.js';
import { living, moves } from './moves.js';
import { enters, founds, joins } from './rooms.js';

const two: ScenarioOptions = { nodes: 2 };
const three: ScenarioOptions = { nodes: 3 };
/** For dialogues that lose a node. */
const ownTwo: ScenarioOptions = { nodes: 2, alone: true, errors: true };

const transports: readonly TransportName[] = ['tcp', 'starttls', 'tls', 'websocket', 'wss', 'bosh'];

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

for (const isManaged of [false, true]) {
  const slow = new LocalNetwork();
  scenario(
    `a session moves on before its connection has followed it${isManaged ? ': XEP-0198' : ''}`,
    { nodes: 3, alone: true, network: slow },
    async (scene) => {
      const [romeo] = living(scene, 0, 1);
      const [juliet] = living(scene, 1, 1);
      const near = await scene.actor(`${romeo}/orchard`, { presence: true, node: 0 });
      const far = await scene.actor(`${juliet}/balcony`, { presence: true, node: 2 });
      if (isManaged) await far.managesStream();
      for (const [round, route] of [
        [0, 1],
        [0, 2],
        [1, 0, 1],
        [2, 0],
        [1, 0, 2, 1],
      ].entries()) {
        const go = slow.halt('streams');
        const says = (id: string) => `<message to='${romeo}' type='chat' id='${id}'><body>${id}</body></message>`;
        const hears = (id: string) => `<message to='${juliet}' type='chat' id='${id}'><body>${id}</body></message>`;
        let sent = 0;
        for (const at of route) {
          await moves(scene, juliet!, at);
          await far.sends(says(`b${round}-${sent}`));
          await near.sends(hears(`a${round}-${sent++}`));
        }
        go();
        for (let n = 0; n < sent; n++) {
          await near.receives(`<message from='${far.jid}' type='chat' id='b${round}-${n}'/>`);
          await far.receives(`<message from='${near.jid}' type='chat' id='a${round}-${n}'/>`);
        }
      }
      // Each node has what it should, and nothing more.
      assert.deepEqual(
        scene.stage.nodes.map((node) => node.sessions.of(juliet!).length),
        [0, 1, 0],
      );
      await far.closes();
      await far.isClosed();
      await near.receivesNothing();
    },
  );
}

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

scenario(
  'XEP-0198 §5: who resumes while the account moves is to connect again, and keeps the session',
  two,
  async (scene) => {
    const [romeo] = living(scene, 0, 1);
    const client = await scene.actor(`${romeo}/orchard`);
    await client.sends(`<enable xmlns='${NS.sm}' resume='true'/>`);
    const { attrs } = await client.receives(`<enabled xmlns='${NS.sm}'/>`);
    client.cut();
    const resumes = `<resume xmlns='${NS.sm}' previd='${attrs.id}' h='0'/>`;
    const early = await scene.known(romeo!);
    await moves(scene, romeo!, 1);
    await early.sends(resumes);
    await early.receivesStreamError('resource-constraint');
    const again = await scene.known(romeo!);
    await again.sends(resumes);
    await again.receives(`<resumed xmlns='${NS.sm}' previd='${attrs.id}' h='0'/>`);
  },
);

scenario('messages under way while accounts move: none is lost, doubled or overtaken', two, async (scene) => {
  const [romeo] = living(scene, 0, 1);
  const [juliet] = living(scene, 1, 1);
  const near = await scene.actor(`${romeo}/orchard`, { presence: true, node: 0 });
  const far = await scene.actor(`${juliet}/balcony`, { presence: true, node: 0 });
  const count = 200;
  let isMoving = true;
  const moving = (async () => {
    for (let round = 0; isMoving; round++) await moves(scene, round % 3 === 0 ? romeo! : juliet!, round % 2);
  })();
  for (let n = 0; n < count; n++) {
    await near.sends(`<message to='${juliet}' type='chat' id='a${n}'><body>${n}</body></message>`);
    await far.sends(`<message to='${romeo}' type='chat' id='b${n}'><body>${n}</body></message>`);
    if (n % 20 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  for (let n = 0; n < count; n++) {
    await far.receives(`<message from='${near.jid}' type='chat' id='a${n}'><body>${n}</body></message>`);
    await near.receives(`<message from='${far.jid}' type='chat' id='b${n}'><body>${n}</body></message>`);
  }
  isMoving = false;
  await moving;
  for (const peer of [near, far]) await peer.receivesNothing();
});

scenario('a session stays where it is when the node that it was to move to is gone', ownTwo, async (scene) => {
  const [romeo] = living(scene, 0, 1);
  const client = await scene.actor(`${romeo}/orchard`, { presence: true, node: 0 });
  const [here, there] = scene.stage.nodes.map(({ node }) => node!);
  const jid = Jid.parse(romeo!);
  let finish!: () => void;
  here!.during(
    jid,
    new Promise<void>((resolve) => {
      finish = resolve;
    }),
  );
  const given = here!.give([here!.slotOf(jid)], there!.name.id);
  await client.sends(`<message to='${romeo}' type='chat' id='1'><body>note</body></message>`);
  there!.kill();
  await here!.expel(there!.name.id);
  finish();
  await given;
  await client.receives(`<message from='${client.jid}' type='chat' id='1'><body>note</body></message>`);
});

scenario(
  'RFC 6120 §4.9.3.15: when the new home dies, clients hear it, and nothing acknowledged is lost',
  ownTwo,
  async (scene) => {
    const [romeo, juliet] = living(scene, 0, 2);
    const near = await scene.actor(`${romeo}/orchard`, { presence: true, node: 0 });
    const far = await scene.actor(`${juliet}/balcony`, { presence: true, node: 0 });
    await near.managesStream();
    const [here, there] = scene.stage.nodes.map(({ node }) => node!);
    await moves(scene, juliet!, 1);
    far.stopsReading();
    await near.sends(`<message to='${juliet}' type='chat' id='1'><body>one</body></message><r xmlns='${NS.sm}'/>`);
    await near.receives(`<a xmlns='${NS.sm}' h='1'/>`);
    there!.kill();
    await here!.expel(there!.name.id);
    far.readsAgain();
    await far.receives(`<message type='chat' id='1'/>`);
    await far.receivesStreamError('remote-connection-failed');
    const again = await scene.actor(`${juliet}/balcony`, { node: 0 });
    await again.sends(`<iq type='set' id='q'><query xmlns='${NS.mam}'/></iq>`);
    await again.receives(`<message><result xmlns='${NS.mam}'><forwarded xmlns='${NS.forward}'>
    <message xmlns='jabber:client' type='chat' id='1'><body>one</body></message></forwarded></result></message>`);
    await again.receives(`<iq type='result' id='q'/>`);
  },
);

scenario('XEP-0191: blocked stanzas of a room remove nobody from it, wherever both have moved', two, async (scene) => {
  const room = 'garden@conference.localhost';
  const [name] = living(scene, 0, 1);
  const juliet = await scene.actor(`${living(scene, 1, 1)[0]}/balcony`, { presence: true });
  await founds(juliet, 'garden', 'juliet');
  const romeo = await scene.actor(`${name}/orchard`, { presence: true });
  await enters(romeo, 'garden', 'romeo');
  await romeo.sends(`<iq type='set' id='b'><block xmlns='${NS.blocking}'><item jid='${room}/juliet'/></block></iq>`);
  await romeo.receives(`<iq type='result' id='b'/>`);
  await scene.stage.settle();
  romeo.forgets();
  // Together at one node and at the other, and apart.
  for (const [userAt, roomAt] of [
    [0, 0],
    [1, 1],
    [1, 0],
    [0, 1],
  ] as const) {
    await moves(scene, name!, userAt);
    await moves(scene, room, roomAt);
    await juliet.sends(`<message type='groupchat' to='${room}'><body>hear me</body></message>`);
    await juliet.sends(`<message type='chat' to='${room}/romeo'><body>hear me</body></message>`);
    await romeo.receivesNothing();
  }
  // Who is gone is removed by the same error.
  romeo.cut();
  await juliet.sends(`<message type='chat' to='${room}/romeo'><body>hear me</body></message>`);
  await scene.stage.settle();
  const seen = juliet.forgets().map(String).join();
  assert.match(seen, /from="garden@conference.localhost\/romeo" type="unavailable"/, seen);
});

scenario('XEP-0045: a room of 30 occupants moves while they talk', two, async (scene) => {
  const room = 'garden@conference.localhost';
  const names = [...living(scene, 0, 15), ...living(scene, 1, 15)];
  const peers: Peer[] = [];
  for (const name of names) peers.push(await scene.actor(`${name}/x`, { presence: true, node: 0 }));
  const [owner] = peers;
  await founds(owner!, 'garden', 'n0');
  for (const [n, peer] of peers.entries()) if (n > 0) await peer.sends(joins(`${room}/n${n}`));
  await scene.stage.settle();
  for (const peer of peers) peer.forgets();
  for (let round = 0; round < 6; round++) {
    const moving = moves(scene, room, round % 2);
    for (const [n, peer] of peers.entries())
      if (n % 6 === round)
        await peer.sends(`<message to='${room}' type='groupchat' id='${n}'><body>${n}</body></message>`);
    await moving;
  }
  const wanted = peers.map(
    (_, n) => `<message from='${room}/n${n}' type='groupchat' id='${n}'><body>${n}</body></message>`,
  );
  for (const peer of peers) await peer.receivesAnyOrder(wanted);
  await peers[1]!.sends(`<presence type='unavailable' to='${room}/n1'/>`);
  for (const peer of peers) await peer.receives(`<presence type='unavailable' from='${room}/n1'/>`);
  await scene.stage.settle();
  for (const peer of peers) assert.deepEqual(peer.forgets(), []);
});

{
  const slow = new LocalNetwork();
  scenario(
    'XEP-0133 §4.5: a session is ended before its connection has followed it',
    { nodes: 2, alone: true, network: slow },
    async (scene) => {
      const [romeo] = living(scene, 0, 1);
      const client = await scene.actor(`${romeo}/orchard`, { presence: true, node: 0 });
      const go = slow.halt('streams');
      await moves(scene, romeo!, 1);
      const home = scene.stage.nodes[1]!;
      home.kick(home.sessions.find(Jid.parse(client.jid))!, 'It is late.');
      go();
      await client.receivesStreamError('policy-violation');
    },
  );
}

scenario(
  'RFC 6120 §8.2.3: an answer of an unknown sender is taken once, wherever it was asked for',
  { ...two, config: { modules: { strangers: { local_users: 'strangers', messages: 'refuse' } } } },
  async (scene) => {
    const [romeo, juliet] = living(scene, 0, 2);
    const asker = await scene.actor(`${juliet}/balcony`, { presence: true, node: 0 });
    const asked = await scene.actor(`${romeo}/orchard`, { presence: true, node: 0 });
    await asked.sends(`<presence to='${juliet}'/>`);
    await asked.syncs();
    await asker.sends(`<iq type='get' id='v' to='${asked.jid}'><query xmlns='${NS.version}'/></iq>`);
    await asked.receives(`<iq type='get' id='v'/>`);
    await moves(scene, juliet!, 1);
    const answer = `<iq type='result' id='v' to='${asker.jid}'><query xmlns='${NS.version}'/></iq>`;
    await asked.sends(answer);
    await asker.receives(`<iq type='result' id='v' from='${asked.jid}'/>`);
    await moves(scene, juliet!, 0);
    await asked.sends(answer);
    await asker.receivesNothing();
  },
);

scenario('XEP-0433 §4.2: a search finds a room that is moving', two, async (scene) => {
  const [hag] = living(scene, 0, 1);
  const client = await scene.actor(`${hag}/pda`, { presence: true, node: 0 });
  await founds(client, 'cave', 'witch', { 'muc#roomconfig_roomname': 'A dark place' });
  let isOver = false;
  const moving = (async () => {
    for (let round = 0; round < 10; round++) await moves(scene, 'cave@conference.localhost', round % 2);
    isOver = true;
  })();
  for (let n = 0; !isOver; n++) {
    await client.sends(`<iq type='get' id='${n}' to='conference.localhost'><search xmlns='${NS.channelSearchQuery}'>
      <x xmlns='${NS.dataForms}' type='submit'><field var='FORM_TYPE' type='hidden'>
        <value>${NS.channelSearch}:search-params</value></field><field var='q'><value>dark</value></field></x></search></iq>`);
    await client.receives(`<iq type='result' id='${n}'><result xmlns='${NS.channelSearchQuery}'>
      <item address='cave@conference.localhost'><nusers>1</nusers></item></result></iq>`);
  }
  await moving;
});
