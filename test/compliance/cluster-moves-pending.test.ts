/**
 * What is pending while an address moves to another node of the cluster: requests to it, acknowledgements that it is owed,
 * data that has been read.
 */
import assert from 'node:assert/strict';
import { z } from 'zod';
import { Jid } from '../../src/server/address/jid.js';
import { moves as addressMoves, admit, defineModule, iq } from '../../src/server/module/index.js';
import { Outbox } from '../../src/server/routing/outbox.js';
import { NS } from '../../src/server/stanza/ns.js';
import { Stanza } from '../../src/server/stanza/stanza.js';
import type { ClientStream } from '../../src/server/stream/c2s/client.js';
import { el } from '../../src/server/xml/element.js';
import { connectionOf, type Peer, type ScenarioOptions, type Scene, scenario } from './dialogue.js';
import { living, moves } from './moves.js';
import { unlimitedRate } from './phrases.js';

const ns = 'urn:example:curious';

/** Asks a client, for another one. */
const curious = defineModule({
  name: 'curious',
  summary: 'Asks clients for clients.',
  implements: {},
  start: ({ host }) => [
    iq.get('server', ns, 'asks', async ({ payload }) => {
      const request = Stanza.build(
        'iq',
        { type: 'get', to: Jid.parse(payload.attrs.of ?? '') },
        el('asked', { xmlns: ns }),
      );
      const answer = await host.ask(request);
      return el('answered', { xmlns: ns }, answer.child(ns, 'reply')?.getText());
    }),
  ],
});

const asking: ScenarioOptions = { nodes: 3, modules: [curious] };
const asks = (of: string) => `<iq type='get' id='q' to='localhost'><asks xmlns='${ns}' of='${of}'/></iq>`;

/** Romeo at the first node, Juliet at the second. */
async function couple(scene: Scene): Promise<readonly [romeo: Peer, juliet: Peer, address: string]> {
  const [romeo, juliet] = [living(scene, 0, 1)[0]!, living(scene, 1, 1)[0]!];
  return [await scene.actor(`${romeo}/orchard`), await scene.actor(`${juliet}/balcony`), juliet];
}

/** Their requests are over everywhere. */
const nothingIsAsked = ({ stage }: Scene) =>
  assert.deepEqual(
    stage.nodes.map((node) => node.inspect().asks),
    stage.nodes.map(() => 0),
  );

scenario('a request to a client is answered once, wherever the client has moved', asking, async (scene) => {
  const [romeo, juliet, address] = await couple(scene);
  for (const route of [[0], [2], [2, 0], [2, 1], [0, 1, 2]]) {
    await romeo.sends(asks(juliet.jid));
    const { attrs } = await juliet.receives(`<iq type='get' from='localhost'><asked xmlns='${ns}'/></iq>`);
    for (const at of route) await moves(scene, address, at);
    await juliet.sends(`<iq type='result' id='${attrs.id}' to='localhost'><reply xmlns='${ns}'>yes</reply></iq>`);
    await romeo.receives(`<iq type='result' id='q'><answered xmlns='${ns}'>yes</answered></iq>`);
    // A second answer, and that of somebody else, change nothing.
    await juliet.sends(`<iq type='result' id='${attrs.id}' to='localhost'><reply xmlns='${ns}'>no</reply></iq>`);
    await romeo.receivesNothing();
    nothingIsAsked(scene);
    await moves(scene, address, 1);
  }
});

scenario('a request to a client that goes after it has moved ends at once', asking, async (scene) => {
  const [romeo, juliet, address] = await couple(scene);
  await romeo.sends(asks(juliet.jid));
  await juliet.receives(`<iq type='get' from='localhost'><asked xmlns='${ns}'/></iq>`);
  await moves(scene, address, 2);
  await juliet.closes();
  await juliet.isClosed();
  await romeo.receives(`<iq type='error' id='q'><error><recipient-unavailable xmlns='${NS.stanzas}'/></error></iq>`);
  nothingIsAsked(scene);
});

scenario('an answer that another client gives to a request that has moved is none', asking, async (scene) => {
  const [romeo, juliet, address] = await couple(scene);
  const other = await scene.actor(`${address}/garden`);
  await romeo.sends(asks(juliet.jid));
  const { attrs } = await juliet.receives(`<iq type='get' from='localhost'><asked xmlns='${ns}'/></iq>`);
  await moves(scene, address, 2);
  await other.sends(`<iq type='result' id='${attrs.id}' to='localhost'><reply xmlns='${ns}'>no</reply></iq>`);
  await other.syncs();
  await juliet.sends(`<iq type='result' id='${attrs.id}' to='localhost'><reply xmlns='${ns}'>yes</reply></iq>`);
  await romeo.receives(`<iq type='result' id='q'><answered xmlns='${ns}'>yes</answered></iq>`);
});

// --- XEP-0198 -------------------------------------------------------------------------------------------------------------

