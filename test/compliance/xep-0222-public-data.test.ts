/** XEP-0222: Persistent Storage of Public Data via PubSub. */
import { NS } from '../../src/server/stanza/ns.js';
import { appears, capabilities, explains } from './capabilities.js';
import { scenario } from './dialogue.js';
import { befriends } from './phrases.js';
import { configure, error, itemEvent, publish, pubsub, result } from './pubsub.js';

const romeo = 'romeo@localhost';
const juliet = 'juliet@localhost';
const nurse = 'nurse@localhost';
const key = 'urn:example:pubkey';
const items = `<items node='${key}'/>`;

scenario('§5: support is announced', async ({ actor }) => {
  const balcony = await actor(`${juliet}/balcony`);
  for (const to of ['localhost', juliet]) {
    await balcony.sends(`<iq type='get' id='d' to='${to}'><query xmlns='${NS.discoInfo}'/></iq>`);
    await balcony.receives(
      `<iq type='result' id='d'><query xmlns='${NS.discoInfo}'><identity category='pubsub' type='pep'/><feature var='${NS.pubsub}#publish-options'/></query></iq>`,
    );
  }
});

scenario('§1.2, §3: items for a roster group are stored, and sent to that group only', async ({ actor }) => {
  const balcony = await actor(`${juliet}/balcony`);
  const orchard = await actor(`${romeo}/orchard`);
  const house = await actor(`${nurse}/house`);
  const outsider = await actor('benvolio@localhost/street', { presence: true });
  for (const peer of [orchard, house]) await befriends(balcony, peer);
  for (const [contact, group] of [
    [romeo, 'Friends'],
    [nurse, 'Servants'],
  ])
    await balcony.sends(
      `<iq type='set' id='r'><query xmlns='${NS.roster}'><item jid='${contact}'><group>${group}</group></item></query></iq>`,
    );
  for (const peer of [orchard, house]) await appears(peer, `${key}+notify`);
  for (const peer of [balcony, orchard, house, outsider]) {
    await peer.syncs();
    peer.forgets();
  }
  const options = {
    persist_items: 'true',
    send_last_published_item: 'never',
    access_model: 'roster',
    roster_groups_allowed: 'Friends',
  };
  await balcony.sends(publish(key, 'key1', 'k', { options }));
  await balcony.receives(result());
  await orchard.receives(itemEvent(juliet, `${romeo}/orchard`, key, 'key1', 'k'));
  await house.receivesNothing();
  await orchard.sends(pubsub('get', items, juliet));
  await orchard.receives(result(`<items node='${key}'><item id='key1'/></items>`));
  await house.sends(pubsub('get', items, juliet));
  await house.receives(error('auth', 'not-authorized', 'not-in-roster-group'));
  await outsider.sends(pubsub('get', items, juliet));
  await outsider.receives(error('auth', 'not-authorized', 'not-in-roster-group'));
  // Later clients are not notified, but can query.
  const garden = await actor(`${romeo}/garden`);
  const caps = capabilities(`${key}+notify`);
  await garden.sends(caps.presence);
  await explains(garden, caps);
  await garden.syncs();
  if (garden.forgets().some(({ name }) => name === 'message')) throw new Error('the last item was sent');
  await garden.sends(pubsub('get', items, juliet));
  await garden.receives(result(`<items node='${key}'><item id='key1'/></items>`));
});

scenario(
  '§3: publish options are required: a node with another configuration is not published to',
  async ({ actor }) => {
    const balcony = await actor(`${juliet}/balcony`);
    const outsider = await actor('benvolio@localhost/street');
    const options = { persist_items: 'true', access_model: 'open' };
    await balcony.sends(publish(key, 'a', '1')); // as nodes of accounts are: for contacts
    await balcony.receives(result());
    await balcony.sends(publish(key, 'a', '2', { options }));
    await balcony.receives(error('cancel', 'conflict', 'precondition-not-met'));
    await outsider.sends(pubsub('get', items, juliet));
    await outsider.receives(error('auth', 'not-authorized', 'presence-subscription-required'));
    await balcony.sends(configure(key, { access_model: 'open' }));
    await balcony.receives(result());
    await balcony.sends(publish(key, 'a', '3', { options }));
    await balcony.receives(result());
    await outsider.sends(pubsub('get', items, juliet));
    await outsider.receives(
      result(`<items node='${key}'><item id='a'><entry xmlns='urn:example:entry'>3</entry></item></items>`),
    );
  },
);
