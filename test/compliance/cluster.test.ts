/** Two nodes of one cluster: accounts that live at one talk to those, rooms and the server at the other. */
import assert from 'node:assert/strict';
import { Jid } from '../../src/server/address/jid.js';
import { NS } from '../../src/server/stanza/ns.js';
import { MemoryStorage } from '../../src/storage/memory.js';
import { around } from '../../src/storage/wrappers.js';
import { type Peer, type ScenarioOptions, type Scene, scenario } from './dialogue.js';
import { logsInAnonymously } from './phrases.js';
import { founds, joins } from './rooms.js';

const two: ScenarioOptions = { nodes: 2 };

/** Names of accounts or rooms that live at the node, the first `count` of them. */
function living({ stage }: Scene, at: number, count: number, domain = 'localhost'): string[] {
  const names: string[] = [];
  for (let n = 0; names.length < count; n++) {
    const address = `user${n}@${domain}`;
    if (stage.home(address) === stage.nodes[at]) names.push(address);
  }
  return names;
}

/** One actor at each node. */
async function pair(scene: Scene, presence?: true): Promise<[Peer, Peer]> {
  const [romeo] = living(scene, 0, 1);
  const [juliet] = living(scene, 1, 1);
  const options = presence === undefined ? {} : { presence };
  return [await scene.actor(`${romeo}/orchard`, options), await scene.actor(`${juliet}/balcony`, options)];
}

const bareOf = ({ jid }: Peer): string => Jid.parse(jid).bare;

scenario('each account has one home, and sessions only there', two, async (scene) => {
  const [romeo, juliet] = await pair(scene);
  for (const [peer, at] of [
    [romeo, 0],
    [juliet, 1],
  ] as const) {
    const homes = scene.stage.nodes.map((node) => node.sessions.of(bareOf(peer)).length);
    assert.deepEqual(homes, at === 0 ? [1, 0] : [0, 1]);
  }
});

scenario('messages between nodes arrive in order', two, async (scene) => {
  const [romeo, juliet] = await pair(scene, true);
  for (let n = 0; n < 50; n++)
    await romeo.sends(
      `<message to='${bareOf(juliet)}' type='chat' id='m${n}'><body>${n} ä😀 &lt;&amp;"'</body></message>`,
    );
  for (let n = 0; n < 50; n++)
    await juliet.receives(`<message from='${romeo.jid}' to='${bareOf(juliet)}' type='chat' id='m${n}'>
      <body>${n} ä😀 &lt;&amp;"'</body></message>`);
  await juliet.sends(`<message to='${romeo.jid}' type='chat' id='back' xml:lang='it'><body>ciao</body></message>`);
  await romeo.receives(`<message from='${juliet.jid}' to='${romeo.jid}' type='chat' id='back' xml:lang='it'>
    <body>ciao</body></message>`);
});

scenario('responses find their requests', two, async (scene) => {
  const [romeo, juliet] = await pair(scene, true);
  await juliet.sends(`<message to='${bareOf(romeo)}' id='known'><body>ask me</body></message>`);
  await romeo.receives(`<message from='${juliet.jid}' id='known'/>`);
  await romeo.sends(`<iq type='get' to='${juliet.jid}' id='q'><query xmlns='urn:example:question'/></iq>`);
  await juliet.receives(`<iq type='get' from='${romeo.jid}' to='${juliet.jid}' id='q'>
    <query xmlns='urn:example:question'/></iq>`);
  await juliet.sends(`<iq type='result' to='${romeo.jid}' id='q'><query xmlns='urn:example:question' n='7'/></iq>`);
  await romeo.receives(`<iq type='result' from='${juliet.jid}' to='${romeo.jid}' id='q'>
    <query xmlns='urn:example:question' n='7'/></iq>`);
  // The server has one home, and answers users of both nodes.
  for (const peer of [romeo, juliet]) {
    await peer.sends(`<iq type='get' to='localhost' id='v'><query xmlns='jabber:iq:version'/></iq>`);
    await peer.receives(`<iq type='result' from='localhost' to='${peer.jid}' id='v'>
      <query xmlns='jabber:iq:version'><name>Waxwing</name></query></iq>`);
  }
});