/** A queue to other servers without a stream: stanzas stay in it until the test takes them. */
function halted() {
  return new Outbox({
    bounds: () => ({ stanzas: 1000, bytes: 1_000_000 }),
    budget: { most: () => 1_000_000, used: 0 },
    limitHit() {},
    refuse() {},
    filled() {},
  });
}

const elsewhere = halted();

scenario(
  'XEP-0198 §4: what was handled before a move is acknowledged once it is sent',
  { nodes: 3, remote: elsewhere },
  async (scene) => {
    const [address] = living(scene, 1, 1);
    const juliet = await scene.actor(`${address}/balcony`);
    const r = `<r xmlns='${NS.sm}'/>`;
    const a = (h: number) => `<a xmlns='${NS.sm}' h='${h}'/>`;
    const pings = (id: string) => `<iq type='get' id='${id}' to='localhost'><ping xmlns='${NS.ping}'/></iq>`;
    const says = (id: number) => `<message to='friar@mantua' type='chat' id='${id}'><body>${id}</body></message>`;
    await juliet.sends(`<enable xmlns='${NS.sm}' resume='true'/>`);
    const { attrs } = await juliet.receives(`<enabled xmlns='${NS.sm}'/>`);
    await juliet.sends(`${pings('1')}${says(2)}${says(3)}`);
    await juliet.receives(`<iq type='result' id='1'/>`);
    await juliet.receives(r);
    await moves(scene, address!, 0);
    await juliet.sends(`${says(4)}${pings('5')}`);
    await juliet.receives(`<iq type='result' id='5'/>`);
    await moves(scene, address!, 2);
    await juliet.sends(`${pings('6')}${r}`);
    await juliet.receives(`<iq type='result' id='6'/>`);
    // The second and third are sent, the fourth is not.
    for (const id of ['2', '3']) {
      const parcel = elsewhere.take()!;
      assert.equal(parcel.stanza.id, id);
      parcel.sent();
    }
    // The answer is due when all are acknowledged; a resumption tells what is.
    await scene.stage.nodesAtRest();
    juliet.cut();
    elsewhere.take()!.sent();
    const again = await scene.known(address!, { node: 1 });
    await again.sends(`<resume xmlns='${NS.sm}' previd='${attrs.id}' h='3'/>`);
    await again.receives(`<resumed xmlns='${NS.sm}' previd='${attrs.id}' h='6'/>`);
    await again.sends(`${pings('7')}${r}`);
    await again.receives(`<iq type='result' id='7'/>`);
    await again.receives(r);
    await again.receives(a(7));
  },
);

/** Stanzas of its queue are sent in the middle of a move: when sessions have been described, and their account is still here. */
const sentLate = halted();
const sender = defineModule({
  name: 'sender',
  summary: 'Sends what is queued while the account moves.',
  implements: {},
  start: () => [
    addressMoves<null>({
      name: 'sender',
      schema: z.null(),
      describe() {
        for (let parcel = sentLate.take(); parcel !== undefined; parcel = sentLate.take()) parcel.sent();
        return [];
      },
      restore() {},
    }),
  ],
});

scenario(
  'XEP-0198 §4: what is sent in the middle of a move is acknowledged',
  { nodes: 2, remote: sentLate, modules: [sender] },
  async (scene) => {
    const [address] = living(scene, 1, 1);
    const juliet = await scene.actor(`${address}/balcony`);
    await juliet.sends(`<enable xmlns='${NS.sm}' resume='true'/>`);
    await juliet.receives(`<enabled xmlns='${NS.sm}'/>`);
    // Its domain has the same home, so nothing of it is under way between the nodes.
    const { nodes } = scene.stage;
    const domain = Array.from({ length: 100 }, (_, n) => `mantua${n}`).find(
      (one) => scene.stage.home(one) === nodes[1],
    )!;
    const pings = (id: string) => `<iq type='get' id='${id}' to='localhost'><ping xmlns='${NS.ping}'/></iq>`;
    await juliet.sends(`<message to='friar@${domain}' type='chat' id='1'><body>1</body></message>${pings('2')}`);
    await juliet.receives(`<iq type='result' id='2'/>`);
    await juliet.receives(`<r xmlns='${NS.sm}'/>`);
    await moves(scene, address!, 0);
    await juliet.sends(`${pings('3')}<r xmlns='${NS.sm}'/>`);
    await juliet.receives(`<iq type='result' id='3'/>`);
    // A request that is unanswered for long gets the present count.
    for (let h = 0; h < 3; ) h = Number((await juliet.receives(`<a xmlns='${NS.sm}'/>`)).attrs.h);
  },
);

