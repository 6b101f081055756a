/** XEP-0437: activity in rooms that a user has not joined. */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import { type Peer, type Scene, scenario } from './dialogue.js';
import { refusal } from './phrases.js';
import { enters, founds, grants, quiets, service } from './rooms.js';

const room = (name: string) => `${name}@${service}`;
const says = (name: string, body: string, more = '') =>
  `<message type='groupchat' to='${room(name)}'><body>${body}</body>${more}</message>`;
const subscribes = `<presence to='${service}'><rai xmlns='${NS.rai}'/></presence>`;
const news = (...names: string[]) =>
  `<message from='${service}'><rai xmlns='${NS.rai}'>${names
    .map((name) => `<activity>${room(name)}</activity>`)
    .join('')}</rai></message>`;
/** Of these rooms, and of no others. */
async function gets(peer: Peer, ...names: string[]): Promise<void> {
  const reported = await peer.receives(news(...names));
  assert.equal(reported.getChild('rai', NS.rai)?.getChildElements().length, names.length);
}
const leaves = (name: string, nick: string) => `<presence type='unavailable' to='${room(name)}/${nick}'/>`;

/** The owner of persistent rooms, an occupant, and a member who is not an occupant. */
async function witches({ actor }: Scene, ...names: string[]): Promise<[Peer, Peer]> {
  const crone = await actor('crone1@localhost/desktop');
  const hag = await actor('hag66@localhost/pda', { presence: true });
  for (const name of names) {
    await founds(crone, name, 'firstwitch', { 'muc#roomconfig_persistentroom': '1' });
    await grants(crone, name, 'hag66@localhost', 'member');
  }
  await quiets(crone, hag);
  return [crone, hag];
}

async function speaks(peer: Peer, name: string, body: string, more?: string): Promise<void> {
  await peer.sends(says(name, body, more));
  await peer.receives(`<message type='groupchat'><body>${body}</body></message>`);
}

scenario('the service announces support', async ({ actor }) => {
  const hag = await actor('hag66@localhost/pda');
  await hag.sends(`<iq type='get' id='1' to='${service}'><query xmlns='${NS.discoInfo}'/></iq>`);
  await hag.receives(`<iq type='result' id='1'><query xmlns='${NS.discoInfo}'><feature var='${NS.rai}'/></query></iq>`);
});

scenario('"Rules": one notification per room, however many messages', async (scene) => {
  const [crone, hag] = await witches(scene, 'rai-one', 'rai-two');
  await speaks(crone, 'rai-one', 'before'); // Crone was never there, so nothing is new since leaving
  await hag.sends(subscribes);
  await hag.receivesNothing();
  await speaks(crone, 'rai-one', 'Thrice the brinded cat');
  await hag.receives(news('rai-one'));
  await speaks(crone, 'rai-one', 'hath mewed');
  await hag.receivesNothing();
  await speaks(crone, 'rai-two', 'Thrice and once');
  await hag.receives(news('rai-two'));
  await hag.receivesNothing();
});

scenario('"Rules": only new messages are activity', async (scene) => {
  const [crone, hag] = await witches(scene, 'rai-typing');
  await hag.sends(subscribes);
  const to = room('rai-typing');
  await crone.sends(`<message type='groupchat' to='${to}'><composing xmlns='${NS.chatStates}'/></message>`);
  await crone.sends(says('rai-typing', 'x', `<replace xmlns='${NS.correct}' id='1'/>`));
  await crone.sends(says('rai-typing', 'y', `<no-store xmlns='${NS.hints}'/>`));
  await quiets(crone);
  await hag.receivesNothing();
});

scenario(
  '"Rules": not for a client in the room, but for other clients of the user, and after leaving',
  async (scene) => {
    const [crone, hag] = await witches(scene, 'rai-there');
    const phone = await scene.actor('hag66@localhost/phone', { presence: true });
    await enters(hag, 'rai-there', 'thirdwitch');
    await quiets(crone, hag, phone);
    await hag.sends(subscribes);
    await phone.sends(subscribes);
    await quiets(phone);
    await speaks(crone, 'rai-there', 'one');
    await phone.receives(news('rai-there'));
    await hag.receives(`<message type='groupchat' from='${room('rai-there')}/firstwitch'/>`);
    await hag.receivesNothing();
    await hag.sends(leaves('rai-there', 'thirdwitch'));
    await quiets(hag, crone);
    await speaks(crone, 'rai-there', 'two');
    await hag.receives(news('rai-there'));
    await phone.receivesNothing();
  },
);

