/** RFC 6121 §4: exchanging presence, and how it is delivered (§8.5). */
import { NS } from '../../src/server/stanza/ns.js';
import { scenario } from './dialogue.js';
import { befriends, refusal, subscribes } from './phrases.js';

const caps = `<c xmlns='${NS.caps}' hash='sha-1' node='urn:x'/>`;
const rich = `<presence xml:lang='it'><show>dnd</show><status>Sto pensando</status><status xml:lang='en'>&lt;wooing&gt;</status>
  <priority>5</priority>${caps}<x xmlns='vcard-temp:x:update'><photo>ab</photo></x></presence>`;

scenario(
  '§4.2: a client that comes online is shown to its subscribers, and gets the presence of its contacts',
  async ({ actor }) => {
    const romeo = await actor('romeo@localhost/orchard', { presence: true });
    const juliet = await actor('juliet@localhost/balcony', { presence: true });
    const paris = await actor('paris@localhost/street', { presence: true });
    await befriends(romeo, juliet);
    await romeo.sends(`<presence type='unavailable'/>`);
    await romeo.syncs();
    romeo.forgets();
    await juliet.sends('<presence><show>away</show><status>sighing</status></presence>');
    await juliet.syncs();
    juliet.forgets();
    // An unavailable client sees nothing
    await romeo.receivesNothing();
    await romeo.sends(rich);
    await juliet.receives(rich.replace('<presence', `<presence from='romeo@localhost/orchard'`));
    await romeo.receivesAnyOrder([
      rich.replace('<presence', `<presence from='romeo@localhost/orchard' to='romeo@localhost/orchard'`),
      `<presence from='juliet@localhost/balcony'><show>away</show><status>sighing</status></presence>`,
    ]);
    await romeo.receivesNothing();
    await juliet.receivesNothing();
    await paris.receivesNothing();
  },
);

scenario('§4.2.2, §4.3: one-way subscriptions', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await subscribes(romeo, juliet);
  // Juliet gets no presence of Romeo
  await romeo.sends(`<presence type='unavailable'/><presence/>`);
  await juliet.receivesNothing();
  await romeo.receivesAnyOrder([
    `<presence type='unavailable' from='romeo@localhost/orchard'/>`,
    `<presence from='romeo@localhost/orchard'/>`,
    `<presence from='juliet@localhost/balcony'/>`,
  ]);
  await juliet.sends(`<presence type='unavailable'/><presence/>`);
  await romeo.receives(`<presence type='unavailable' from='juliet@localhost/balcony'/>`);
  await romeo.receives(`<presence from='juliet@localhost/balcony'/>`);
  await juliet.receives(`<presence type='unavailable' from='juliet@localhost/balcony'/>`);
  await juliet.receives(`<presence from='juliet@localhost/balcony'/>`);
  await juliet.receivesNothing();
});

scenario("§4.2.2, §4.4.2, §4.5.2: presence among one's own clients", async ({ actor }) => {
  const orchard = await actor('romeo@localhost/orchard', { presence: '<presence><status>1</status></presence>' });
  const silent = await actor('romeo@localhost/silent');
  const garden = await actor('romeo@localhost/garden');
  await garden.sends('<presence><status>2</status></presence>');
  await garden.receivesAnyOrder([
    `<presence from='romeo@localhost/garden' to='romeo@localhost/garden'><status>2</status></presence>`,
    `<presence from='romeo@localhost/orchard' to='romeo@localhost/garden'><status>1</status></presence>`,
  ]);
  await orchard.receives(`<presence from='romeo@localhost/garden'><status>2</status></presence>`);
  await orchard.sends(`<presence><status>3</status></presence>`);
  await orchard.receives(`<presence from='romeo@localhost/orchard'><status>3</status></presence>`);
  await garden.receives(`<presence from='romeo@localhost/orchard'><status>3</status></presence>`);
  await orchard.sends(`<presence type='unavailable'><status>4</status></presence>`);
  await orchard.receives(`<presence type='unavailable' from='romeo@localhost/orchard'/>`);
  await garden.receives(`<presence type='unavailable' from='romeo@localhost/orchard'><status>4</status></presence>`);
  await garden.receivesNothing();
  await silent.receivesNothing();
});

