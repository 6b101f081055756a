/**
 * Heap size in bytes of rooms without occupants, occupants, nodes and items in a running server. Uses memory storage,
 * so the stored data is included once.
 *
 *     node --expose-gc dist/bench/heap.js
 */
import { setImmediate } from 'node:timers/promises';
import presence from '../src/modules/rfc-6121-presence/index.js';
import roster from '../src/modules/rfc-6121-roster/index.js';
import disco from '../src/modules/xep-0030-disco.js';
import muc from '../src/modules/xep-0045-muc/index.js';
import pubsub from '../src/modules/xep-0060-pubsub/index.js';
import clientCaps from '../src/modules/xep-0115-client-caps/index.js';
import blocking from '../src/modules/xep-0191-blocking.js';
import mam from '../src/modules/xep-0313-mam/index.js';
import { serverOrigin } from '../src/server/routing/router.js';
import { Session } from '../src/server/routing/session.js';
import { NS } from '../src/server/stanza/ns.js';
import { Stanza } from '../src/server/stanza/stanza.js';
import { MemoryStorage } from '../src/storage/memory.js';
import { startHost } from '../test/unit/module-host.js';

const { gc } = globalThis;
if (gc === undefined) throw new Error('run it with node --expose-gc');

const storage = new MemoryStorage();
const unlimited = 'unlimited';
const { host, directory, account, stop } = await startHost(
  [disco, roster, blocking, presence, clientCaps, mam, muc, pubsub],
  {
    storage,
    config: {
      modules: {
        muc: {
          lock_new_rooms: false,
          presences_per_minute: unlimited,
          creations_per_hour: unlimited,
          rooms_per_user: 1e6,
        },
        pubsub: { changes_per_minute: unlimited, creations_per_hour: unlimited },
      },
    },
  },
);

const user = async (name: string): Promise<(xml: string) => Promise<void>> => {
  const jid = await account(name);
  const session = new Session(jid.withResource('desktop'), { send: () => {} }, 'SCRAM-SHA-256');
  directory.add(session);
  const origin = { ...serverOrigin, session };
  return async (xml) => {
    await host.fromSession(Stanza.parse(xml).with({ from: session.jid }), session, origin);
  };
};

const used = (): number => {
  gc();
  gc();
  return process.memoryUsage().heapUsed;
};

/** Sources, such as the presence of a room's occupants, send in later turns of the event loop. */
async function sent(): Promise<void> {
  for (const session of directory.all()) while (session.isPouring) await setImmediate();
}

/** Prints the heap bytes that each of `count` objects retains. */
async function measure(what: string, count: number, make: (n: number) => Promise<unknown>): Promise<void> {
  await make(-1);
  await sent();
  const before = used();
  for (let n = 0; n < count; n++) await make(n);
  await sent();
  console.log(`${what.padEnd(48)} ${Math.round((used() - before) / count).toLocaleString('en')} bytes`);
}

const enters = (room: string, nick: string) =>
  `<presence xmlns='${NS.client}' to='${room}@conference.${host.domain}/${nick}'><x xmlns='${NS.muc}'/><c xmlns='${NS.caps}' hash='sha-1' node='https://client.example' ver='q07IKJEyjvHSyhy//CH0CxmKi8w='/></presence>`;
const publishes = (node: string, item: string) =>
  `<iq xmlns='${NS.client}' type='set' id='p'><pubsub xmlns='${NS.pubsub}'><publish node='${node}'><item id='${item}'><entry xmlns='urn:example:entry'>${'x'.repeat(200)}</entry></item></publish><publish-options><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>http://jabber.org/protocol/pubsub#publish-options</value></field><field var='pubsub#max_items'><value>max</value></field><field var='pubsub#persist_items'><value>true</value></field></x></publish-options></pubsub></iq>`;

try {
  const owner = await user('owner');
  await measure('a room with its creator in it', 2000, (n) => owner(enters(`room${n}`, 'owner')));
  const sessions = await Promise.all(Array.from({ length: 1001 }, (_, n) => user(`guest${n}`)));
  await measure('an occupant, in a room of 1,000', 1000, (n) => sessions[n + 1]!(enters('hall', `nick${n}`)));
  await measure('a node with one item of 250 bytes', 500, (n) => owner(publishes(`node${n}`, 'one')));
  const publisher = await user('publisher');
  await measure('an item of 250 bytes, in a node of many', 500, (n) => publisher(publishes('node', `item${n}`)));
} finally {
  stop();
}
