/** XEP-0313 over a storage that finds no words and counts only by reading everything, as Cassandra. */
import { NS } from '../../src/server/stanza/ns.js';
import type { LogStore, Storage } from '../../src/storage/contract.js';
import { MemoryStorage } from '../../src/storage/memory.js';
import { type Peer, scenarioWith } from './dialogue.js';
import { refusal } from './phrases.js';

/** Fails if it is asked for what it does not support. */
function plain(): Storage {
  const storage = new MemoryStorage();
  const limited = (log: LogStore): LogStore => ({
    ...log,
    supports: { words: false, counts: false },
    page: async (owner, query) => {
      if (query.words !== undefined) throw new TypeError('there are no words');
      return log.page(owner, query);
    },
    count: async (owner, filter, limit = Number.POSITIVE_INFINITY) => {
      if (limit > 1 && filter.ids === undefined) throw new TypeError('this reads everything');
      return log.count(owner, filter, limit);
    },
    size: async () => {
      throw new TypeError('this reads everything');
    },
  });
  return {
    document: (name) => storage.document(name),
    map: (name) => storage.map(name),
    log: (name, options) => (name === 'archive' ? limited(storage.log(name, options)) : storage.log(name, options)),
    stores: () => storage.stores(),
    join: (node, epoch) => storage.join(node, epoch),
    fence: (node, epoch) => storage.fence(node, epoch),
    look: () => storage.look(),
    flush: () => storage.flush(),
    close: () => storage.close(),
  };
}

const scenario = scenarioWith({ storage: plain, nodes: 1 });
const juliet = 'juliet@localhost';
const most = (max: number): string => `<set xmlns='${NS.rsm}'><max>${max}</max></set>`;
const field = (name: string, value: string): string => `<field var='${name}'><value>${value}</value></field>`;

async function says(from: Peer, to: Peer, body: string): Promise<void> {
  await from.sends(`<message to='${juliet}' type='chat'><body>${body}</body></message>`);
  await to.receives(
    `<message type='chat'><body>${body}</body><stanza-id xmlns='${NS.stanzaId}' by='${juliet}' id='*'/></message>`,
  );
}

scenario('the search is not announced, and its fields are refused', async ({ actor }) => {
  const balcony = await actor(`${juliet}/balcony`);
  await balcony.sends(`<iq type='get' id='d' to='${juliet}'><query xmlns='${NS.discoInfo}'/></iq>`);
  const features = (await balcony.receivesAny()).toString();
  if (features.includes(NS.fullText) || !features.includes(`"${NS.mam}"`)) throw new Error(features);
  await balcony.sends(`<iq type='get' id='f'><query xmlns='${NS.mam}'/></iq>`);
  const fields = (await balcony.receivesAny()).toString();
  if (fields.includes('fulltext') || fields.includes('withtext') || !fields.includes('before-id'))
    throw new Error(fields);
  const form = field('FORM_TYPE', NS.mam).replace('<field', "<field type='hidden'") + field('withtext', 'night');
  await balcony.sends(
    `<iq type='set' id='q'><query xmlns='${NS.mam}'><x xmlns='jabber:x:data' type='submit'>${form}</x></query></iq>`,
  );
  await balcony.receives(`<iq type='error' id='q'>${refusal('cancel', 'feature-not-implemented')}</iq>`);
});

scenario('the size of a result is not told, but whether there is one', async ({ actor }) => {
  const balcony = await actor(`${juliet}/balcony`, { presence: true });
  const orchard = await actor('romeo@localhost/orchard');
  const asks = (max: number) =>
    balcony.sends(`<iq type='set' id='q'><query xmlns='${NS.mam}'>${most(max)}</query></iq>`);
  await asks(0);
  await balcony.receives(
    `<iq type='result' id='q'><fin xmlns='${NS.mam}' complete='true'><set xmlns='${NS.rsm}'><count>0</count></set></fin></iq>`,
  );
  await says(orchard, balcony, 'one');
  await says(orchard, balcony, 'two');
  await asks(0);
  const fin = (await balcony.receivesAny()).toString();
  if (fin.includes('<count') || fin.includes('complete')) throw new Error(fin);
  // Bytes of archives are not counted, however many are written.
  await says(orchard, balcony, 'x'.repeat(100_000));
  await says(orchard, balcony, 'y');
});