scenario('the home reports that an account does not exist', two, async (scene) => {
  const [romeo, juliet] = await pair(scene);
  const nobody = living(scene, 1, 9)[8]!;
  await romeo.sends(`<message to='${nobody}' id='m' type='chat'><body>anybody?</body></message>`);
  await romeo.receives(`<message type='error' from='${nobody}' to='${romeo.jid}' id='m'>
    <error type='cancel'><service-unavailable xmlns='${NS.stanzas}'/></error></message>`);
  await romeo.sends(`<iq type='get' to='${bareOf(juliet)}/gone' id='q'><ping xmlns='${NS.ping}'/></iq>`);
  await romeo.receives(`<iq type='error' from='${bareOf(juliet)}/gone' to='${romeo.jid}' id='q'>
    <error type='cancel'><service-unavailable xmlns='${NS.stanzas}'/></error></iq>`);
});

scenario('users of both nodes meet in a room, wherever its home is', two, async (scene) => {
  const [romeo, juliet] = await pair(scene, true);
  for (const at of [0, 1]) {
    const room = living(scene, at, 1, 'conference.localhost')[0]!;
    const local = Jid.parse(room).local!;
    await founds(romeo, local, 'romeo');
    await juliet.sends(joins(`${room}/juliet`));
    await romeo.receives(`<presence from='${room}/juliet' to='${romeo.jid}'/>`);
    await juliet.receives(`<presence from='${room}/romeo' to='${juliet.jid}'/>`);
    await juliet.receives(`<presence from='${room}/juliet' to='${juliet.jid}'>
      <x xmlns='${NS.mucUser}'><status code='110'/></x></presence>`);
    await juliet.receives(`<message from='${room}' type='groupchat'><subject/></message>`);
    await juliet.sends(`<message to='${room}' type='groupchat' id='g'><body>good even</body></message>`);
    for (const peer of [romeo, juliet])
      await peer.receives(`<message from='${room}/juliet' to='${peer.jid}' type='groupchat' id='g'>
        <body>good even</body></message>`);
    await juliet.sends(`<presence type='unavailable' to='${room}/juliet'/>`);
    await romeo.receives(`<presence type='unavailable' from='${room}/juliet'/>`);
    await juliet.receives(`<presence type='unavailable' from='${room}/juliet'/>`);
    await romeo.sends(`<presence type='unavailable' to='${room}/romeo'/>`);
    await romeo.receives(`<presence type='unavailable' from='${room}/romeo'/>`);
  }
});

scenario('every node lists the rooms of all nodes', two, async (scene) => {
  const [romeo, juliet] = await pair(scene, true);
  const rooms = [0, 1].flatMap((at) => living(scene, at, 2, 'conference.localhost'));
  const listed = async (peer: Peer, ...wanted: string[]) => {
    await scene.stage.settle();
    for (const node of scene.stage.nodes)
      assert.deepEqual(
        node
          .host('localhost')!
          .provided('rooms')!
          .list({ limit: 10 })
          .map(({ jid }) => jid.bare),
        [...wanted].sort(),
      );
    await peer.sends(`<iq type='get' id='d' to='conference.localhost'><query xmlns='${NS.discoItems}'/></iq>`);
    const items = wanted.map((jid) => `<item jid='${jid}'/>`).join('');
    await peer.receives(`<iq type='result' id='d'><query xmlns='${NS.discoItems}'>${items}</query></iq>`);
  };
  for (const room of rooms) await founds(juliet, Jid.parse(room).local!, 'juliet');
  await listed(romeo, ...rooms);
  await listed(juliet, ...rooms);
  for (const room of rooms.splice(1, 2)) {
    await juliet.sends(`<iq type='set' id='x' to='${room}'>
      <query xmlns='${NS.mucOwner}'><destroy/></query></iq>`);
    await juliet.receives(`<presence type='unavailable' from='${room}/juliet'/>`);
    await juliet.receives(`<iq type='result' id='x' from='${room}'/>`);
  }
  await listed(romeo, ...rooms);
});

scenario('a message for an offline account is stored at the home', two, async (scene) => {
  const [romeo, juliet] = await pair(scene, true);
  const address = bareOf(juliet);
  await juliet.sends("<presence type='unavailable'/>");
  await scene.stage.settle();
  juliet.forgets();
  await romeo.sends(`<message to='${address}' type='chat' id='later'><body>later</body></message>`);
  await romeo.receivesNothing();
  await juliet.sends('<presence/>');
  await juliet.receives(`<presence from='${juliet.jid}'/>`);
  await juliet.receives(`<message from='${romeo.jid}' type='chat' id='later'><body>later</body>
    <delay xmlns='urn:xmpp:delay'/></message>`);
});

