/** XEP-0115: the server's capabilities in the stream features, and the clients' in their presence. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { NS } from '../../src/server/stanza/ns.js';
import type { Element } from '../../src/server/xml/element.js';
import { scenario } from './dialogue.js';
import { befriends, refusal } from './phrases.js';

const contact = { hosts: { localhost: { contact: { abuse: ['mailto:abuse@localhost'], admin: ['xmpp:a@b'] } } } };

/** §5.1, written from its text. */
function verification(query: Element): string {
  const attributes = (name: string, ...keys: string[]) =>
    query.getChildren(name).map(({ attrs }) => keys.map((key) => attrs[key] ?? '').join('/'));
  let text = '';
  for (const identity of attributes('identity', 'category', 'type', 'xml:lang', 'name').sort()) text += `${identity}<`;
  for (const feature of attributes('feature', 'var').sort()) text += `${feature}<`;
  const forms = query.getChildren('x', NS.dataForms).map((form) => {
    const fields = form.getChildren('field').map((field) => ({
      name: field.attrs.var!,
      values: field.getChildren('value').map((value) => value.getText()),
    }));
    return { type: fields.find(({ name }) => name === 'FORM_TYPE')!.values[0]!, fields };
  });
  for (const { type, fields } of forms.sort((a, b) => (a.type < b.type ? -1 : 1))) {
    text += `${type}<`;
    for (const { name, values } of fields.sort((a, b) => (a.name < b.name ? -1 : 1)))
      if (name !== 'FORM_TYPE') text += [name, ...values.sort(), ''].join('<');
  }
  return createHash('sha1').update(text).digest('base64');
}

scenario(
  '§5, §6.2, §6.3: the hash in the stream features matches the disco#info result',
  { config: contact },
  async ({ connect, stage }) => {
    await stage.account('romeo@localhost');
    const romeo = await connect();
    await romeo.opens();
    const before = await romeo.receivesFeatures();
    assert.equal(before.getChild('c', NS.caps), undefined, 'not before the login');
    const features = await romeo.authenticates('romeo');
    const { hash, node, ver } = features.getChild('c', NS.caps)!.attrs;
    assert.equal(hash, 'sha-1');
    await romeo.binds();
    for (const query of [
      `<query xmlns='${NS.discoInfo}'/>`,
      `<query xmlns='${NS.discoInfo}' node='${node}#${ver}'/>`,
    ]) {
      await romeo.sends(`<iq type='get' id='1' to='localhost'>${query}</iq>`);
      const result = await romeo.receives(`<iq type='result' id='1' from='localhost'>${query}</iq>`);
      const answer = result.getChildElements()[0]!;
      assert.equal(verification(answer), ver);
      assert.ok(answer.getChild('x', NS.dataForms), 'with its forms');
    }
    // §6.2: of other versions we know nothing
    for (const unknown of [`${node}#AAAA`, `${node}#`, `urn:other#${ver}`]) {
      await romeo.sends(`<iq type='get' id='2' to='localhost'><query xmlns='${NS.discoInfo}' node='${unknown}'/></iq>`);
      await romeo.receives(`<iq type='error' id='2'>${refusal('cancel', 'item-not-found')}</iq>`);
    }
  },
);

scenario("§6.1: a client's capabilities are in its presence, also for later subscribers", async ({ actor }) => {
  const caps = `<c xmlns='${NS.caps}' hash='sha-1' node='urn:x' ver='QgayPKawpkPSDYmwT/WM94uAlu0=' ext='a b'/>`;
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await befriends(romeo, juliet);
  await romeo.sends(`<presence>${caps}</presence>`);
  await juliet.receives(`<presence from='romeo@localhost/orchard'>${caps}</presence>`, { exactly: false });
  const chamber = await actor('juliet@localhost/chamber');
  await chamber.sends('<presence/>');
  await chamber.receivesAnyOrder([
    `<presence from='juliet@localhost/chamber'/>`,
    `<presence from='juliet@localhost/balcony'/>`,
    `<presence from='romeo@localhost/orchard'>${caps}</presence>`,
  ]);
});

