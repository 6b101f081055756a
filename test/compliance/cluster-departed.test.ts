/**
 * RFC 6121 §4.5.2, §4.6.3: a node dies with sessions whose clients do not come back in time. The new homes of their
 * accounts tell contacts and rooms.
 */
import assert from 'node:assert/strict';
import { setImmediate as turn } from 'node:timers/promises';
import { keyOf } from '../../src/server/cluster/frames.js';
import { MemoryStorage } from '../../src/storage/memory.js';
import { around } from '../../src/storage/wrappers.js';
import { type Peer, type ScenarioOptions, type Scene, scenario } from './dialogue.js';
import { living } from './moves.js';
import { bareOf, befriends } from './phrases.js';
import { enters, founds } from './rooms.js';

const list = 'presence/visible';

/** Storage of a cluster, in which the lists of nodes that are gone are found when `open` is called. */
class Lists {
  data: MemoryStorage | undefined;
  #open = (): void => {};
  readonly #isOpen = new Promise<void>((resolve) => {
    this.#open = resolve;
  });

  open(): void {
    this.#open();
  }

  readonly storage = (): MemoryStorage => {
    const lists = this;
    this.data = new (class extends MemoryStorage {
      override handle(): MemoryStorage {
        const wrapped = around(super.handle(), async ({ operation, name }, run) => {
          if (operation === 'owners' && name === list) await lists.#isOpen;
          return run();
        });
        return wrapped as unknown as MemoryStorage;
      }
    })();
    return this.data;
  };

  /** By full address, the addresses with directed presence of each session. */
  async of({ stage }: Scene, at: number): Promise<Map<string, readonly string[]>> {
    const owner = `${keyOf(stage.nodes[at]!.node!.name)} localhost`;
    const all = await this.data!.map<{ directed: readonly string[] }>(list).all(owner);
    return new Map([...all].map(([full, { directed }]) => [full, directed]));
  }

  /** Resolves when the list of a node has exactly these sessions, with so many directed presences each. */
  async are(scene: Scene, at: number, sessions: Readonly<Record<string, number>>): Promise<void> {
    const wanted = JSON.stringify(Object.entries(sessions).sort());
    for (let found = ''; found !== wanted; await turn())
      found = JSON.stringify([...(await this.of(scene, at))].map(([full, { length }]) => [full, length]).sort());
  }
}

const options = (lists: Lists): ScenarioOptions => ({
  nodes: 3,
  alone: true,
  errors: true,
  isTimed: true,
  storage: lists.storage,
  config: { modules: { presence: { return_seconds: 1 } } },
});

async function dies({ stage }: Scene, victim: number): Promise<void> {
  const [here, there] = [stage.nodes[0]!.node!, stage.nodes[victim]!.node!];
  there.kill();
  await here.expel(there.name.id);
}

/** Romeo and Juliet, at the first two nodes, are friends, and in a room at the third. */
async function play(scene: Scene): Promise<{ romeo: Peer; juliet: Peer; room: string }> {
  const romeo = await scene.actor(`${living(scene, 0, 1)[0]}/orchard`, { node: 0, presence: true });
  const juliet = await scene.actor(`${living(scene, 1, 1)[0]}/balcony`, { node: 0, presence: true });
  const [room] = living(scene, 2, 1, 'conference.localhost');
  await befriends(romeo, juliet);
  const name = room!.split('@')[0]!;
  await founds(romeo, name, 'romeo');
  await enters(juliet, name, 'juliet');
  await scene.stage.settle();
  for (const peer of [romeo, juliet]) peer.forgets();
  return { romeo, juliet, room: room! };
}

const gone = (from: string): string => `<presence type='unavailable' from='${from}'/>`;

const forNobody = new Lists();
scenario('contacts and rooms hear of sessions that have died with their node', options(forNobody), async (scene) => {
  const { romeo, juliet, room } = await play(scene);
  await forNobody.are(scene, 1, { [juliet.jid]: 1 });
  await dies(scene, 1);
  forNobody.open();
  await romeo.receivesAnyOrder([gone(juliet.jid), gone(`${room}/juliet`)]);
  await forNobody.are(scene, 1, {});
  await romeo.receivesNothing();
});

const forReturned = new Lists();
scenario('a client that is back is not gone, except from rooms that it was in', options(forReturned), async (scene) => {
  const { romeo, juliet, room } = await play(scene);
  await forReturned.are(scene, 1, { [juliet.jid]: 1 });
  await dies(scene, 1);
  const again = await scene.actor(juliet.jid, { node: 0, presence: true });
  await romeo.receives(`<presence from='${juliet.jid}'/>`);
  forReturned.open();
  await romeo.receives(gone(`${room}/juliet`));
  await forReturned.are(scene, 1, {});
  await romeo.receivesNothing();
  again.forgets();
  await again.receivesNothing();
});

const forBoth = new Lists();
scenario('the list of a dead node outlives its heir', options(forBoth), async (scene) => {
  const { romeo, juliet } = await play(scene);
  const paris = await scene.actor(`${living(scene, 2, 1)[0]}/tomb`, { node: 0, presence: true });
  await befriends(romeo, paris);
  await scene.stage.settle();
  romeo.forgets();
  await forBoth.are(scene, 1, { [juliet.jid]: 1 });
  await forBoth.are(scene, 2, { [paris.jid]: 0 });
  await dies(scene, 1);
  await dies(scene, 2);
  forBoth.open();
  await romeo.receivesAnyOrder([gone(juliet.jid), gone(paris.jid)]);
  for (const at of [1, 2]) await forBoth.are(scene, at, {});
});

const forMoved = new Lists();
scenario('the list of a node has those that live there, and are seen', options(forMoved), async (scene) => {
  const { romeo, juliet } = await play(scene);
  const hidden = await scene.actor(`${bareOf(juliet)}/hidden`, { node: 0 });
  await forMoved.are(scene, 0, { [romeo.jid]: 1 });
  await forMoved.are(scene, 1, { [juliet.jid]: 1 });
  const { nodes } = scene.stage;
  await nodes[1]!.node!.give(
    [nodes[1]!.node!.slotOf(nodes[1]!.sessions.of(bareOf(juliet))[0]!.jid)],
    nodes[2]!.node!.name.id,
  );
  await forMoved.are(scene, 1, {});
  await forMoved.are(scene, 2, { [juliet.jid]: 1 });
  await hidden.sends('<presence/>');
  await forMoved.are(scene, 2, { [juliet.jid]: 1, [hidden.jid]: 0 });
  await juliet.sends(`<presence type='unavailable'/>`);
  await forMoved.are(scene, 2, { [hidden.jid]: 0 });
  hidden.cut();
  await forMoved.are(scene, 2, {});
  assert.deepEqual([...(await forMoved.of(scene, 0)).keys()], [romeo.jid]);
});