scenario(
  'XEP-0198 §4: if a node is lost that has not sent it, the session ends',
  { nodes: 2, remote: halted(), alone: true, errors: true },
  async (scene) => {
    const [address] = living(scene, 1, 1);
    const juliet = await scene.actor(`${address}/balcony`, { node: 0 });
    await juliet.sends(`<enable xmlns='${NS.sm}' resume='true'/>`);
    await juliet.receives(`<enabled xmlns='${NS.sm}'/>`);
    await juliet.sends(`<message to='friar@mantua' type='chat' id='1'><body>1</body></message>`);
    await juliet.sends(`<r xmlns='${NS.sm}'/>`);
    await juliet.syncs();
    await moves(scene, address!, 0);
    await juliet.syncs();
    juliet.forgets();
    const [here, there] = scene.stage.nodes.map(({ node }) => node!);
    there!.kill();
    await here!.expel(there!.name.id);
    await juliet.receivesStreamError('reset');
  },
);

scenario('XEP-0198 §5: the final count of an ended session goes with the account', { nodes: 2 }, async (scene) => {
  const [address] = living(scene, 1, 1);
  const juliet = await scene.actor(`${address}/balcony`);
  await juliet.sends(`<enable xmlns='${NS.sm}' resume='true'/>`);
  const { attrs } = await juliet.receives(`<enabled xmlns='${NS.sm}'/>`);
  await juliet.sends('<presence/>');
  await juliet.receives('<presence/>');
  await juliet.receives(`<r xmlns='${NS.sm}'/>`);
  await juliet.closes();
  await juliet.isClosed();
  for (const at of [0, 1, 0]) {
    await moves(scene, address!, at);
    const again = await scene.known(address!);
    await again.sends(`<resume xmlns='${NS.sm}' previd='${attrs.id}' h='0'/>`);
    await again.receives(`<failed xmlns='${NS.sm}' h='1'><item-not-found xmlns='${NS.stanzas}'/></failed>`);
    again.cut();
  }
});

/** Each message takes some turns of the event loop. */
const slow = defineModule({
  name: 'slow',
  summary: 'Takes time.',
  implements: {},
  start: () => [
    admit(async ({ way }) => {
      for (let turn = 0; way === 'out' && turn < 200; turn++) await new Promise((resolve) => setImmediate(resolve));
    }),
  ],
});

scenario(
  'XEP-0198 §5: what a lost connection has left is handled once, and counted, though the account moves',
  { nodes: 2, modules: [slow] },
  async (scene) => {
    const [romeo, juliet] = [living(scene, 0, 1)[0]!, living(scene, 1, 1)[0]!];
    const near = await scene.actor(`${romeo}/orchard`, { presence: true });
    const far = await scene.actor(`${juliet}/balcony`, { node: 1 });
    await far.sends(`<enable xmlns='${NS.sm}' resume='true'/>`);
    const { attrs } = await far.receives(`<enabled xmlns='${NS.sm}'/>`);
    const ids = Array.from({ length: 8 }, (_, n) => `${n}`);
    const stanzas = ids.map((id) => `<message to='${near.jid}' type='chat' id='${id}'><body>${id}</body></message>`);
    await far.sends(stanzas.join(''));
    await near.receives(`<message from='${far.jid}' type='chat' id='0'/>`);
    const { xml } = connectionOf({ server: scene.stage.nodes[1]! }, far) as ClientStream;
    far.cut();
    while (!xml.isCut) await new Promise((resolve) => setImmediate(resolve));
    await moves(scene, juliet, 0);
    const again = await scene.known(juliet, { node: 1 });
    await again.sends(`<resume xmlns='${NS.sm}' previd='${attrs.id}' h='0'/>`);
    const answer = await again.receives(`<resumed xmlns='${NS.sm}' previd='${attrs.id}'/>`);
    await again.sends(stanzas.slice(Number(answer.attrs.h)).join(''));
    for (const id of ids.slice(1)) await near.receives(`<message from='${far.jid}' type='chat' id='${id}'/>`);
    await again.syncs();
    await near.receivesNothing();
  },
);

// --- data -----------------------------------------------------------------------------------------------------------------

scenario(
  'what a client has sent when its account moves is handled, however much it is',
  { nodes: 3, config: { limits: { rate: unlimitedRate, rate_account: unlimitedRate } } },
  async (scene) => {
    const [romeo, juliet] = [living(scene, 0, 1)[0]!, living(scene, 1, 1)[0]!];
    const near = await scene.actor(`${romeo}/orchard`, { presence: true });
    // Relayed, more than the window of a relayed stream, and closed at once.
    const far = await scene.actor(`${juliet}/balcony`, { node: 2 });
    const body = 'x'.repeat(2000);
    const ids = Array.from({ length: 300 }, (_, n) => n);
    await far.sends(
      ids.map((id) => `<message to='${near.jid}' type='chat' id='${id}'><body>${body}</body></message>`).join(''),
    );
    const moved = (async () => {
      for (const at of [0, 1, 0, 2, 1]) await moves(scene, juliet, at);
    })();
    await far.closes();
    for (const id of ids) await near.receives(`<message from='${far.jid}' type='chat' id='${id}'/>`);
    await moved;
    await far.isClosed();
  },
);
