/** XEP-0045 §6, §7.2, §7.14, §10.1: finding, creating, entering and leaving rooms. */
import { NS } from '../../src/server/stanza/ns.js';
import { scenario } from './dialogue.js';
import { refusal } from './phrases.js';
import { configures, enters, item, joins, opens } from './rooms.js';

scenario('§10.1.2: an instant room is locked until its owner takes the usual configuration', async ({ actor }) => {
  const crone = await actor('crone1@localhost/desktop');
  const hag = await actor('hag66@localhost/pda');
  await crone.sends(joins('coven@conference.localhost/firstwitch'));
  await crone.receives(
    `<presence from='coven@conference.localhost/firstwitch' to='crone1@localhost/desktop'>
      <x xmlns='${NS.mucUser}'>${item('owner', 'moderator')}<status code='110'/><status code='201'/></x>
      <occupant-id xmlns='${NS.occupantId}' id='*'/></presence>`,
  );
  await crone.receives(`<message type='groupchat' from='coven@conference.localhost'><subject/></message>`);
  // §7.2.10
  await hag.sends(joins('coven@conference.localhost/thirdwitch'));
  await hag.receives(
    `<presence type='error' from='coven@conference.localhost/thirdwitch'><x xmlns='${NS.muc}'/>
      ${refusal('cancel', 'item-not-found')}</presence>`,
  );
  await opens(crone, 'coven');
  await hag.sends(joins('coven@conference.localhost/thirdwitch'));
  // §7.2.2: the others first, then oneself
  await hag.receives(
    `<presence from='coven@conference.localhost/firstwitch'>
      <x xmlns='${NS.mucUser}'>${item('owner', 'moderator')}</x></presence>`,
  );
  await hag.receives(
    `<presence from='coven@conference.localhost/thirdwitch'>
      <x xmlns='${NS.mucUser}'>${item('none', 'participant')}<status code='110'/></x></presence>`,
  );
  await hag.receives(`<message type='groupchat'><subject/></message>`);
  await crone.receives(
    `<presence from='coven@conference.localhost/thirdwitch'>
      <x xmlns='${NS.mucUser}'><item affiliation='none' role='participant' jid='hag66@localhost/pda'/></x></presence>`,
  );
  // §7.14
  await hag.sends(
    `<presence type='unavailable' to='coven@conference.localhost/thirdwitch'><status>gone</status></presence>`,
  );
  await hag.receives(
    `<presence type='unavailable' from='coven@conference.localhost/thirdwitch'><status>gone</status>
      <x xmlns='${NS.mucUser}'>${item('none', 'none')}<status code='110'/></x></presence>`,
  );
  await crone.receives(
    `<presence type='unavailable' from='coven@conference.localhost/thirdwitch'><status>gone</status>
      <x xmlns='${NS.mucUser}'>${item('none', 'none')}</x></presence>`,
  );
  await hag.receivesNothing();
  await crone.receivesNothing();
});
