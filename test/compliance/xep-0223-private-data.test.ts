/** XEP-0223: Persistent Storage of Private Data via PubSub. */
import { NS } from '../../src/server/stanza/ns.js';
import { MemoryStorage } from '../../src/storage/memory.js';
import { appears } from './capabilities.js';
import { type Peer, scenario } from './dialogue.js';
import { befriends } from './phrases.js';
import { configure, error, itemEvent, payload, publish, pubsub, result } from './pubsub.js';

const romeo = 'romeo@localhost';
const juliet = 'juliet@localhost';
const notes = 'urn:example:notes';
const items = `<items node='${notes}'/>`;
const options = { persist_items: 'true', access_model: 'whitelist' };
const many = { ...options, max_items: 'max' };

/** Nothing of the node. */
async function seesNothing(peer: Peer): Promise<void> {
  await peer.sends(pubsub('get', items, juliet));
  await peer.receives(error('cancel', 'not-allowed', 'closed-node'));
  await peer.sends(pubsub('set', `<subscribe node='${notes}' jid='${peer.jid}'/>`, juliet));
  await peer.receives(error('cancel', 'not-allowed', 'closed-node'));
  await peer.sends(`<iq type='get' id='d' to='${juliet}'><query xmlns='${NS.discoInfo}' node='${notes}'/></iq>`);
  await peer.receives(`<iq type='error' id='d'/>`);
}

scenario('§3: items are stored for the account, and sent to its clients only', async ({ actor }) => {
  const balcony = await actor(`${juliet}/balcony`);
  const chamber = await actor(`${juliet}/chamber`);
  const orchard = await actor(`${romeo}/orchard`);
  const outsider = await actor('benvolio@elsewhere.example/street');
  await befriends(balcony, orchard);
  await appears(orchard, `${notes}+notify`);
  await appears(chamber, `${notes}+notify`);
  await orchard.syncs();
  orchard.forgets();
  await balcony.syncs();
  balcony.forgets();
  await balcony.sends(publish(notes, 'a', 'mine', { options }));
  await balcony.receives(result());
  await chamber.receives(itemEvent(juliet, `${juliet}/chamber`, notes, 'a', 'mine'));
  await orchard.receivesNothing();
  for (const peer of [orchard, outsider]) await seesNothing(peer);
});

scenario('§3: publish options are required, so that private data stays private', async ({ actor }) => {
  const balcony = await actor(`${juliet}/balcony`);
  await balcony.sends(publish(notes, 'a', 'for all', { options: { access_model: 'open' } }));
  await balcony.receives(result());
  await balcony.sends(publish(notes, 'a', 'mine', { options }));
  await balcony.receives(error('cancel', 'conflict', 'precondition-not-met'));
  await balcony.sends(pubsub('get', items));
  await balcony.receives(result(`<items node='${notes}'><item id='a'>${payload('for all')}</item></items>`));
  await balcony.sends(configure(notes, { access_model: 'whitelist' }));
  await balcony.receives(result());
  await balcony.sends(publish(notes, 'a', 'mine', { options }));
  await balcony.receives(result());
  const orchard = await actor(`${romeo}/orchard`);
  await seesNothing(orchard);
});

const lasting = new MemoryStorage();
scenario('§4: many items, one by one, across a restart', { storage: () => lasting }, async ({ actor, stage }) => {
  const balcony = await actor(`${juliet}/balcony`);
  for (const [id, text] of [
    ['a', '1'],
    ['b', '2'],
    ['a', '3'],
  ] as const) {
    await balcony.sends(publish(notes, id, text, { options: many }));
    await balcony.receives(result());
  }
  await stage.restart();
  const chamber = await actor(`${juliet}/chamber`);
  await chamber.sends(pubsub('get', items));
  await chamber.receives(
    result(`<items node='${notes}'><item id='b'>${payload('2')}</item><item id='a'>${payload('3')}</item></items>`),
  );
  await chamber.sends(publish(notes, 'c', '4', { options: many }));
  await chamber.receives(result());
});