scenario('§4.3.2: the server answers a probe', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const balcony = await actor('juliet@localhost/balcony', { presence: true });
  const chamber = await actor('juliet@localhost/chamber', { presence: rich });
  const silent = await actor('juliet@localhost/silent');
  await subscribes(romeo, balcony);
  chamber.forgets();
  await balcony.sends('<presence><show>xa</show></presence>');
  await balcony.syncs();
  for (const peer of [romeo, balcony, chamber]) {
    await peer.syncs();
    peer.forgets();
  }
  await romeo.sends(`<presence type='probe' to='juliet@localhost'/>`);
  await romeo.receivesAnyOrder([
    `<presence from='juliet@localhost/balcony'><show>xa</show></presence>`,
    rich.replace('<presence', `<presence from='juliet@localhost/chamber'`),
  ]);
  await romeo.sends(`<presence type='probe' to='juliet@localhost/balcony'/>`);
  await romeo.receives(`<presence from='juliet@localhost/balcony'><show>xa</show></presence>`);
  // A resource that is not available looks like one that is not there
  for (const resource of ['silent', 'nowhere']) {
    await romeo.sends(`<presence type='probe' to='juliet@localhost/${resource}'/>`);
    await romeo.receives(`<presence type='unavailable' from='juliet@localhost/${resource}'/>`);
  }
  await romeo.receivesNothing();
  for (const peer of [balcony, chamber, silent]) await peer.receivesNothing();
});

scenario('§4.3.2: a probe of an unknown sender reveals nothing', async ({ actor, stage }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await stage.account('paris@localhost');
  // Juliet is subscribed to Romeo, but not Romeo to her
  await subscribes(juliet, romeo);
  await romeo.sends(`<presence type='subscribe' to='paris@localhost'/>`);
  for (const whom of ['juliet@localhost', 'juliet@localhost/balcony', 'paris@localhost', 'nobody@localhost'])
    await romeo.sends(`<presence type='probe' to='${whom}'/>`);
  await romeo.receivesNothing();
  await juliet.receivesNothing();
});

scenario('§4.4: a change of presence is broadcast, without new probes', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await befriends(romeo, juliet);
  await romeo.sends('<presence><show>away</show><priority>-1</priority></presence>');
  await juliet.receives(`<presence from='romeo@localhost/orchard'><show>away</show><priority>-1</priority></presence>`);
  await romeo.receives(`<presence from='romeo@localhost/orchard'/>`);
  await romeo.sends('<presence/>');
  await juliet.receives(`<presence from='romeo@localhost/orchard'/>`);
  await romeo.receives(`<presence from='romeo@localhost/orchard'/>`);
  await romeo.receivesNothing();
  await juliet.receivesNothing();
});

scenario('§4.5: a client becomes unavailable once, however it disconnects', async ({ actor }) => {
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  const first = await actor('romeo@localhost/orchard', { presence: true });
  await befriends(first, juliet);
  await first.sends(`<presence type='unavailable'><status>Farewell</status></presence>`);
  await juliet.receives(
    `<presence type='unavailable' from='romeo@localhost/orchard'><status>Farewell</status></presence>`,
  );
  await first.syncs();
  await first.closes();
  first.forgets();
  await first.isClosed();
  await juliet.receivesNothing();

  const closing = await actor('romeo@localhost/orchard', { presence: true });
  await juliet.receives(`<presence from='romeo@localhost/orchard'/>`);
  await closing.closes();
  await juliet.receives(`<presence type='unavailable' from='romeo@localhost/orchard'/>`);

  const cut = await actor('romeo@localhost/garden', { presence: true });
  await juliet.receives(`<presence from='romeo@localhost/garden'/>`);
  cut.cut();
  await juliet.receives(`<presence type='unavailable' from='romeo@localhost/garden'/>`);
  await juliet.receivesNothing();
});

