/**
 * A node dies, and what it had not confirmed is sent again to the new homes of its addresses: each message is stored
 * once, whether the node had stored it or not. SEED and ROUNDS of the environment repeat and lengthen the run.
 */
import assert from 'node:assert/strict';
import { setImmediate as turn } from 'node:timers/promises';
import { LocalNetwork } from '../../src/server/cluster/local-link.js';
import { NS } from '../../src/server/stanza/ns.js';
import { Stanza } from '../../src/server/stanza/stanza.js';
import type { Element } from '../../src/server/xml/element.js';
import { MemoryStorage } from '../../src/storage/memory.js';
import { around, mulberry32 } from '../../src/storage/wrappers.js';
import { type Peer, type ScenarioOptions, scenario } from './dialogue.js';
import { living } from './moves.js';
import { unlimitedRate } from './phrases.js';
import { enters, founds } from './rooms.js';

const seeds = Array.from({ length: Number(process.env.ROUNDS ?? 4) }, (_, n) => Number(process.env.SEED ?? 1) + n);

/** Storage of a cluster. Appends at the second node are applied, and reported when `open` is called. */
class Reports {
  isHeld: () => boolean = () => false;
  readonly #held: (() => void)[] = [];
  data: MemoryStorage | undefined;

  open(): void {
    this.isHeld = () => false;
    for (const report of this.#held.splice(0)) report();
  }

  readonly storage = (): MemoryStorage => {
    const reports = this;
    let nodes = 0;
    this.data = new (class extends MemoryStorage {
      override handle(): MemoryStorage {
        nodes++;
        const inner = super.handle();
        if (nodes !== 2) return inner;
        const wrapped = around(inner, async ({ operation }, run) => {
          const result = await run();
          if (operation === 'append' && reports.isHeld())
            await new Promise<void>((resolve) => reports.#held.push(resolve));
          return result;
        });
        return wrapped as unknown as MemoryStorage;
      }
    })();
    return this.data;
  };

  /** The ids of the messages in a log, in order. */
  async stored(log: string, owner: string): Promise<string[]> {
    const { entries } = await this.data!.log(log).page(owner, { limit: 1000 });
    return entries.map(({ value }) => Stanza.parse(value).id ?? '');
  }
}

const options = (reports: Reports, network: LocalNetwork): ScenarioOptions => ({
  nodes: 3,
  alone: true,
  errors: true,
  isTimed: true,
  storage: reports.storage,
  network,
  config: { limits: { rate: unlimitedRate, rate_account: unlimitedRate } },
});

/** Sends requests for acknowledgement until all is acknowledged. Returns the errors that came; more may follow. */
async function acknowledged(peer: Peer, count: number): Promise<string[]> {
  const refused: string[] = [];
  await peer.sends(`<r xmlns='${NS.sm}'/>`);
  for (let h = 0; h < count; await turn()) {
    const received = peer.forgets();
    refused.push(...errorsIn(received));
    for (const { name, attrs } of received) {
      if (name !== 'a') continue;
      h = Number(attrs.h);
      if (h < count) await peer.sends(`<r xmlns='${NS.sm}'/>`);
    }
  }
  return refused;
}

const errorsIn = (stanzas: readonly Element[]): string[] =>
  stanzas.filter(({ attrs }) => attrs.type === 'error').map(({ attrs }) => attrs.id!);

for (const seed of seeds) {
  const random = mulberry32(seed);
  const reports = new Reports();
  // Every other seed has wires that delay and break, once everybody is there.
  const breaking = mulberry32(seed + 99);
  let isRough = false;
  const network = new LocalNetwork({ random: () => (isRough ? breaking() : 0.99), delays: 0.2, cuts: 0.02 });
  scenario(
    `what a dead home may have stored is stored once: seed ${seed}`,
    options(reports, network),
    async (scene) => {
      const { nodes } = scene.stage;
      const [romeo] = living(scene, 0, 1);
      const [paris] = living(scene, 2, 1);
      const [archiver, keeper, online] = living(scene, 1, 3);
      const [room] = living(scene, 1, 1, 'conference.localhost');
      const senders = [
        await scene.actor(`${romeo}/orchard`, { node: 0 }),
        await scene.actor(`${paris}/tomb`, { node: 2 }),
      ] as const;
      // One archives, one has no archive and so an offline store; both are away. A third is here.
      await scene.stage.account(archiver!);
      const without = await scene.actor(`${keeper}/x`, { node: 0 });
      await without.sends(
        `<iq type='set' id='p'><prefs xmlns='${NS.mam}' default='never'><always/><never/></prefs></iq>`,
      );
      await without.receives(`<iq type='result' id='p'/>`);
      await without.closes();
      await without.isClosed();
      await scene.actor(`${online}/y`, { node: 0, presence: true });
      await founds(senders[0], room!.split('@')[0]!, 'romeo');
      await enters(senders[1], room!.split('@')[0]!, 'paris');
      await scene.stage.settle();
      for (const sender of senders) {
        sender.forgets();
        await sender.managesStream();
      }

      isRough = seed % 2 === 0;
      const targets = [archiver!, keeper!, online!, room!] as const;
      const count = 40;
      const sent = new Map<string, string[]>(targets.map((target) => [target, []]));
      const numbers = senders.map(() => 0);
      const heldFrom = Math.floor(random() * count);
      const killedAt = heldFrom + Math.floor(random() * (count - heldFrom));
      const share = random();
      for (let n = 0; n < count; n++) {
        if (n === heldFrom) reports.isHeld = () => random() < share;
        const who = random() < 0.5 ? 0 : 1;
        const target = targets[Math.floor(random() * targets.length)]!;
        const type = target === room ? 'groupchat' : 'chat';
        sent.get(target)!.push(`${n}`);
        numbers[who]!++;
        await senders[who].sends(`<message to='${target}' type='${type}' id='${n}'><body>${n}</body></message>`);
        for (let turns = random() * 20; turns > 1; turns--) await turn();
        if (n !== killedAt) continue;
        nodes[1]!.node!.kill();
        await nodes[0]!.node!.expel(nodes[1]!.node!.name.id);
      }
      const refused: string[] = [];
      for (const [who, sender] of senders.entries()) refused.push(...(await acknowledged(sender, numbers[who]!)));
      isRough = false;
      reports.open();
      await scene.stage.nodesAtRest();
      // A room refuses a message after its sender's home has acknowledged it.
      for (const sender of senders) {
        await sender.syncs();
        refused.push(...errorsIn(sender.forgets()));
      }

      const sorted = (ids: readonly string[]): string[] => [...ids].sort((a, b) => Number(a) - Number(b));
      assert.deepEqual(sorted(await reports.stored('archive', archiver!)), sent.get(archiver!));
      assert.deepEqual(sorted(await reports.stored('archive', online!)), sent.get(online!));
      assert.deepEqual(sorted(await reports.stored('offline', keeper!)), sent.get(keeper!));
      assert.deepEqual(await reports.stored('archive', keeper!), []);
      // The occupants of the room died with it: what it had not taken is refused.
      const taken = (await reports.stored('archive', room!)).filter((id) => id !== '');
      assert.deepEqual(sorted([...taken, ...refused]), sent.get(room!));
    },
  );
}
