/** XEP-0513: who may mention whom in a room. */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import { type Peer, type Scene, scenario } from './dialogue.js';
import { refusal } from './phrases.js';
import { enters, founds, grants, quiets, service } from './rooms.js';

const room = (name: string) => `${name}@${service}`;
const says = (name: string, body: string, more = '') =>
  `<message type='groupchat' to='${room(name)}'><body>${body}</body>${more}</message>`;
const individual = (id: string, inside = '') =>
  `<mention xmlns='${NS.explicitMentions}' begin='0' end='3' occupantid='${id}'>${inside}</mention>`;
const group = (kind: string, more = '') =>
  `<mention xmlns='${NS.explicitMentions}' mentions='${NS.explicitMentions}${kind}' ${more}/>`;

const kinds = ['channel', 'space', 'server', 'associations', 'hats'];

type Rights = Readonly<Record<string, string>>;
const all: Rights = {
  count: '5',
  individual: 'participants',
  ...Object.fromEntries(kinds.map((kind) => [kind, 'participants'])),
};

const fields = (rights: Rights) =>
  Object.entries(rights)
    .map(([name, value]) => `<field var='mentions#${name}'><value>${value}</value></field>`)
    .join('');
const sets = (name: string, rights: Rights) =>
  `<iq type='set' id='set' to='${room(name)}'><query xmlns='${NS.explicitMentions}'>
    <x xmlns='${NS.dataForms}' type='submit'>
      <field var='FORM_TYPE'><value>${NS.explicitMentions}</value></field>${fields(rights)}</x></query></iq>`;

/** An owner and a participant in an open room. */
async function pair({ actor }: Scene, name: string, config: Readonly<Record<string, string>> = {}) {
  const crone = await actor('crone1@localhost/desktop');
  const hag = await actor('hag66@localhost/pda');
  await founds(crone, name, 'firstwitch', config);
  await enters(hag, name, 'thirdwitch');
  await quiets(crone, hag);
  return [crone, hag] as const;
}

/** The mentions in the resulting message. */
async function mentionsIn(speaker: Peer, hearer: Peer, xml: string): Promise<string[]> {
  await quiets(speaker, hearer);
  await speaker.sends(xml);
  const received = await hearer.receives(`<message type='groupchat'><body>*</body></message>`);
  await quiets(speaker);
  return received
    .getChildren('mention', NS.explicitMentions)
    .map(({ attrs }) => attrs.occupantid ?? attrs.mentions?.slice(NS.explicitMentions.length) ?? 'other');
}

scenario('"Discovering Support": features of the room, and rights in muc#roominfo', async (scene) => {
  const [crone] = await pair(scene, 'mention-disco');
  await crone.sends(`<iq type='get' id='1' to='${room('mention-disco')}'><query xmlns='${NS.discoInfo}'/></iq>`);
  await crone.receives(
    `<iq type='result' id='1'><query xmlns='${NS.discoInfo}'>
      <feature var='${NS.explicitMentions}'/>
      ${kinds.map((kind) => `<feature var='${NS.explicitMentions}#${kind}'/>`).join('')}
      <x xmlns='${NS.dataForms}' type='result'><field var='FORM_TYPE'><value>${NS.mucRoomInfo}</value></field>
        ${fields({ count: '20', individual: 'participants', channel: 'moderators' })}</x></query></iq>`,
  );
});

scenario('"Permissions": everybody can read them, owners set them, and all occupants are notified', async (scene) => {
  const [crone, hag] = await pair(scene, 'mention-rights');
  const asks = `<iq type='get' id='get' to='${room('mention-rights')}'><query xmlns='${NS.explicitMentions}'/></iq>`;
  await hag.sends(asks);
  await hag.receives(
    `<iq type='result' id='get' from='${room('mention-rights')}'><query xmlns='${NS.explicitMentions}'>
      <x xmlns='${NS.dataForms}' type='form'>
        <field type='hidden' var='FORM_TYPE'><value>${NS.explicitMentions}</value></field>
        <field var='mentions#count' type='text-single'><required/><value>20</value></field>
        <field var='mentions#individual' type='list-single'><required/><value>participants</value>
          <option><value>participants</value></option><option><value>moderators</value></option>
          <option><value>none</value></option></field>
        ${kinds.map((kind) => `<field var='mentions#${kind}' type='list-single'/>`).join('')}
      </x></query></iq>`,
  );
  await hag.sends(sets('mention-rights', all));
  await hag.receives(`<iq type='error' id='set'>${refusal('auth', 'forbidden')}</iq>`);
  for (const wrong of [{ count: '-1' }, { count: '101' }, { channel: 'everybody' }]) {
    await crone.sends(sets('mention-rights', { ...all, ...wrong }));
    await crone.receives(`<iq type='error' id='set'>${refusal('modify', 'not-acceptable')}</iq>`);
  }
  const usual = { ...all, count: '20', channel: 'moderators', space: 'moderators', server: 'moderators' };
  await crone.sends(sets('mention-rights', { ...usual, count: '1', hats: 'none' }));
  const news = `<message type='groupchat' from='${room('mention-rights')}'><x xmlns='${NS.dataForms}' type='result'>
    <field type='hidden' var='FORM_TYPE'><value>${NS.explicitMentions}</value></field>
    ${fields({ count: '1', hats: 'none' })}</x></message>`;
  await crone.receivesAnyOrder([news, `<iq type='result' id='set'/>`]);
  const reported = await hag.receives(news);
  assert.equal(reported.getChild('x', NS.dataForms)?.getChildren('field').length, 3);
  // nothing is new
  await crone.sends(sets('mention-rights', { ...usual, count: '1', hats: 'none' }));
  await crone.receives(`<iq type='result' id='set'/>`);
  await hag.receivesNothing();
});