scenario('§8.4: capabilities are not repeated to subscribers that have them', async ({ actor }) => {
  const caps = (ver: string) => `<c xmlns='${NS.caps}' hash='sha-1' node='urn:x' ver='${ver}'/>`;
  const one = caps('QgayPKawpkPSDYmwT/WM94uAlu0=');
  const other = caps('66/0NaeaBKkwk85efJTGmU47vXI=');
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  const nurse = await actor('nurse@localhost/kitchen', { presence: true });
  await befriends(romeo, juliet);
  await romeo.sends(`<iq type='get' id='1' to='localhost'><query xmlns='${NS.discoInfo}'/></iq>`);
  await romeo.receives(
    `<iq type='result' id='1'><query xmlns='${NS.discoInfo}'><feature var='${NS.caps}#optimize'/></query></iq>`,
  );
  const says = async (xml: string) => {
    await romeo.sends(xml);
    const received = await juliet.receives(`<presence from='romeo@localhost/orchard'/>`);
    await romeo.syncs();
    romeo.forgets();
    return received.getChild('c', NS.caps)?.attrs.ver;
  };
  assert.equal(await says(`<presence>${one}</presence>`), 'QgayPKawpkPSDYmwT/WM94uAlu0=');
  assert.equal(await says(`<presence><show>away</show>${one}</presence>`), undefined, 'stripped');
  assert.equal(await says(`<presence><show>xa</show></presence>`), undefined, 'left out by the client');
  assert.equal(await says(`<presence>${other}</presence>`), '66/0NaeaBKkwk85efJTGmU47vXI=', 'changed');
  assert.equal(await says(`<presence><show>dnd</show></presence>`), undefined);
  // To a later session, a repeated probe, a new subscriber, and in directed presence
  const now = `<presence from='romeo@localhost/orchard'><show>dnd</show>${other}</presence>`;
  await juliet.sends(`<presence type='probe' to='romeo@localhost'/>`);
  await juliet.receives(now);
  await romeo.sends(`<presence to='nurse@localhost/kitchen'/>`);
  await nurse.receives(`<presence from='romeo@localhost/orchard'>${other}</presence>`);
  await befriends(romeo, nurse);
  await nurse.sends(`<presence type='probe' to='romeo@localhost'/>`);
  await nurse.receives(now);
  const chamber = await actor('juliet@localhost/chamber');
  await chamber.sends('<presence/>');
  await chamber.receivesAnyOrder([
    `<presence from='juliet@localhost/chamber'/>`,
    `<presence from='juliet@localhost/balcony'/>`,
    now,
  ]);
  // After going offline it is sent again
  await romeo.syncs();
  romeo.forgets();
  await romeo.sends(`<presence type='unavailable'/>`);
  await romeo.receives(`<presence type='unavailable'/>`);
  await juliet.receives(`<presence from='juliet@localhost/chamber'/>`);
  await juliet.receives(`<presence type='unavailable' from='romeo@localhost/orchard'/>`);
  assert.equal(await says(`<presence>${other}</presence>`), '66/0NaeaBKkwk85efJTGmU47vXI=');
});

scenario('§8.4, XEP-0352: a client that was inactive gets capabilities it missed', async ({ actor }) => {
  const caps = `<c xmlns='${NS.caps}' hash='sha-1' node='urn:x' ver='QgayPKawpkPSDYmwT/WM94uAlu0='/>`;
  const romeo = await actor('romeo@localhost/orchard');
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await befriends(romeo, juliet);
  await juliet.sends(`<inactive xmlns='${NS.csi}'/>`);
  await juliet.syncs();
  await romeo.sends(`<presence>${caps}</presence>`);
  await romeo.sends(`<presence><show>away</show>${caps}</presence>`);
  await romeo.syncs();
  await juliet.sends(`<active xmlns='${NS.csi}'/>`);
  await juliet.receives(`<presence from='romeo@localhost/orchard'><show>away</show>${caps}</presence>`);
});