/** Holds back the writes of one archive until the test releases them. */
class SlowArchive {
  owner = '';
  #open = (): void => {};
  readonly #isOpen = new Promise<void>((resolve) => {
    this.#open = resolve;
  });

  open(): void {
    this.#open();
  }

  readonly storage = (): MemoryStorage => {
    const slow = this;
    return new (class extends MemoryStorage {
      override handle(): MemoryStorage {
        const inner = super.handle();
        const wrapped = around(inner, async ({ operation }, run, [owner]) => {
          const result = await run();
          if (operation === 'append' && owner === slow.owner) await slow.#isOpen;
          return result;
        });
        return wrapped as unknown as MemoryStorage;
      }
    })();
  };
}

const slow = new SlowArchive();
scenario(
  'a message is acknowledged once it is durable at the other node',
  { ...two, storage: slow.storage },
  async (scene) => {
    const [romeo, juliet] = await pair(scene, true);
    slow.owner = bareOf(juliet);
    await romeo.sends(`<enable xmlns='${NS.sm}'/>`);
    await romeo.receives(`<enabled xmlns='${NS.sm}'/>`);
    await romeo.sends(`<message to='${bareOf(juliet)}' type='chat' id='m'><body>kept?</body></message>`);
    await juliet.receives(`<message from='${romeo.jid}' type='chat' id='m'/>`);
    await romeo.sends(`<r xmlns='${NS.sm}'/>`);
    for (let n = 0; n < 50; n++) await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(romeo.forgets(), []);
    slow.open();
    await romeo.receives(`<a xmlns='${NS.sm}' h='1'/>`);
  },
);

scenario(
  'an anonymous account has its home where its client connects',
  { ...two, config: { auth: { anonymous: true } } },
  async (scene) => {
    const { stage } = scene;
    for (const node of stage.nodes)
      for (let times = 0; times < 5; times++) {
        const peer = await logsInAnonymously(() => scene.connect({ transport: 'tcp', port: stage.port('c2s', node) }));
        assert.equal(stage.home(peer.jid), node);
      }
  },
);

scenario('accounts are read and changed at their home', two, async (scene) => {
  const [here] = living(scene, 0, 1);
  const [account] = living(scene, 1, 1).map((address) => Jid.parse(address));
  const [one, other] = scene.stage.nodes.map(({ accounts }) => accounts);
  const peer = await scene.actor(`${account!.bare}/balcony`);
  assert.equal(await one!.exists(account!.bare), true);
  assert.equal(typeof (await one!.lastLogin(account!.bare)), 'number');
  await one!.setRole(account!.bare, 'admin');
  assert.equal((await other!.get(account!.bare))?.role, 'admin');
  assert.deepEqual(await one!.get(account!.bare), await other!.get(account!.bare));
  await assert.rejects(one!.create(account!, 'a password'), { failure: 'conflict' });
  await assert.rejects(one!.setPassword(account!.bare, 'x'), { failure: 'password-too-short' });
  await one!.disable(account!.bare);
  await peer.closed('not-authorized');
  await one!.enable(account!.bare);
  assert.equal(await one!.remove(account!.bare), true);
  assert.equal(await one!.remove(account!.bare), false);
  assert.equal(await other!.exists(account!.bare), false);
  // An account that is made from here, with keys or a password, lives there all the same.
  await one!.create(account!, 'a password', { role: 'admin' });
  assert.equal((await other!.get(account!.bare))?.role, 'admin');
  await one!.remove(account!.bare);
  assert.equal(await other!.exists(here!), false);
});

scenario('after an orderly leave, the accounts of a node have another home', two, async (scene) => {
  const [, juliet] = await pair(scene, true);
  const address = bareOf(juliet);
  const [first, second] = scene.stage.nodes;
  await second!.stop();
  while (first!.node!.view.members.length > 1) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(scene.stage.home(address), first);
  scene.stage.nodes = [first!];
  const again = await scene.actor(`${address}/balcony`, { presence: true });
  await again.sends(`<message to='${address}/balcony' id='self'><body>here</body></message>`);
  await again.receives(`<message to='${address}/balcony' id='self'><body>here</body></message>`);
});
