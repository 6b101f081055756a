/** XEP-0352: Client State Indication. */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import { scenario } from './dialogue.js';

const inactive = `<inactive xmlns='${NS.csi}'/>`;
const active = `<active xmlns='${NS.csi}'/>`;
const presence = (to: string, show: string) => `<presence to='${to}'><show>${show}</show></presence>`;
const composing = (to: string) => `<message to='${to}' type='chat'><composing xmlns='${NS.chatStates}'/></message>`;
const chat = (to: string, body: string) => `<message to='${to}' type='chat'><body>${body}</body></message>`;
const messages = (body: string) => `<message type='chat'><body>${body}</body></message>`;

scenario('§4.1: offered after authentication', async ({ connect, stage }) => {
  await stage.account('romeo@localhost');
  const romeo = await connect();
  await romeo.opens();
  assert.equal((await romeo.receivesFeatures()).getChild('csi', NS.csi), undefined);
  assert.ok((await romeo.authenticates('romeo')).getChild('csi', NS.csi));
});

scenario('§4.2: neither element has an answer, and both may be repeated', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  for (const xml of [active, inactive, inactive, active, active]) await romeo.sends(xml);
  await romeo.receivesNothing();
  await romeo.sends(`<whatever xmlns='${NS.csi}'/>`);
  await romeo.receivesStreamError('unsupported-stanza-type');
});

for (const transport of ['tcp', 'websocket'] as const) {
  scenario(
    `§3.2: presence and chat states are held back until an important stanza (${transport})`,
    async ({ actor }) => {
      const romeo = await actor('romeo@localhost/orchard');
      const juliet = await actor('juliet@localhost/balcony', { presence: true, transport });
      await juliet.sends(inactive);
      await juliet.syncs();
      await romeo.sends(presence(juliet.jid, 'away'));
      await romeo.sends(composing(juliet.jid));
      await romeo.sends(presence(juliet.jid, 'dnd'));
      await romeo.syncs();
      // The latest presence of each address is enough; the order is kept.
      await romeo.sends(chat(juliet.jid, 'wake up'));
      await juliet.receives(`<message type='chat'><composing xmlns='${NS.chatStates}'/></message>`);
      await juliet.receives(`<presence from='${romeo.jid}'><show>dnd</show></presence>`);
      await juliet.receives(messages('wake up'));
      await juliet.receivesNothing();
    },
  );
}

scenario('§3.2: the empty message of a room that looks for ghosts waits', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await juliet.sends(inactive);
  await juliet.syncs();
  await romeo.sends(presence(juliet.jid, 'away'));
  await romeo.sends(`<message to='${juliet.jid}' type='groupchat'><no-store xmlns='${NS.hints}'/></message>`);
  await romeo.sends(presence(juliet.jid, 'dnd'));
  await romeo.syncs();
  await romeo.sends(chat(juliet.jid, 'wake up'));
  // The earlier presence has not been sent.
  await juliet.receives(`<message type='groupchat'/>`);
  await juliet.receives(`<presence from='${romeo.jid}'><show>dnd</show></presence>`);
  await juliet.receives(messages('wake up'));
});

scenario('§5.1: held stanzas precede answers to requests after <active/>', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await juliet.sends(inactive);
  await juliet.syncs();
  await romeo.sends(presence(juliet.jid, 'away'));
  await romeo.syncs();
  await juliet.sends(`${active}<iq type='get' id='1' to='localhost'><ping xmlns='${NS.ping}'/></iq>`);
  await juliet.receives(`<presence from='${romeo.jid}'><show>away</show></presence>`);
  await juliet.receives(`<iq type='result' id='1'/>`);
  await romeo.sends(presence(juliet.jid, 'chat'));
  await juliet.receives(`<presence from='${romeo.jid}'><show>chat</show></presence>`);
});

for (const [title, xml, name] of [
  ['a message', `<message type='chat'><body>hi</body><active xmlns='${NS.chatStates}'/></message>`, 'message'],
  ['a message without a body', `<message type='chat'><x xmlns='encrypted'/></message>`, 'message'],
  ['a receipt', `<message type='chat'><received xmlns='${NS.receipts}' id='1'/></message>`, 'message'],
  ['a marker', `<message type='chat'><displayed xmlns='${NS.markers}' id='1'/></message>`, 'message'],
  ['an empty message', `<message type='chat'/>`, 'message'],
  ['a request', `<iq type='get' id='1'><query xmlns='nope'/></iq>`, 'iq'],
  ['a subscription', `<presence type='subscribe'/>`, 'presence'],
] as const) {
  scenario(`§3.2: ${title} is sent immediately`, async ({ actor }) => {
    const romeo = await actor('romeo@localhost/orchard');
    const juliet = await actor('juliet@localhost/balcony', { presence: true });
    await juliet.sends(inactive);
    await juliet.syncs();
    const to = xml.includes('subscribe') ? 'juliet@localhost' : juliet.jid;
    await romeo.sends(xml.replace(/^<\w+/, `$& to='${to}'`));
    assert.equal((await juliet.receivesAny()).name, name);
  });
}

scenario('§5.2: a resumed session is active', async ({ actor, known }) => {
  const romeo = await actor('romeo@localhost/orchard');
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  const { id } = (await juliet.managesStream()).attrs;
  await juliet.sends(inactive);
  await juliet.syncs();
  await romeo.sends(presence(juliet.jid, 'away'));
  await romeo.syncs();
  juliet.cut();
  const again = await known('juliet@localhost');
  await again.sends(`<resume xmlns='${NS.sm}' previd='${id}' h='${juliet.handled}'/>`);
  await again.receives(`<resumed xmlns='${NS.sm}'/>`);
  // Stanzas held when the connection is lost are not lost.
  await again.receives(`<presence from='${romeo.jid}'><show>away</show></presence>`);
  await again.receives(`<r xmlns='${NS.sm}'/>`);
  await romeo.sends(presence(juliet.jid, 'chat'));
  await again.receives(`<presence from='${romeo.jid}'><show>chat</show></presence>`);
});

scenario('with stream management, stanzas are counted when they are sent', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await juliet.sends(inactive);
  await juliet.syncs();
  await romeo.sends(presence(juliet.jid, 'away'));
  await romeo.syncs();
  // Held stanzas precede the count.
  await juliet.sends(`<enable xmlns='${NS.sm}'/>`);
  await juliet.receives(`<presence from='${romeo.jid}'/>`);
  await juliet.receives(`<enabled xmlns='${NS.sm}'/>`);
  await romeo.sends(presence(juliet.jid, 'dnd'));
  await romeo.syncs();
  // Nothing else comes before this.
  await juliet.sends(`<r xmlns='${NS.sm}'/>`);
  await juliet.receives(`<a xmlns='${NS.sm}' h='0'/>`);
  await juliet.sends(`<a xmlns='${NS.sm}' h='0'/>`);
  await juliet.sends(active);
  await juliet.receives(`<presence from='${romeo.jid}'><show>dnd</show></presence>`);
});

scenario('held stanzas are limited', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await juliet.sends(inactive);
  await juliet.syncs();
  await romeo.sends(composing(juliet.jid).repeat(500));
  for (let at = 0; at < 500; at++) await juliet.receives(`<message type='chat'/>`);
});
