/** XEP-0163 §4, XEP-0060 §9: contacts on other servers, and users with directed presence. */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import { appears, capabilities, explains } from './capabilities.js';
import { type Peer, scenario } from './dialogue.js';
import { befriends, subscribes } from './phrases.js';
import { configure, itemEvent, publish, pubsub, result } from './pubsub.js';

const romeo = 'romeo@localhost';
const juliet = 'juliet@elsewhere.example';
const tune = 'urn:example:tune';
const wanted = `${tune}+notify`;

/** Both see each other, from one server to the other. */
async function friends(actor: (address: string) => Promise<Peer>): Promise<{ orchard: Peer; balcony: Peer }> {
  const orchard = await actor(`${romeo}/orchard`);
  const balcony = await actor(`${juliet}/balcony`);
  await befriends(orchard, balcony);
  await appears(orchard, wanted);
  return { orchard, balcony };
}

/** Sends presence, and is queried for its capabilities by both servers. */
async function shows(peer: Peer, ...features: string[]): Promise<ReturnType<typeof capabilities>> {
  const caps = capabilities(...features);
  await peer.sends(caps.presence);
  await explains(peer, caps);
  await explains(peer, caps);
  await settles(peer);
  return caps;
}

async function settles(...peers: Peer[]): Promise<void> {
  for (const peer of [...peers, ...peers]) await peer.syncs();
  for (const peer of peers) peer.forgets();
}

scenario('§4.3: interested clients of a contact on another server are notified', async ({ actor }) => {
  const { orchard, balcony } = await friends(actor);
  await shows(balcony, wanted);
  const deaf = await actor(`${juliet}/deaf`);
  await shows(deaf, 'urn:example:other+notify');
  await settles(orchard, balcony, deaf);
  await orchard.sends(publish(tune, 'a', 'Lute'));
  await balcony.receives(itemEvent(romeo, `${juliet}/balcony`, tune, 'a', 'Lute'));
  await balcony.receivesNothing();
  await deaf.receivesNothing();
  // gone is gone
  await balcony.sends(`<presence type='unavailable'/>`);
  await settles(balcony, orchard);
  await orchard.sends(publish(tune, 'a', 'Drum'));
  await orchard.syncs();
  await balcony.receivesNothing();
});

scenario(
  '§4.3.2: they get the last item when they become available, and each version is queried once',
  async ({ actor }) => {
    const { orchard, balcony } = await friends(actor);
    await orchard.sends(publish(tune, 'a', 'Lute'));
    await settles(orchard, balcony);
    const caps = capabilities(wanted);
    await balcony.sends(caps.presence);
    await explains(balcony, caps);
    await explains(balcony, caps);
    await balcony.receivesFirst(itemEvent(romeo, `${juliet}/balcony`, tune, 'a', 'Lute'));
    // Both servers know it now: another client with the same version is not asked.
    const chamber = await actor(`${juliet}/chamber`);
    await chamber.sends(caps.presence);
    await chamber.syncs();
    await chamber.syncs();
    const came = chamber.forgets();
    assert.deepEqual(
      came.filter(({ name }) => name === 'iq').map(({ attrs }) => attrs.id),
      [],
    );
    assert.equal(came.filter(({ name }) => name === 'message').length, 1);
    // Another presence with the same interest brings nothing.
    await chamber.sends(caps.presence.replace('<c', '<show>away</show><c'));
    await chamber.syncs();
    assert.deepEqual(
      chamber.forgets().filter(({ name }) => name === 'message'),
      [],
    );
  },
);

scenario('their capabilities are known after a restart', { alone: true }, async ({ actor, stage }) => {
  const { orchard, balcony } = await friends(actor);
  const caps = await shows(balcony, wanted);
  await settles(orchard, balcony);
  await orchard.sends(publish(tune, 'a', 'Lute'));
  await orchard.syncs();
  await stage.restart();
  await actor(`${romeo}/orchard`, { presence: true });
  const again = await actor(`${juliet}/balcony`);
  await again.sends(caps.presence);
  await again.syncs();
  await again.syncs();
  const came = again.forgets();
  assert.deepEqual(
    came.filter(({ name }) => name === 'iq').map(({ attrs }) => attrs.from),
    [],
    'nobody asks again',
  );
  assert.equal(came.filter(({ name }) => name === 'message').length, 1, 'the last item');
});

