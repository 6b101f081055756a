/**
 * XEP-0353: call messages before a session: all devices of both users get them immediately, and later ones from the
 * archive. The server has to support carbons, archives and offline messages (§5).
 */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import type { Element } from '../../src/server/xml/element.js';
import { type Peer, type Scene, scenario } from './dialogue.js';

const jingle = 'urn:xmpp:jingle:1';
const call = 'ca3cf894-5325-482f-a412-a6e9f832298d';
const reason = (condition: string) => `<reason xmlns='${jingle}'><${condition}/><text>why</text></reason>`;
const word = (name: string, content = '', hint = `<store xmlns='${NS.hints}'/>`) =>
  `<${name} xmlns='${NS.jingleMessage}' id='${call}'>${content}</${name}>${hint}`;
const propose = word('propose', `<description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'/>`);

const orchard = 'romeo@localhost/orchard';
const phone = 'juliet@localhost/phone';

async function wantsCopies(peer: Peer): Promise<Peer> {
  await peer.sends(`<iq type='set' id='c'><enable xmlns='${NS.carbons}'/></iq>`);
  await peer.receives(`<iq type='result' id='c'/>`);
  return peer;
}

/** Two devices of Romeo's and three of Juliet's, one of which wants no messages by its priority. */
async function devices({ actor }: Scene) {
  const device = async (address: string, priority = 0) =>
    wantsCopies(await actor(address, { presence: `<presence><priority>${priority}</priority></presence>` }));
  const all = {
    orchard: await device(orchard),
    home: await device('romeo@localhost/home'),
    phone: await device(phone),
    tablet: await device('juliet@localhost/tablet'),
    watch: await device('juliet@localhost/watch', -1),
  };
  await all.watch.syncs();
  for (const peer of Object.values(all)) peer.forgets();
  return all;
}

async function getsCopy(peer: Peer, way: 'sent' | 'received', from: string, content: string): Promise<void> {
  await peer.receives(
    `<message type='chat' from='${peer.jid.split('/')[0]}'><${way} xmlns='${NS.carbons}'><forwarded xmlns='${NS.forward}'>
      <message xmlns='jabber:client' type='chat' from='${from}'>${content}</message></forwarded></${way}></message>`,
  );
}

/** The payload names in the account's archive. */
async function archived(peer: Peer): Promise<string[]> {
  await peer.sends(`<iq type='set' id='mam'><query xmlns='${NS.mam}'/></iq>`);
  const found: string[] = [];
  for (;;) {
    const element = await peer.receivesAny();
    const result = element.getChild('result', NS.mam);
    if (result === undefined) {
      assert.equal(element.attrs.type, 'result');
      return found;
    }
    const stored = result.getChild('forwarded', NS.forward)!.getChild('message', NS.client) as Element;
    found.push(stored.getChildElements().find((child) => child.getNS() === NS.jingleMessage)!.name);
  }
}

scenario('§3: an accepted call, and its end', async (scene) => {
  const all = await devices(scene);
  const { orchard: caller, home, phone: taker, tablet, watch } = all;

  // §3.1: every device rings, those with a negative priority by their copies (§2)
  await caller.sends(`<message to='juliet@localhost' type='chat' id='1'>${propose}</message>`);
  for (const peer of [taker, tablet])
    await peer.receives(`<message type='chat' id='1' from='${orchard}' to='juliet@localhost'>${propose}</message>`);
  await getsCopy(watch, 'received', orchard, propose);
  await getsCopy(home, 'sent', orchard, propose);

  // §3.2, §3.4: to the caller's device; all others of both hear of it
  for (const name of ['ringing', 'proceed'] as const) {
    await taker.sends(`<message to='${orchard}' type='chat'>${word(name)}</message>`);
    await caller.receives(`<message type='chat' from='${phone}' to='${orchard}'>${word(name)}</message>`);
    await getsCopy(home, 'received', phone, word(name));
    for (const peer of [tablet, watch]) await getsCopy(peer, 'sent', phone, word(name));
  }

  // §3.6: the session itself is between the two
  await caller.sends(
    `<iq type='set' id='s' to='${phone}'><jingle xmlns='${jingle}' action='session-initiate' sid='${call}'/></iq>`,
  );
  await taker.receives(
    `<iq type='set' id='s' from='${orchard}' to='${phone}'><jingle xmlns='${jingle}' action='session-initiate' sid='${call}'/></iq>`,
  );
  await taker.sends(`<iq type='result' id='s' to='${orchard}'/>`);
  await caller.receives(`<iq type='result' id='s' from='${phone}'/>`);

  // §3.7: both send it
  const finish = word('finish', reason('success'));
  await caller.sends(`<message to='${phone}' type='chat'>${finish}</message>`);
  await taker.receives(`<message type='chat' from='${orchard}'>${finish}</message>`);
  await getsCopy(home, 'sent', orchard, finish);
  for (const peer of [tablet, watch]) await getsCopy(peer, 'received', orchard, finish);
  await taker.sends(`<message to='${orchard}' type='chat'>${finish}</message>`);
  await caller.receives(`<message type='chat' from='${phone}'>${finish}</message>`);
  await getsCopy(home, 'received', phone, finish);
  for (const peer of [tablet, watch]) await getsCopy(peer, 'sent', phone, finish);
  for (const peer of Object.values(all)) await peer.receivesNothing();

  // §5: a device that comes later learns all of it, in its order
  const story = ['propose', 'ringing', 'proceed', 'finish', 'finish'];
  assert.deepEqual(await archived(await scene.actor('romeo@localhost/later')), story);
  assert.deepEqual(await archived(await scene.actor('juliet@localhost/later')), story);
});