scenario('"Rules": a returning user is immediately notified of missed activity', async (scene) => {
  const [crone, hag] = await witches(scene, 'rai-a', 'rai-b', 'rai-c');
  await hag.sends(subscribes);
  for (const name of ['rai-a', 'rai-b', 'rai-c']) {
    await enters(hag, name, 'thirdwitch');
    await crone.syncs();
    await quiets(crone);
    await speaks(crone, name, 'heard');
    await quiets(hag);
  }
  await hag.sends(`<presence type='unavailable'/>`);
  await quiets(hag, crone);
  await speaks(crone, 'rai-c', 'Harpier cries');
  await speaks(crone, 'rai-a', "'tis time");
  await hag.receivesNothing();
  await hag.sends('<presence/>');
  await quiets(hag);
  await hag.sends(subscribes);
  await gets(hag, 'rai-a', 'rai-c');
  await speaks(crone, 'rai-a', 'again');
  await hag.receivesNothing();
  await speaks(crone, 'rai-b', 'first');
  await hag.receives(news('rai-b'));
  // activity that was notified is not notified again
  await enters(hag, 'rai-a', 'thirdwitch');
  await hag.sends(leaves('rai-a', 'thirdwitch'));
  await quiets(hag, crone);
  await hag.sends(subscribes);
  await gets(hag, 'rai-b', 'rai-c');
});

scenario('missed activity survives a restart', { alone: true }, async (scene) => {
  const [crone, hag] = await witches(scene, 'rai-restart');
  await hag.sends(subscribes);
  await enters(hag, 'rai-restart', 'thirdwitch');
  await hag.sends(leaves('rai-restart', 'thirdwitch'));
  await quiets(hag, crone);
  await speaks(crone, 'rai-restart', 'Harpier cries');
  await hag.receives(news('rai-restart'));
  await scene.stage.restart();
  const again = await scene.actor('hag66@localhost/pda', { presence: true });
  await again.sends(subscribes);
  await again.receives(news('rai-restart'));
});

scenario('"Rules": only for rooms that the user may enter or is a member of', async (scene) => {
  const [crone, hag] = await witches(scene, 'rai-secret');
  const macbeth = await scene.actor('macbeth@localhost/castle', { presence: true });
  await enters(hag, 'rai-secret', 'thirdwitch');
  await hag.sends(subscribes);
  await macbeth.sends(subscribes);
  await hag.sends(leaves('rai-secret', 'thirdwitch'));
  await quiets(hag, crone, macbeth);
  await grants(crone, 'rai-secret', 'hag66@localhost', 'outcast');
  await quiets(hag);
  await speaks(crone, 'rai-secret', 'one');
  await hag.receivesNothing();
  await macbeth.receivesNothing();
  await hag.sends(subscribes);
  await hag.receivesNothing();
  // a new member is notified from then on
  await grants(crone, 'rai-secret', 'macbeth@localhost', 'member');
  await quiets(macbeth);
  await speaks(crone, 'rai-secret', 'two');
  await macbeth.receives(news('rai-secret'));
  await hag.receivesNothing();
});

scenario('"Client unsubscribes": by unavailable presence to the service, or to all', async (scene) => {
  const [crone, hag] = await witches(scene, 'rai-end');
  await hag.sends(subscribes);
  await hag.sends(`<presence type='unavailable' to='${service}'/>`);
  await hag.syncs();
  await speaks(crone, 'rai-end', 'one');
  await hag.receivesNothing();
  await hag.sends(subscribes);
  await hag.sends(`<presence type='unavailable'/>`);
  await quiets(hag);
  await speaks(crone, 'rai-end', 'two');
  await hag.receivesNothing();
  // presence without the element asks for nothing
  await hag.sends(`<presence to='${service}'/>`);
  await speaks(crone, 'rai-end', 'three');
  await hag.receivesNothing();
});

scenario(
  'subscriptions are limited',
  { config: { modules: { muc: { activity_subscriptions: 1 } } } },
  async ({ actor }) => {
    const hag = await actor('hag66@localhost/pda');
    const crone = await actor('crone1@localhost/desktop');
    await hag.sends(subscribes);
    await hag.sends(subscribes); // the same once more
    await hag.receivesNothing();
    await crone.sends(subscribes);
    await crone.receives(
      `<presence type='error' from='${service}'>${refusal('wait', 'resource-constraint')}</presence>`,
    );
    await hag.sends(`<presence type='unavailable' to='${service}'/>`);
    await hag.syncs();
    await crone.sends(subscribes);
    await crone.receivesNothing();
  },
);