scenario('a result that does not match the hash counts for that client only', async ({ actor }) => {
  const { orchard, balcony } = await friends(actor);
  const honest = capabilities(wanted);
  const lie = { ...honest, info: honest.info.replace(wanted, 'urn:example:nothing+notify') };
  await balcony.sends(honest.presence);
  await explains(balcony, lie);
  await explains(balcony, lie);
  await settles(balcony);
  const chamber = await actor(`${juliet}/chamber`);
  await chamber.sends(honest.presence);
  await explains(chamber, honest);
  await explains(chamber, honest);
  await settles(orchard, balcony, chamber);
  await orchard.sends(publish(tune, 'a', 'Lute'));
  await chamber.receives(itemEvent(romeo, `${juliet}/chamber`, tune, 'a', 'Lute'));
  await balcony.receivesNothing();
});

scenario('access models apply to them: roster groups, whitelists, lost subscriptions', async ({ actor }) => {
  const { orchard, balcony } = await friends(actor);
  await shows(balcony, wanted);
  await settles(orchard, balcony);
  await orchard.sends(
    publish(tune, 'a', 'Lute', { options: { access_model: 'roster', roster_groups_allowed: ['Friends'] } }),
  );
  await orchard.syncs();
  await balcony.receivesNothing();
  await orchard.sends(
    `<iq type='set' id='r'><query xmlns='${NS.roster}'><item jid='${juliet}'><group>Friends</group></item></query></iq>`,
  );
  await balcony.receives(itemEvent(romeo, `${juliet}/balcony`, tune, 'a', 'Lute'));
  await orchard.sends(publish(tune, 'a', 'Drum'));
  await balcony.receives(itemEvent(romeo, `${juliet}/balcony`, tune, 'a', 'Drum'));
  await orchard.sends(configure(tune, { access_model: 'whitelist' }));
  await orchard.sends(publish(tune, 'a', 'Fife'));
  await settles(orchard);
  await balcony.receivesNothing();
  await orchard.sends(configure(tune, { access_model: 'presence' }));
  await balcony.receives(itemEvent(romeo, `${juliet}/balcony`, tune, 'a', 'Fife'));
  await orchard.sends(`<presence to='${juliet}' type='unsubscribed'/>`);
  await settles(orchard, balcony);
  await orchard.sends(publish(tune, 'a', 'Horn'));
  await settles(orchard);
  await balcony.receivesNothing();
});

scenario(
  'XEP-0060 §9.1.3: an available user without a subscription gets events of open nodes only',
  async ({ actor }) => {
    const orchard = await actor(`${romeo}/orchard`, { presence: true });
    await orchard.sends(publish(tune, 'a', 'Lute', { options: { access_model: 'open' } }));
    await orchard.sends(publish('urn:example:mood', 'a', 'Sad'));
    await settles(orchard);
    for (const address of [`${juliet}/balcony`, 'paris@localhost/tomb']) {
      const outsider = await actor(address);
      const caps = capabilities(wanted, 'urn:example:mood+notify');
      await outsider.sends(caps.presence.replace('<presence>', `<presence to='${romeo}'>`));
      await explains(outsider, caps);
      await outsider.receives(itemEvent(romeo, address, tune, 'a', 'Lute'));
      await outsider.receivesNothing();
      await orchard.sends(publish(tune, 'a', 'Drum'));
      await outsider.receives(itemEvent(romeo, address, tune, 'a', 'Drum'));
      await orchard.sends(publish(tune, 'a', 'Lute'));
      await outsider.receives(itemEvent(romeo, address, tune, 'a', 'Lute'));
      await outsider.sends(`<presence to='${romeo}' type='unavailable'/>`);
      await settles(outsider, orchard);
      await orchard.sends(publish(tune, 'a', 'Fife'));
      await settles(orchard);
      await outsider.receivesNothing();
      await orchard.sends(publish(tune, 'a', 'Lute'));
      await settles(orchard, outsider);
    }
  },
);

scenario('§4.3.2: a subscription of a bare address notifies each interested client once', async ({ actor }) => {
  const orchard = await actor(`${romeo}/orchard`);
  const balcony = await actor('nurse@localhost/balcony');
  const chamber = await actor('nurse@localhost/chamber');
  await subscribes(balcony, orchard);
  await appears(orchard);
  await appears(balcony, wanted);
  await appears(chamber, 'urn:example:other+notify');
  await settles(orchard, balcony, chamber);
  await orchard.sends(publish(tune, 'a', 'Lute'));
  await settles(orchard, balcony, chamber);
  await balcony.sends(pubsub('set', `<subscribe node='${tune}' jid='nurse@localhost'/>`, romeo));
  await balcony.receives(result(`<subscription jid='nurse@localhost' subscription='subscribed'/>`));
  await settles(balcony, chamber);
  await orchard.sends(publish(tune, 'a', 'Drum'));
  await balcony.receives(itemEvent(romeo, 'nurse@localhost/balcony', tune, 'a', 'Drum'));
  await balcony.receivesNothing();
  await chamber.receivesNothing();
});
