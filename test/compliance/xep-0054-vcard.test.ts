/** XEP-0054: vcard-temp. */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import { hits, scenario } from './dialogue.js';
import { refusal } from './phrases.js';

const ask = `<vCard xmlns='${NS.vcardTemp}'/>`;
const card = `<vCard xmlns='${NS.vcardTemp}'><FN>Juliet &amp; co. ♥</FN><N><FAMILY>Capulet</FAMILY><GIVEN>Juliet</GIVEN></N>
  <EMAIL><INTERNET/><PREF/><USERID>j@capulet.example</USERID></EMAIL><PHOTO><TYPE>image/png</TYPE><BINVAL>iVBO</BINVAL></PHOTO></vCard>`;

scenario("§3.1, §3.2, §3.3: a user's own vCard is public", async ({ actor }) => {
  const juliet = await actor('juliet@localhost/balcony');
  await juliet.sends(`<iq type='get' id='1'>${ask}</iq>`);
  // §3.1: there is none
  await juliet.receives(`<iq type='result' id='1' to='juliet@localhost/balcony'>${ask}</iq>`, { exactly: true });
  await juliet.sends(`<iq type='set' id='2'>${card}</iq>`);
  await juliet.receives(`<iq type='result' id='2' to='juliet@localhost/balcony'/>`);
  const romeo = await actor('romeo@localhost/orchard');
  const tybalt = await actor('tybalt@elsewhere.example/street');
  for (const peer of [juliet, romeo, tybalt]) {
    await peer.sends(`<iq type='get' id='3' to='juliet@localhost'>${ask}</iq>`);
    await peer.receives(`<iq type='result' id='3' from='juliet@localhost' to='${peer.jid}'>${card}</iq>`, {
      exactly: true,
    });
  }
  // As a whole
  await juliet.sends(`<iq type='set' id='4'><vCard xmlns='${NS.vcardTemp}'><FN>J</FN></vCard></iq>`);
  await juliet.receives(`<iq type='result' id='4'/>`);
  await romeo.sends(`<iq type='get' id='5' to='juliet@localhost'>${ask}</iq>`);
  await romeo.receives(
    `<iq type='result' id='5' from='juliet@localhost' to='romeo@localhost/orchard'><vCard xmlns='${NS.vcardTemp}'><FN>J</FN></vCard></iq>`,
    { exactly: true },
  );
  await juliet.receivesNothing();
});

scenario('§3.3: a missing card and a missing account get the same answer', async ({ actor, stage }) => {
  await stage.account('juliet@localhost');
  const romeo = await actor('romeo@localhost/orchard');
  for (const whose of ['juliet@localhost', 'nobody@localhost']) {
    await romeo.sends(`<iq type='get' id='1' to='${whose}'>${ask}</iq>`);
    await romeo.receives(
      `<iq type='error' id='1' from='${whose}'>${ask}${refusal('cancel', 'service-unavailable')}</iq>`,
    );
  }
});

scenario("§3.2: another's card cannot be changed", async ({ actor }) => {
  const juliet = await actor('juliet@localhost/balcony');
  await juliet.sends(`<iq type='set' id='1'>${card}</iq>`);
  await juliet.receives(`<iq type='result' id='1'/>`);
  const romeo = await actor('romeo@localhost/orchard');
  for (const whose of ['juliet@localhost', 'nobody@localhost']) {
    await romeo.sends(`<iq type='set' id='1' to='${whose}'>${ask}</iq>`);
    await romeo.receives(`<iq type='error' id='1' from='${whose}'>${refusal('auth', 'forbidden')}</iq>`);
  }
  await juliet.sends(`<iq type='get' id='2'>${ask}</iq>`);
  await juliet.receives(`<iq type='result' id='2'>${card}</iq>`);
});

scenario('§6: the size is limited', { config: { limits: { vcard_bytes: 1000 } } }, async ({ actor }) => {
  const juliet = await actor('juliet@localhost/balcony');
  await juliet.sends(
    `<iq type='set' id='1'><vCard xmlns='${NS.vcardTemp}'><DESC>${'x'.repeat(1000)}</DESC></vCard></iq>`,
  );
  await juliet.receives(`<iq type='error' id='1'>${refusal('modify', 'policy-violation')}</iq>`);
});

scenario('§4: support is announced', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  for (const to of ['localhost', 'romeo@localhost']) {
    await romeo.sends(`<iq type='get' id='1' to='${to}'><query xmlns='${NS.discoInfo}'/></iq>`);
    await romeo.receives(
      `<iq type='result' id='1'><query xmlns='${NS.discoInfo}'><feature var='vcard-temp'/></query></iq>`,
    );
  }
});

scenario('the elements in a card of either kind are limited', async ({ actor, server }) => {
  const juliet = await actor('juliet@localhost/balcony');
  const temp = (count: number) =>
    `<vCard xmlns='${NS.vcardTemp}'>${'<TEL><NUMBER>1</NUMBER></TEL>'.repeat(count)}</vCard>`;
  const four = (count: number) =>
    `<pubsub xmlns='${NS.pubsub}'><publish node='${NS.vcard4Node}'><item><vcard xmlns='${NS.vcard4}'>${'<email><text>j@x</text></email>'.repeat(count)}</vcard></item></publish></pubsub>`;
  for (const card of [temp, four]) {
    await juliet.sends(`<iq type='set' id='1'>${card(499)}</iq>`);
    await juliet.receives(`<iq type='result' id='1'/>`);
    await juliet.sends(`<iq type='set' id='2'>${card(500)}</iq>`);
    await juliet.receives(`<iq type='error' id='2'>${refusal('modify', 'policy-violation')}</iq>`);
  }
  assert.equal(await hits({ server }, 'vcard_elements'), 2);
});