scenario('§4.5.2: an unavailable client gets no presence', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await befriends(romeo, juliet);
  await romeo.sends(`<presence type='unavailable'/>`);
  await romeo.receives(`<presence type='unavailable' from='romeo@localhost/orchard'/>`);
  await juliet.sends('<presence><show>xa</show></presence>');
  await juliet.syncs();
  await romeo.receivesNothing();
});

// ---------------------------------------------------------------------------------------------------------------
// Directed presence

scenario('§4.6: directed presence goes to one address, and ends with the session', async ({ actor }) => {
  for (const end of ['unavailable', 'closing', 'cut']) {
    const romeo = await actor('romeo@localhost/orchard', { presence: true });
    const juliet = await actor('juliet@localhost/balcony', { presence: true });
    const chamber = await actor('juliet@localhost/chamber', { presence: true });
    juliet.forgets();
    await romeo.sends(`<presence to='juliet@localhost/balcony'><status>for you</status></presence>`);
    await juliet.receives(
      `<presence from='romeo@localhost/orchard' to='juliet@localhost/balcony'><status>for you</status></presence>`,
    );
    // §4.6.3: only directed presence
    await romeo.sends('<presence><show>away</show></presence>');
    await juliet.receivesNothing();
    if (end === 'unavailable') await romeo.sends(`<presence type='unavailable'/>`);
    else if (end === 'closing') {
      await romeo.syncs();
      romeo.forgets();
      await romeo.closes();
      await romeo.isClosed();
    } else romeo.cut();
    await juliet.receives(
      `<presence type='unavailable' from='romeo@localhost/orchard' to='juliet@localhost/balcony'/>`,
    );
    await juliet.receivesNothing();
    await chamber.receivesNothing();
    for (const peer of [romeo, juliet, chamber]) peer.cut();
  }
});

scenario('§4.6.3: an unavailable presence that the client already sent is not repeated', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await romeo.sends(`<presence to='juliet@localhost'/>`);
  await juliet.receives(`<presence from='romeo@localhost/orchard'/>`);
  await romeo.sends(`<presence to='juliet@localhost' type='unavailable'><status>enough</status></presence>`);
  await juliet.receives(
    `<presence type='unavailable' from='romeo@localhost/orchard'><status>enough</status></presence>`,
  );
  await romeo.sends(`<presence type='unavailable'/>`);
  await juliet.receivesNothing();
});

scenario('§4.6.3: contacts get it once', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await befriends(romeo, juliet);
  await romeo.sends(`<presence to='juliet@localhost'><show>chat</show></presence>`);
  await juliet.receives(`<presence from='romeo@localhost/orchard'><show>chat</show></presence>`);
  romeo.cut();
  await juliet.receives(`<presence type='unavailable' from='romeo@localhost/orchard'/>`);
  await juliet.receivesNothing();
});

scenario("§4.6.3: so do one's own clients", async ({ actor }) => {
  const orchard = await actor('romeo@localhost/orchard', { presence: true });
  const garden = await actor('romeo@localhost/garden', { presence: true });
  orchard.forgets();
  for (const to of ['romeo@localhost', 'romeo@localhost/garden']) {
    await orchard.sends(`<presence to='${to}'><status>here</status></presence>`);
    await garden.receives(`<presence from='romeo@localhost/orchard'><status>here</status></presence>`);
  }
  await orchard.syncs();
  orchard.forgets();
  await orchard.sends(`<presence type='unavailable'/>`);
  for (const peer of [orchard, garden]) {
    await peer.receives(`<presence type='unavailable' from='romeo@localhost/orchard'/>`);
    await peer.receivesNothing();
  }
});

scenario('§4.6.1: an unavailable client can send directed presence', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await romeo.sends(`<presence to='juliet@localhost'/>`);
  await juliet.receives(`<presence from='romeo@localhost/orchard'/>`);
  await romeo.receivesNothing();
  romeo.cut();
  await juliet.receives(`<presence type='unavailable' from='romeo@localhost/orchard'/>`);
  await juliet.receivesNothing();
});

