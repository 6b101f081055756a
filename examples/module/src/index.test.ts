/** XEP-0109, as contacts see it. */
import { defineModule, el, event, Jid, Stanza } from 'waxwing/module';
import { befriends, type Peer, type Scene, scenario } from 'waxwing/testing';
import outOfOffice, { ns } from './index.js';

const modules = [outOfOffice];
const juliet = 'juliet@localhost';

/** Juliet has published a note and is offline. Romeo is her contact. */
async function away({ actor }: Scene, note: string): Promise<Peer> {
  const romeo = await actor('romeo@localhost/orchard');
  const balcony = await actor(`${juliet}/balcony`);
  await befriends(romeo, balcony);
  await balcony.sends(
    `<iq type='set' id='1'><pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='${ns}'>` +
      `<item id='current'><ooo xmlns='${ns}'>${note}</ooo></item></publish></pubsub></iq>`,
  );
  await balcony.receives(`<iq type='result' id='1'/>`);
  await balcony.closes();
  await balcony.isClosed();
  romeo.forgets();
  return romeo;
}

const says = (peer: Peer, type: string, content = '<body>Art thou there?</body>') =>
  peer.sends(`<message to='${juliet}' type='${type}'>${content}</message>`);
const answer = `<message from='${juliet}' to='romeo@localhost/orchard' type='chat'><body>In Mantua</body></message>`;

scenario('a contact gets one answer', { modules }, async (scene) => {
  const romeo = await away(scene, '<start/><end/><message>In Mantua</message>');
  await says(romeo, 'chat');
  await romeo.receives(answer);
  await says(romeo, 'chat');
  await romeo.receivesNothing();
});

scenario('senders who are not contacts get no answer', { modules }, async (scene) => {
  await away(scene, '<message>In Mantua</message>');
  const tybalt = await scene.actor('tybalt@localhost/street');
  await says(tybalt, 'chat');
  await tybalt.receivesNothing();
});

scenario('no answer while a client of the account is online', { modules }, async (scene) => {
  const romeo = await away(scene, '<message>In Mantua</message>');
  const balcony = await scene.actor(`${juliet}/balcony`, { presence: true });
  await romeo.syncs();
  romeo.forgets();
  await says(romeo, 'chat');
  await balcony.receives(`<message from='romeo@localhost/orchard' type='chat'><body>Art thou there?</body></message>`);
  await romeo.receivesNothing();
});

scenario('no answer to headlines, errors and chat states', { modules }, async (scene) => {
  const romeo = await away(scene, '<message>In Mantua</message>');
  await says(romeo, 'headline');
  await says(romeo, 'error', `<error type='wait'><conflict xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>`);
  await says(romeo, 'chat', `<composing xmlns='http://jabber.org/protocol/chatstates'/>`);
  await romeo.receivesNothing();
});

for (const [title, times, isSent] of [
  ['during its period', '<start>2020-01-01T00:00:00Z</start><end>2999-01-01T00:00:00Z</end>', true],
  ['after a start in another time zone', '<start>2020-01-01T00:00:00+10:00</start>', true],
  ['before its start', '<start>2999-01-01T00:00:00Z</start>', false],
  ['after its end', '<end>2020-01-01T00:00:00Z</end>', false],
  ['with invalid times', '<start>soon</start><end>{later}</end>'.replace(/[{}]/g, ''), true],
] as const)
  scenario(`a note ${title} is ${isSent ? '' : 'not '}sent`, { modules }, async (scene) => {
    const romeo = await away(scene, `${times}<message> In Mantua\n</message>`);
    await says(romeo, 'chat');
    if (isSent) await romeo.receives(answer);
    else await romeo.receivesNothing();
  });

scenario('an empty note sends no answer', { modules }, async (scene) => {
  const romeo = await away(scene, '<message> </message>');
  await says(romeo, 'chat');
  await romeo.receivesNothing();
});

scenario(
  'a long note is cut between characters',
  { modules, config: { modules: { out_of_office: { characters: 3 } } } },
  async (scene) => {
    const romeo = await away(scene, '<message>a😀&lt;&amp;</message>');
    await says(romeo, 'chat');
    await romeo.receives(`<message from='${juliet}' type='chat'><body>a😀&lt;</body></message>`);
  },
);

scenario('two accounts that are both away do not answer each other in a loop', { modules }, async (scene) => {
  const romeo = await away(scene, '<message>In Mantua</message>');
  await romeo.sends(
    `<iq type='set' id='1'><pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='${ns}'>` +
      `<item id='current'><ooo xmlns='${ns}'><message>Banished</message></ooo></item></publish></pubsub></iq>`,
  );
  await romeo.receives(`<iq type='result' id='1'/>`);
  await romeo.closes();
  await romeo.isClosed();
  const from = Jid.parse('romeo@localhost/orchard');
  const to = Jid.parse(juliet);
  await scene.server
    .host('localhost')!
    .route(Stanza.build('message', { from, to, type: 'chat' }, el('body', null, 'Ho!')));

  const orchard = await scene.actor('romeo@localhost/orchard');
  await orchard.sends('<presence/>');
  await orchard.receivesAnyOrder([
    `<presence from='romeo@localhost/orchard'/>`,
    `<message from='${juliet}' type='chat'><body>In Mantua</body></message>`,
  ]);
  await orchard.receivesNothing();
  const balcony = await scene.actor(`${juliet}/balcony`);
  await balcony.sends('<presence/>');
  await balcony.receivesAnyOrder([
    `<presence from='${juliet}/balcony'/>`,
    `<presence from='romeo@localhost/orchard'/>`,
    `<message from='romeo@localhost/orchard' type='chat'><body>Ho!</body></message>`,
    `<message from='romeo@localhost' type='chat'><body>Banished</body></message>`,
  ]);
  await balcony.receivesNothing();
});

const answered: string[] = [];
let heard = (): void => {};
const listener = defineModule({
  name: 'listener',
  summary: 'Listens to answers, and reads notes.',
  implements: {},
  needs: ['outOfOffice'],
  start: ({ services: { outOfOffice } }) => [
    event('absenceTold', async ({ owner, contact }) => {
      answered.push(`${owner.bare} ${contact.bare} ${await outOfOffice.noteOf(owner)}`);
      heard();
    }),
  ],
});

scenario('other modules get the event, in any module order', { modules: [listener, outOfOffice] }, async (scene) => {
  const romeo = await away(scene, '<message>In Mantua</message>');
  await says(romeo, 'chat');
  await romeo.receives(answer);
  // The event comes after the answer.
  while (answered.length === 0)
    await new Promise<void>((resolve) => {
      heard = resolve;
    });
  await romeo.receivesNothing();
  if (answered.join() !== `${juliet} romeo@localhost In Mantua`) throw new Error(`answered: ${answered.join()}`);
});