scenario('"Security": mentions without permission reach nobody', async (scene) => {
  const [crone, hag] = await pair(scene, 'mention-strip');
  const name = 'mention-strip';
  const everything = individual('rosa') + group('#channel') + group('#moderators') + group('#none') + group('#own');
  assert.deepEqual(await mentionsIn(hag, crone, says(name, 'x', everything)), ['rosa', '#moderators', '#none', '#own']);
  assert.deepEqual(await mentionsIn(crone, hag, says(name, 'x', everything)), [
    'rosa',
    '#channel',
    '#moderators',
    '#none',
    '#own',
  ]);
  // as in one of the examples
  assert.deepEqual(await mentionsIn(hag, crone, says(name, 'x', group('channel'))), []);
  await crone.sends(
    sets(name, { ...all, count: '10', individual: 'moderators', associations: 'none', server: 'moderators' }),
  );
  await quiets(crone, hag);
  assert.deepEqual(await mentionsIn(hag, crone, says(name, 'x', everything + group('#server'))), ['#channel', '#own']);
  assert.deepEqual(await mentionsIn(crone, hag, says(name, 'x', individual('rosa') + group('#owner'))), ['rosa']);
  // nor from the archive
  await hag.sends(`<iq type='set' id='q' to='${room(name)}'><query xmlns='${NS.mam}'/></iq>`);
  await hag.syncs();
  assert.doesNotMatch(hag.forgets().join(''), /#server/);
});

scenario('"Permissions": all mentions of a message with too many are removed', async (scene) => {
  const [crone, hag] = await pair(scene, 'mention-count');
  await crone.sends(sets('mention-count', { ...all, count: '2' }));
  await quiets(crone, hag);
  const some = (count: number) => says('mention-count', 'x', individual('rosa').repeat(count));
  assert.deepEqual(await mentionsIn(hag, crone, some(2)), ['rosa', 'rosa']);
  assert.deepEqual(await mentionsIn(hag, crone, some(3)), []);
});

scenario('"Individual": only by occupant id', async (scene) => {
  const [crone, hag] = await pair(scene, 'mention-jid');
  const ns = NS.explicitMentions;
  const wrong =
    `<mention xmlns='${ns}' jid='hecate@localhost'/><mention xmlns='${ns}'/>` +
    `<mention xmlns='${ns}' occupantid='1' jid='hecate@localhost'/>` +
    group('#moderators', `occupantid='1'`);
  assert.deepEqual(await mentionsIn(hag, crone, says('mention-jid', 'x', wrong + individual('rosa'))), ['rosa']);
});

scenario('XEP-0452: mentioned users who are not in the room get the message', async (scene) => {
  const name = 'mention-forward';
  const [crone, hag] = await pair(scene, name, { 'muc#roomconfig_forwardmentions': '1' });
  const hecate = await scene.actor('hecate@localhost/broom', { presence: true });
  // A first mention, so that the ids known to the room have to follow the lists.
  await mentionsIn(hag, crone, says(name, 'x', individual('nobody')));
  await grants(crone, name, 'hecate@localhost', 'member');
  await enters(hecate, name, 'hecate');
  await quiets(crone, hag, hecate);
  await hecate.sends(says(name, 'x'));
  const sent = await crone.receives(`<message type='groupchat' from='${room(name)}/hecate'/>`);
  const id = sent.getChild('occupant-id', NS.occupantId)!.attrs.id!;
  await quiets(hecate, hag);
  await hag.sends(says(name, 'here', individual(id)));
  await hecate.receives(`<message type='groupchat'><body>here</body></message>`);
  await hecate.sends(`<presence type='unavailable' to='${room(name)}/hecate'/>`);
  await quiets(hecate);
  for (const modifier of ['noping', 'active']) await hag.sends(says(name, 'x', individual(id, `<${modifier}/>`)));
  await quiets(hag);
  await hecate.receivesNothing();
  await hag.sends(says(name, 'Hecate?', individual(id)));
  await hecate.receives(
    `<message from='${room(name)}'><mentions xmlns='${NS.mentions}'><forwarded xmlns='${NS.forward}'>
      <message xmlns='jabber:client' type='groupchat' from='${room(name)}/thirdwitch'><body>Hecate?</body>
        ${individual(id)}</message></forwarded></mentions></message>`,
  );
  // no member any more
  await grants(crone, name, 'hecate@localhost', 'none');
  await quiets(hecate);
  await hag.sends(says(name, 'Hecate?', individual(id)));
  await quiets(hag);
  await hecate.receivesNothing();
});
