/** XEP-0199: pings. */
import { NS } from '../../src/server/stanza/ns.js';
import { scenario } from './dialogue.js';
import { refusal } from './phrases.js';

const ping = `<ping xmlns='${NS.ping}'/>`;

scenario('§4.2: from client to server', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  await romeo.sends(`<iq type='get' id='1' to='localhost'>${ping}</iq>`);
  await romeo.receives(`<iq type='result' id='1' from='localhost' to='romeo@localhost/orchard'/>`, { exactly: true });
  await romeo.sends(`<iq type='get' id='2' to='romeo@localhost'>${ping}</iq>`);
  await romeo.receives(`<iq type='result' id='2' from='romeo@localhost' to='romeo@localhost/orchard'/>`, {
    exactly: true,
  });
  await romeo.sends(`<iq type='get' id='3'>${ping}</iq>`);
  await romeo.receives(`<iq type='result' id='3' to='romeo@localhost/orchard'/>`);
  await romeo.sends(`<iq type='get' id='4' to='elsewhere.example'>${ping}</iq>`);
  await romeo.receives(`<iq type='result' id='4' from='elsewhere.example' to='romeo@localhost/orchard'/>`);
  // It is a question
  await romeo.sends(`<iq type='set' id='5' to='localhost'>${ping}</iq>`);
  await romeo.receives(`<iq type='error' id='5'>${refusal('cancel', 'service-unavailable')}</iq>`);
});

scenario('§4.4: from client to client', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  const juliet = await actor('juliet@localhost/balcony');
  await romeo.sends(`<iq type='get' id='1' to='juliet@localhost/balcony'>${ping}</iq>`);
  await juliet.receives(`<iq type='get' id='1' from='romeo@localhost/orchard'>${ping}</iq>`);
  await juliet.sends(`<iq type='result' id='1' to='romeo@localhost/orchard'/>`);
  await romeo.receives(`<iq type='result' id='1' from='juliet@localhost/balcony' to='romeo@localhost/orchard'/>`);
});

scenario('§8: a ping does not reveal whether a client is online', async ({ actor, stage }) => {
  const romeo = await actor('romeo@localhost/orchard');
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await stage.account('paris@localhost');
  const addresses = ['juliet@localhost', 'paris@localhost', 'nobody@localhost'];
  for (const to of [...addresses, ...addresses.map((bare) => `${bare}/nowhere`)]) {
    await romeo.sends(`<iq type='get' id='1' to='${to}'>${ping}</iq>`);
    await romeo.receives(
      `<iq type='error' id='1' from='${to}'>${ping}${refusal('cancel', 'service-unavailable')}</iq>`,
    );
  }
  await juliet.receivesNothing();
});

scenario('§7: support is announced', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  for (const to of ['localhost', 'romeo@localhost']) {
    await romeo.sends(`<iq type='get' id='1' to='${to}'><query xmlns='${NS.discoInfo}'/></iq>`);
    await romeo.receives(
      `<iq type='result' id='1'><query xmlns='${NS.discoInfo}'><feature var='urn:xmpp:ping'/></query></iq>`,
    );
  }
});
