/**
 * A full storage: each stanza has one outcome, delivery or one error (RFC 6120 §8.3); a refused stanza is not
 * delivered; and the log has one line.
 */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import { type Storage, StorageError } from '../../src/storage/contract.js';
import { MemoryStorage } from '../../src/storage/memory.js';
import { type Peer, type Scene, scenario } from './dialogue.js';

/** A storage in memory that can be made full. */
class Disk {
  isFull = false;
  /** As a commit does: later, all of a turn together. */
  readonly #full = (): Promise<never> =>
    new Promise((_, reject) => setImmediate(() => reject(new StorageError('full', 'the disk is full'))));

  readonly open = (): Storage => {
    const inner = new MemoryStorage();
    const refusing = <S extends object>(store: S, writes: readonly string[]): S =>
      new Proxy(store, {
        get: (target, name) => {
          const method = Reflect.get(target, name) as (...args: unknown[]) => unknown;
          if (!writes.includes(String(name))) return method;
          return (...args: unknown[]) => (this.isFull ? this.#full() : method(...args));
        },
      });
    return {
      document: (name) => refusing(inner.document(name), ['set', 'compareAndSet']),
      map: (name) => refusing(inner.map(name), ['set']),
      log: (name, options) => refusing(inner.log(name, options), ['append']),
      stores: () => inner.stores(),
      join: (node, epoch) => inner.join(node, epoch),
      fence: (node, epoch) => inner.fence(node, epoch),
      look: () => inner.look(),
      flush: () => inner.flush(),
      close: () => inner.close(),
    };
  };
}

const room = 'hall@conference.localhost';
const chat = (id: string, to: string) => `<message to='${to}' type='chat' id='${id}'><body>${id}</body></message>`;
const sent = (id: string) => `<message to='${room}' type='groupchat' id='${id}'><body>${id}</body></message>`;
const full = (id: string) =>
  `<message type='error' id='${id}'><error type='wait'><resource-constraint xmlns='${NS.stanzas}'/></error></message>`;

async function pair({ actor }: Scene): Promise<readonly [Peer, Peer]> {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  return [romeo, juliet];
}

for (const transport of ['tcp', 'websocket'] as const) {
  const disk = new Disk();
  scenario(
    `a full disk while the recipient is online (${transport})`,
    { storage: disk.open, errors: true },
    async (scene) => {
      const romeo = await scene.actor('romeo@localhost/orchard', { presence: true, transport });
      const juliet = await scene.actor('juliet@localhost/balcony', { presence: true });
      await juliet.sends(`<enable xmlns='${NS.sm}'/>`);
      await juliet.receives(`<enabled xmlns='${NS.sm}'/>`);
      await scene.stage.account('nurse@localhost');
      disk.isFull = true;
      // By this one the server learns of it.
      await romeo.sends(chat('first', 'juliet@localhost'));
      await romeo.receives(full('first'));
      await romeo.receivesNothing();
      await juliet.syncs();
      juliet.forgets();
      for (const [n, to] of ['juliet@localhost', juliet.jid, 'nurse@localhost', 'romeo@localhost'].entries()) {
        await romeo.sends(chat(`m${n}`, String(to)));
        await romeo.receives(full(`m${n}`));
        await romeo.receivesNothing();
      }
      await juliet.receivesNothing();
      const lines = scene.stage.takeErrors().map((line) => JSON.parse(line) as { msg: string });
      assert.equal(lines.filter(({ msg }) => msg === 'storage: full').length, 1, 'logged once');
      disk.isFull = false;
      await romeo.sends(chat('over', 'juliet@localhost'));
      await juliet.receives(chat('over', 'juliet@localhost'));
      await romeo.receivesNothing();
    },
  );
}

const roomDisk = new Disk();
scenario('a full disk and a message in a room', { storage: roomDisk.open, errors: true }, async (scene) => {
  const [romeo, juliet] = await pair(scene);
  await romeo.sends(`<presence to='${room}/r'><x xmlns='${NS.muc}'/></presence>`);
  await romeo.sends(
    `<iq type='set' id='c' to='${room}'><query xmlns='${NS.mucOwner}'><x xmlns='jabber:x:data' type='submit'/></query></iq>`,
  );
  await romeo.syncs();
  await juliet.sends(`<presence to='${room}/j'><x xmlns='${NS.muc}'/></presence>`);
  for (const peer of [juliet, romeo]) await peer.syncs();
  roomDisk.isFull = true;
  for (const peer of [juliet, romeo]) peer.forgets();
  await romeo.sends(sent('first'));
  await romeo.receivesAnyOrder([full('first'), sent('first').replace(` to='${room}'`, '')]);
  await juliet.syncs();
  juliet.forgets();
  for (const id of ['one', 'two']) {
    await romeo.sends(sent(id));
    await romeo.receives(full(id));
    await romeo.receivesNothing();
  }
  await juliet.receivesNothing();
  roomDisk.isFull = false;
  await romeo.sends(sent('over'));
  await juliet.receives(sent('over').replace(` to='${room}'`, ''));
});

const registering = new Disk();
scenario(
  'XEP-0077: a full disk during registration',
  { storage: registering.open, errors: true, config: { modules: { register: { open: true } } } },
  async ({ connect }) => {
    const unauthenticated = await connect({ transport: 'tls' });
    await unauthenticated.opens();
    await unauthenticated.receivesFeatures();
    registering.isFull = true;
    const fields = '<username>nurse</username><password>nightingale</password>';
    await unauthenticated.sends(`<iq type='set' id='r'><query xmlns='${NS.register}'>${fields}</query></iq>`);
    await unauthenticated.receives(
      `<iq type='error' id='r'><error type='wait'><resource-constraint xmlns='${NS.stanzas}'/></error></iq>`,
    );
    registering.isFull = false;
  },
);