const few = { config: { modules: { presence: { directed: 10 } } } };
scenario('§4.6: addresses of directed presence are limited', few, async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  for (let n = 0; n < 11; n++) await romeo.sends(`<presence id='${n}' to='room${n}@localhost'/>`);
  await romeo.receives(`<presence type='error' id='10' from='room10@localhost'>
    ${refusal('wait', 'resource-constraint')}</presence>`);
  await romeo.sends(`<presence to='room0@localhost' type='unavailable'/><presence id='11' to='room11@localhost'/>`);
  await romeo.receivesNothing();
});

// ---------------------------------------------------------------------------------------------------------------
// Delivery, and what is no presence

scenario(
  '§8.5.2, §8.5.3: presence for an account goes to all its clients, presence for a client to that one',
  async ({ actor }) => {
    const romeo = await actor('romeo@localhost/orchard', { presence: true });
    const balcony = await actor('juliet@localhost/balcony', { presence: true });
    const negative = await actor('juliet@localhost/cellar', {
      presence: '<presence><priority>-5</priority></presence>',
    });
    const silent = await actor('juliet@localhost/silent');
    balcony.forgets();
    await romeo.sends(`<presence to='juliet@localhost' id='all'/>`);
    await balcony.receives(`<presence id='all' from='romeo@localhost/orchard'/>`);
    await negative.receives(`<presence id='all' from='romeo@localhost/orchard'/>`);
    await romeo.sends(`<presence to='juliet@localhost/silent' id='one'/>`);
    await silent.receives(`<presence id='one' from='romeo@localhost/orchard'/>`);
    // §8.5.3.2, §8.5.1: a resource, an account that is not there
    await romeo.sends(`<presence to='juliet@localhost/nowhere'/>`);
    await romeo.sends(`<presence to='nobody@localhost'/>`);
    await romeo.sends(`<presence to='nobody@localhost/nowhere' type='unavailable'/>`);
    await romeo.sends(`<presence to='localhost'/>`);
    await romeo.sends(`<presence to='juliet@localhost/balcony' type='error'>${refusal('cancel', 'gone')}</presence>`);
    await balcony.receives(`<presence type='error' from='romeo@localhost/orchard'/>`);
    for (const peer of [romeo, balcony, negative, silent]) await peer.receivesNothing();
  },
);

scenario('§4.7: invalid presence is refused, and has no effect', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await befriends(romeo, juliet);
  for (const priority of ['128', '-129', 'high', '', '1.5']) {
    await romeo.sends(`<presence id='p'><priority>${priority}</priority></presence>`);
    await romeo.receives(`<presence type='error' id='p'>${refusal('modify', 'bad-request')}</presence>`);
  }
  for (const type of ['available', 'invisible', '']) {
    await romeo.sends(`<presence id='t' type='${type}'/>`);
    await romeo.receives(`<presence type='error' id='t'>${refusal('modify', 'bad-request')}</presence>`);
  }
  await juliet.receivesNothing();
  for (const priority of ['-128', '127', ' 1 ', '+0']) {
    await romeo.sends(`<presence><priority>${priority}</priority></presence>`);
    await juliet.receives(`<presence from='romeo@localhost/orchard'/>`);
  }
});

for (const transport of ['tcp', 'websocket'] as const)
  scenario(
    `deferred presence is sent before later stanzas (${transport})`,
    { config: { c2s: { notification_delay_seconds: 1 } } },
    async ({ actor }) => {
      const romeo = await actor('romeo@localhost/orchard', { presence: true });
      const juliet = await actor('juliet@localhost/balcony', { presence: true, transport });
      await befriends(romeo, juliet);
      await juliet.syncs();
      juliet.forgets();
      await romeo.sends('<presence><show>away</show></presence>');
      await romeo.sends('<presence><show>xa</show></presence>');
      await romeo.sends(`<message to='juliet@localhost/balcony' type='chat'><body>Soft</body></message>`);
      await juliet.receives(`<presence from='romeo@localhost/orchard'><show>away</show></presence>`);
      await juliet.receives(`<presence from='romeo@localhost/orchard'><show>xa</show></presence>`);
      await juliet.receives(`<message type='chat'><body>Soft</body></message>`);
      await romeo.sends('<presence/>');
      await juliet.receives(`<presence from='romeo@localhost/orchard'/>`);
    },
  );