scenario('§3.5: a rejected call stops ringing everywhere', async (scene) => {
  const { orchard: caller, home, phone: taker, tablet, watch } = await devices(scene);
  const reject = word('reject', `${reason('expired')}<tie-break/>`);
  await taker.sends(`<message to='${orchard}' type='chat'>${reject}</message>`);
  await caller.receives(`<message type='chat' from='${phone}'>${reject}</message>`);
  await getsCopy(home, 'received', phone, reject);
  for (const peer of [tablet, watch]) await getsCopy(peer, 'sent', phone, reject);
});

scenario('§3.3: an offline user gets call messages like other messages', async ({ actor, stage }) => {
  const caller = await actor(orchard);
  await stage.account('juliet@localhost');
  const retract = word('retract', reason('cancel'));
  for (const content of [propose, retract])
    await caller.sends(`<message to='juliet@localhost' type='chat'>${content}</message>`);
  await caller.receivesNothing();
  const juliet = await actor(phone);
  await juliet.sends('<presence/>');
  await juliet.receives(`<presence from='${phone}'/>`);
  for (const content of [propose, retract]) {
    const stored = await juliet.receives(
      `<message type='chat' from='${orchard}'>${content}<delay xmlns='${NS.delay}'/></message>`,
    );
    assert.ok(stored.getChild('stanza-id', NS.stanzaId), 'in the archive too');
  }
  assert.deepEqual(await archived(juliet), ['propose', 'retract']);
});

scenario('§3.7: a message for a device that disconnected goes to the other devices', async ({ actor }) => {
  const caller = await actor(orchard);
  const tablet = await actor('juliet@localhost/tablet', { presence: true });
  const finish = word('finish', reason('connectivity-error'));
  await caller.sends(`<message to='${phone}' type='chat'>${finish}</message>`);
  await tablet.receives(`<message type='chat' from='${orchard}'>${finish}</message>`);
});

scenario('§3: as in version 0.3, without a hint and with accept to the own account', async ({ actor }) => {
  const taker = await actor(phone, { presence: true });
  const tablet = await actor('juliet@localhost/tablet', { presence: true });
  await tablet.syncs();
  for (const peer of [taker, tablet]) peer.forgets();
  const accept = word('accept', '', '');
  await taker.sends(`<message to='juliet@localhost' type='chat'>${accept}</message>`);
  await tablet.receives(`<message type='chat' from='${phone}' to='juliet@localhost'>${accept}</message>`);
  assert.deepEqual(await archived(await actor('juliet@localhost/later')), ['accept']);
});

scenario('XEP-0191: a blocked caller does not ring', async ({ actor }) => {
  const caller = await actor(orchard);
  const taker = await actor(phone, { presence: true });
  await taker.sends(`<iq type='set' id='b'><block xmlns='${NS.blocking}'><item jid='romeo@localhost'/></block></iq>`);
  await taker.receives(`<iq type='result' id='b'/>`);
  await caller.sends(`<message to='juliet@localhost' type='chat' id='1'>${propose}</message>`);
  await caller.receives(
    `<message type='error' id='1' from='juliet@localhost'><error><service-unavailable xmlns='${NS.stanzas}'/></error></message>`,
  );
  await taker.receivesNothing();
});
