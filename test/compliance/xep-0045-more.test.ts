/** What rooms do beyond XEP-0045: XEP-0199, 0307, 0313, 0317, 0410, 0421, 0425, 0486; and that they survive a restart. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { NS } from '../../src/server/stanza/ns.js';
import { MemoryStorage } from '../../src/storage/memory.js';
import { around } from '../../src/storage/wrappers.js';
import { oneProcess, type Peer, type Scene, scenario } from './dialogue.js';
import { refusal } from './phrases.js';
import { configures, enters, founds, grants, item, joins, quiets, service } from './rooms.js';

const room = (name: string) => `${name}@${service}`;
const says = (name: string, body: string, id = 'm') =>
  `<message type='groupchat' to='${room(name)}' id='${id}'><body>${body}</body></message>`;
const error = (type: string, condition: string) => `<iq type='error'>${refusal(type, condition)}</iq>`;

async function pair(
  { actor }: Scene,
  name: string,
  fields: Readonly<Record<string, string>> = {},
): Promise<[Peer, Peer]> {
  const crone = await actor('crone1@localhost/desktop');
  const hag = await actor('hag66@localhost/pda');
  await founds(crone, name, 'firstwitch', fields);
  await enters(hag, name, 'thirdwitch');
  await quiets(crone, hag);
  return [crone, hag];
}

scenario('XEP-0410: a ping to oneself is answered by the room', async (scene) => {
  const [crone, hag] = await pair(scene, 'ping');
  const outsider = await scene.actor('macbeth@localhost/castle');
  const ping = (to: string) => `<iq type='get' id='p' to='${to}'><ping xmlns='${NS.ping}'/></iq>`;
  await hag.sends(ping(`${room('ping')}/thirdwitch`));
  await hag.receives(`<iq type='result' id='p' from='${room('ping')}/thirdwitch'/>`);
  await outsider.sends(ping(`${room('ping')}/thirdwitch`));
  await outsider.receives(error('modify', 'not-acceptable'));
  await hag.sends(ping(`${room('ping')}/nobody`));
  await hag.receives(error('cancel', 'item-not-found'));
  await hag.sends(ping(room('ping')));
  await hag.receives(`<iq type='result' id='p' from='${room('ping')}'/>`);
  await hag.sends(ping(service));
  await hag.receives(`<iq type='result' id='p' from='${service}'/>`);
  // §3.3: a missing room has no occupants
  await hag.sends(ping(`${room('ping-nowhere')}/thirdwitch`));
  await hag.receives(error('modify', 'not-acceptable'));
  await crone.receivesNothing();
});

scenario('§17.4: IQs between occupants do not reveal their addresses', async (scene) => {
  const [crone, hag] = await pair(scene, 'iq');
  const outsider = await scene.actor('macbeth@localhost/castle');
  await hag.sends(`<iq type='get' id='v1' to='${room('iq')}/firstwitch'><query xmlns='${NS.version}'/></iq>`);
  const request = await crone.receives(
    `<iq type='get' from='${room('iq')}/thirdwitch' to='crone1@localhost/desktop'><query xmlns='${NS.version}'/></iq>`,
  );
  const answer = `<iq type='result' id='${request.attrs.id}' to='${room('iq')}/thirdwitch'><query xmlns='${NS.version}'>
    <name>broom</name></query></iq>`;
  await outsider.sends(answer); // no other occupant answers
  await outsider.syncs();
  await crone.sends(answer);
  await hag.receives(
    `<iq type='result' id='v1' from='${room('iq')}/firstwitch' to='hag66@localhost/pda'>
      <query xmlns='${NS.version}'><name>broom</name></query></iq>`,
  );
  // nor does an error
  await hag.sends(`<iq type='get' id='v2' to='${room('iq')}/firstwitch'><query xmlns='${NS.version}'/></iq>`);
  const second = await crone.receives(`<iq type='get' from='${room('iq')}/thirdwitch'/>`);
  await crone.sends(
    `<iq type='error' id='${second.attrs.id}' to='${room('iq')}/thirdwitch'>
      <error type='cancel' by='crone1@localhost'><service-unavailable xmlns='${NS.stanzas}'/></error></iq>`,
  );
  const refused = await hag.receives(`<iq type='error' id='v2'>${refusal('cancel', 'service-unavailable')}</iq>`);
  assert.doesNotMatch(refused.toString(), /crone1/);
  await crone.sends(answer); // nor twice
  await hag.receivesNothing();
});

scenario('XEP-0421: an occupant id is specific to a user and a room', async (scene) => {
  const [crone, hag] = await pair(scene, 'ids-one');
  await founds(crone, 'ids-two', 'firstwitch');
  await enters(hag, 'ids-two', 'thirdwitch');
  await quiets(crone, hag);
  const idIn = async (name: string): Promise<string> => {
    await hag.sends(says(name, 'x'));
    const message = await crone.receives(`<message type='groupchat'/>`);
    await quiets(hag);
    return message.getChild('occupant-id', NS.occupantId)!.attrs.id!;
  };
  const one = await idIn('ids-one');
  assert.notEqual(one, await idIn('ids-two'));
  await hag.sends(`<presence type='unavailable' to='${room('ids-one')}/thirdwitch'/>`);
  await quiets(hag);
  await enters(hag, 'ids-one', 'another');
  await quiets(crone);
  assert.equal(await idIn('ids-one'), one);
});

scenario('XEP-0425: moderators retract messages of others', async (scene) => {
  const [crone, hag] = await pair(scene, 'moderate');
  await hag.sends(says('moderate', 'DM me for free magic potions!'));
  const message = await crone.receives(`<message type='groupchat'/>`);
  const id = message.getChild('stanza-id', NS.stanzaId)!.attrs.id!;
  await quiets(hag);
  const moderation = (target: string) =>
    `<iq type='set' id='r' to='${room('moderate')}'><moderate xmlns='${NS.moderate}' id='${target}'>
      <retract xmlns='${NS.retract}'/><reason>Not here</reason></moderate></iq>`;
  await hag.sends(moderation(id));
  await hag.receives(error('auth', 'forbidden'));
  await crone.sends(moderation('nothing'));
  await crone.receives(error('cancel', 'item-not-found'));
  await crone.sends(moderation(id));
  const reported = `<message type='groupchat' from='${room('moderate')}'>
    <retract xmlns='${NS.retract}' id='${id}'><moderated xmlns='${NS.moderate}' by='${room('moderate')}/firstwitch'>
      <occupant-id xmlns='${NS.occupantId}' id='*'/></moderated><reason>Not here</reason></retract>
    <apply-to xmlns='${NS.fasten}' id='${id}'><moderated xmlns='${NS.moderateOld}'>
      <retract xmlns='${NS.retractOld}'/></moderated></apply-to></message>`;
  await hag.receives(reported);
  await crone.receivesAnyOrder([reported, `<iq type='result' id='r'/>`]);
  // a tombstone in the history and in the archive
  const witch = await scene.actor('wiccarocks@localhost/laptop');
  await witch.sends(joins(`${room('moderate')}/secondwitch`));
  await witch.syncs();
  const history = witch.forgets().filter(({ name }) => name === 'message');
  assert.doesNotMatch(history.join(''), /potions/);
  assert.match(history[0]!.toString(), /<retracted/);
  await witch.sends(`<iq type='set' id='q' to='${room('moderate')}'><query xmlns='${NS.mam}'/></iq>`);
  await witch.receives(`<message from='${room('moderate')}'><result xmlns='${NS.mam}' id='${id}'><forwarded
    xmlns='${NS.forward}'><message xmlns='jabber:client' from='${room('moderate')}/thirdwitch'>
    <retracted xmlns='${NS.retract}'><moderated xmlns='${NS.moderate}'/></retracted></message></forwarded></result></message>`);
  await quiets(witch, hag, crone);
  // the older version
  await hag.sends(says('moderate', 'again'));
  const second = (await crone.receives(`<message type='groupchat'/>`)).getChild('stanza-id', NS.stanzaId)!.attrs.id!;
  await crone.sends(
    `<iq type='set' id='r' to='${room('moderate')}'><apply-to xmlns='${NS.fasten}' id='${second}'>
      <moderate xmlns='${NS.moderateOld}'><retract xmlns='${NS.retractOld}'/></moderate></apply-to></iq>`,
  );
  await crone.receivesAnyOrder([
    `<message type='groupchat'><retract xmlns='${NS.retract}' id='${second}'/></message>`,
    `<iq type='result' id='r'/>`,
  ]);
});

scenario(
  'XEP-0424 §4, §5: an author can retract a message, which leaves a tombstone; nobody else can',
  async (scene) => {
    const [crone, hag] = await pair(scene, 'retract');
    const idOf = async (peer: Peer) =>
      (await peer.receives(`<message type='groupchat'/>`)).getChild('stanza-id', NS.stanzaId)!.attrs.id!;
    await hag.sends(says('retract', 'My secret', 'one'));
    const id = await idOf(crone);
    await quiets(hag);
    await hag.sends(
      `<message type='groupchat' to='${room('retract')}' id='two'><body>My other secret</body><replace xmlns='${NS.correct}' id='one'/></message>`,
    );
    await quiets(hag, crone);
    const retracts = (target: string, from: string) =>
      `<message type='groupchat' to='${room('retract')}' id='${from}'><retract xmlns='${NS.retract}' id='${target}'/></message>`;
    const inArchive = async () => {
      await hag.sends(`<iq type='set' id='q' to='${room('retract')}'><query xmlns='${NS.mam}'/></iq>`);
      await hag.syncs();
      return hag.forgets().filter(({ name }) => name === 'message');
    };
    // not by anybody else, not even the owner: XEP-0425 is for that
    await crone.sends(retracts(id, 'three'));
    await quiets(hag, crone);
    assert.match((await inArchive()).join(''), /My secret/);
    await hag.sends(retracts(id, 'four'));
    await crone.receives(`<message type='groupchat' id='four'><retract xmlns='${NS.retract}' id='${id}'/></message>`);
    await quiets(hag, crone);
    const [first, second, ...rest] = await inArchive();
    const tombstone = `<retracted xmlns="${NS.retract}" id="four" stamp=`;
    for (const buried of [first, second]) {
      assert.ok(buried!.toString().includes(tombstone));
      assert.ok(buried!.toString().includes('<occupant-id'));
      assert.doesNotMatch(buried!.toString(), /secret/);
    }
    // the retraction itself stays
    assert.equal(rest.length, 2);
    const witch = await scene.actor('wiccarocks@localhost/laptop');
    await witch.sends(joins(`${room('retract')}/secondwitch`));
    await witch.syncs();
    const history = witch.forgets().join('');
    assert.doesNotMatch(history, /secret/);
    assert.ok(history.includes(tombstone));
  },
);

scenario('XEP-0313: users who can join a room can read its archive', async (scene) => {
  const [crone, hag] = await pair(scene, 'archive');
  const outsider = await scene.actor('macbeth@localhost/castle');
  await hag.sends(says('archive', 'Thrice the brinded cat hath mew’d.'));
  await quiets(hag, crone);
  const query = `<iq type='set' id='q' to='${room('archive')}'><query xmlns='${NS.mam}' queryid='f'/></iq>`;
  const result = `<message from='${room('archive')}'><result xmlns='${NS.mam}' queryid='f' id='*'>
    <forwarded xmlns='${NS.forward}'><delay xmlns='${NS.delay}' stamp='*'/>
    <message xmlns='jabber:client' type='groupchat' from='${room('archive')}/thirdwitch'>
    <occupant-id xmlns='${NS.occupantId}' id='*'/></message></forwarded></result></message>`;
  const fin = `<iq type='result' id='q'><fin xmlns='${NS.mam}' complete='true'/></iq>`;
  for (const reader of [hag, outsider]) {
    await reader.sends(query);
    await reader.receives(result);
    await reader.receives(fin);
  }
  await grants(crone, 'archive', 'macbeth@localhost', 'outcast');
  await outsider.sends(query);
  await outsider.receives(error('auth', 'forbidden'));
  await grants(crone, 'archive', 'macbeth@localhost', 'none');
  await configures(crone, 'archive', {
    'muc#roomconfig_passwordprotectedroom': '1',
    'muc#roomconfig_roomsecret': 'cauldronburn',
  });
  await quiets(hag);
  await outsider.sends(query);
  await outsider.receives(error('auth', 'forbidden'));
  await hag.sends(query);
  await hag.receives(result);
  await hag.receives(fin);
  await grants(crone, 'archive', 'hag66@localhost', 'member');
  await configures(crone, 'archive', {
    'muc#roomconfig_membersonly': '1',
    'muc#roomconfig_passwordprotectedroom': '0',
  });
  await outsider.sends(query);
  await outsider.receives(error('auth', 'forbidden'));
  await configures(crone, 'archive', { 'muc#roomconfig_enablearchiving': '0' });
  await quiets(hag);
  await hag.sends(query);
  await hag.receives(error('cancel', 'service-unavailable'));
});

scenario(
  'XEP-0313 §6.1.2: the real sender is shown to those who may see it at the time of the query',
  async (scene) => {
    const [crone, hag] = await pair(scene, 'senders', { 'muc#roomconfig_persistentroom': '1' });
    const outsider = await scene.actor('macbeth@localhost/castle');
    // §8.4: what clients write there themselves is not in the archive
    await hag.sends(
      `<message type='groupchat' to='${room('senders')}' id='m'><body>Hail</body>
      <x xmlns='${NS.mucUser}'><item jid='duncan@localhost/throne' affiliation='owner'/></x></message>`,
    );
    await quiets(crone, hag);
    await crone.sends(`<message type='groupchat' to='${room('senders')}' id='s'><subject>Spells</subject></message>`);
    await quiets(crone, hag);
    const asks = (inside = '') =>
      `<iq type='set' id='q' to='${room('senders')}'><query xmlns='${NS.mam}'>${inside}</query></iq>`;
    const reads = async (peer: Peer, inside = '') => {
      await peer.sends(asks(inside));
      await peer.syncs();
      return peer
        .forgets()
        .filter(({ name }) => name === 'message')
        .map((message) => message.getChild('result', NS.mam)!.getChild('forwarded', NS.forward)!.getChild('message')!);
    };
    const sendersIn = async (peer: Peer) =>
      (await reads(peer)).map((message) => {
        const all = message.getChildren('x', NS.mucUser);
        assert.ok(all.length <= 1);
        const { jid, affiliation, role } = all[0]?.getChild('item', NS.mucUser)?.attrs ?? {};
        return jid === undefined ? undefined : [jid, affiliation, role];
      });
    const reported = [
      ['hag66@localhost/pda', 'none', 'participant'],
      ['crone1@localhost/desktop', 'owner', 'moderator'],
    ];
    assert.deepEqual(await sendersIn(crone), reported);
    // §6.1.2: a change of the subject is archived
    assert.equal((await reads(crone))[1]?.getChildText('subject'), 'Spells');
    for (const peer of [hag, outsider]) {
      assert.deepEqual(await sendersIn(peer), [undefined, undefined]);
      for (const message of await reads(peer)) assert.doesNotMatch(message.toString(), /@localhost\/|duncan/);
      // §4.1.1: nor is it found out by asking for it
      const field = (name: string, value: string) => `<field var='${name}'><value>${value}</value></field>`;
      const filter = `<x xmlns='${NS.dataForms}' type='submit'>${field('FORM_TYPE', NS.mam)}${field('with', 'hag66@localhost')}</x>`;
      assert.equal((await reads(peer, filter)).length, 0);
      assert.equal((await reads(crone, filter)).length, 1);
    }
    // a new moderator gets real addresses, a former one does not
    await crone.sends(
      `<iq type='set' id='s' to='${room('senders')}'><query xmlns='${NS.mucAdmin}'><item nick='thirdwitch' role='moderator'/></query></iq>`,
    );
    await quiets(crone, hag);
    assert.deepEqual(await sendersIn(hag), reported);
    await configures(crone, 'senders', { 'muc#roomconfig_whois': 'anyone' });
    await quiets(hag);
    assert.deepEqual(await sendersIn(outsider), reported);
    await configures(crone, 'senders', { 'muc#roomconfig_whois': 'moderators' });
    await quiets(hag);
    // XEP-0425 §5: a tombstone keeps the moderator, for those who may see them
    await crone.sends(asks());
    const first = await crone.receives(`<message><result xmlns='${NS.mam}' id='*'/></message>`);
    await quiets(crone);
    await crone.sends(
      `<iq type='set' id='r' to='${room('senders')}'><moderate xmlns='${NS.moderate}'
      id='${first.getChild('result', NS.mam)!.attrs.id}'><retract xmlns='${NS.retract}'/></moderate></iq>`,
    );
    await quiets(crone, hag);
    assert.deepEqual((await sendersIn(crone))[0], reported[0]);
    assert.deepEqual((await sendersIn(outsider))[0], undefined);
  },
);

scenario(
  'XEP-0045 §7.2.13: history restored from the archive shows no real address and no subject',
  { alone: true },
  async (scene) => {
    const [crone, hag] = await pair(scene, 'replayed', { 'muc#roomconfig_persistentroom': '1' });
    await hag.sends(says('replayed', 'Hail', 'h'));
    await crone.sends(`<message type='groupchat' to='${room('replayed')}' id='s'><subject>Spells</subject></message>`);
    await quiets(crone, hag);
    await scene.stage.restart();
    const witch = await scene.actor('wiccarocks@localhost/laptop');
    await witch.sends(joins(`${room('replayed')}/secondwitch`));
    await witch.syncs();
    const messages = witch.forgets().filter(({ name }) => name === 'message');
    assert.deepEqual(
      messages.map(({ attrs }) => attrs.id),
      ['h', 's'],
    );
    assert.doesNotMatch(messages.join(''), /hag66|crone1/);
  },
);

scenario('XEP-0313 §6.1.2, §8.1: the archive has the same access rules as the room', async (scene) => {
  const { actor } = scene;
  const crone = await actor('crone1@localhost/desktop');
  const far = await actor('macbeth@elsewhere.example/castle');
  const hag = await actor('hag66@localhost/pda');
  await enters(crone, 'closed', 'firstwitch');
  const requests = (name: string) => [
    `<iq type='set' id='q' to='${room(name)}'><query xmlns='${NS.mam}'/></iq>`,
    `<iq type='get' id='q' to='${room(name)}'><query xmlns='${NS.mam}'/></iq>`,
    `<iq type='get' id='q' to='${room(name)}'><metadata xmlns='${NS.mam}'/></iq>`,
  ];
  const refuses = async (peer: Peer, name: string, answer: string) => {
    for (const request of requests(name)) {
      await peer.sends(request);
      await peer.receives(answer);
    }
  };
  // not there, and not there yet
  await refuses(hag, 'closed-nowhere', error('cancel', 'item-not-found'));
  await refuses(hag, 'closed', error('cancel', 'item-not-found'));
  await configures(crone, 'closed', {});
  const sent = says('closed', 'a secret', 'm');
  await crone.sends(sent);
  const message = await crone.receives(`<message type='groupchat' id='m'/>`);
  const { id } = message.getChild('stanza-id', NS.stanzaId)!.attrs;
  // one banned, one of a banned domain
  await grants(crone, 'closed', 'hag66@localhost', 'outcast');
  await grants(crone, 'closed', 'elsewhere.example', 'outcast');
  for (const peer of [hag, far]) await refuses(peer, 'closed', error('auth', 'forbidden'));
  await grants(crone, 'closed', 'hag66@localhost', 'none');
  await configures(crone, 'closed', { 'muc#roomconfig_membersonly': '1' });
  await refuses(hag, 'closed', error('auth', 'forbidden'));
  // knowing an id, or guessing one, opens nothing
  await hag.sends(
    `<iq type='set' id='q' to='${room('closed')}'><query xmlns='${NS.mam}'><x xmlns='${NS.dataForms}' type='submit'>
      <field var='FORM_TYPE'><value>${NS.mam}</value></field><field var='ids'><value>${id}</value></field></x></query></iq>`,
  );
  await hag.receives(error('auth', 'forbidden'));
  // an occupant who is no longer a member
  await grants(crone, 'closed', 'hag66@localhost', 'member');
  await enters(hag, 'closed', 'thirdwitch');
  await crone.sends(
    `<iq type='set' id='s' to='${room('closed')}'><query xmlns='${NS.mucAdmin}'><item affiliation='none' jid='hag66@localhost'/></query></iq>`,
  );
  await hag.receives(`<presence type='unavailable'/>`);
  await refuses(hag, 'closed', error('auth', 'forbidden'));
});

scenario('XEP-0486: the avatar of a room', async (scene) => {
  const [crone, hag] = await pair(scene, 'avatar');
  const data = Buffer.from('a picture').toString('base64');
  const card = `<vCard xmlns='${NS.vcardTemp}'><PHOTO><TYPE>image/png</TYPE><BINVAL>${data}</BINVAL></PHOTO></vCard>`;
  const set = (inside: string) => `<iq type='set' id='c' to='${room('avatar')}'>${inside}</iq>`;
  await hag.sends(set(card));
  await hag.receives(error('auth', 'forbidden'));
  await crone.sends(set(card));
  await crone.receivesAnyOrder([
    `<iq type='result' id='c'/>`,
    `<message type='groupchat'><x xmlns='${NS.mucUser}'><status code='104'/></x></message>`,
  ]);
  await quiets(hag);
  const hash = createHash('sha1').update('a picture').digest('hex');
  await hag.sends(`<iq type='get' id='d' to='${room('avatar')}'><query xmlns='${NS.discoInfo}'/></iq>`);
  await hag.receives(
    `<iq type='result'><query xmlns='${NS.discoInfo}'><feature var='${NS.vcardTemp}'/><x xmlns='${NS.dataForms}'>
      <field var='muc#roominfo_avatarhash'><value>${hash}</value></field></x></query></iq>`,
  );
  const get = `<iq type='get' id='c' to='${room('avatar')}'><vCard xmlns='${NS.vcardTemp}'/></iq>`;
  await hag.sends(get);
  await hag.receives(`<iq type='result' id='c'>${card}</iq>`);
  await crone.sends(set(`<vCard xmlns='${NS.vcardTemp}'/>`));
  await quiets(crone, hag);
  await hag.sends(get);
  const empty = await hag.receives(`<iq type='result' id='c'><vCard xmlns='${NS.vcardTemp}'/></iq>`);
  assert.equal(empty.getChild('vCard', NS.vcardTemp)!.children.length, 0);
});

scenario('XEP-0317: hats', async (scene) => {
  const [crone, hag] = await pair(scene, 'hats');
  const command = (node: string, fields: Readonly<Record<string, string>>) =>
    `<iq type='set' id='h' to='${room('hats')}'><command xmlns='${NS.commands}' action='execute'
      node='${NS.hatsCommands}:${node}'><x xmlns='${NS.dataForms}' type='submit'>
      <field var='FORM_TYPE'><value>${NS.hatsCommands}</value></field>
      ${Object.entries(fields)
        .map(([name, value]) => `<field var='${name}'><value>${value}</value></field>`)
        .join('')}</x></command></iq>`;
  const hat = { 'hats#uri': 'urn:hats:host', 'hats#title': 'Host', 'hats#hue': '327.25' };
  await hag.sends(command('create', hat));
  await hag.receives(error('auth', 'forbidden'));
  const completes = async (xml: string) => {
    await crone.sends(xml);
    await crone.syncs();
    const result = crone.forgets().find(({ attrs }) => attrs.id === 'h')!;
    assert.equal(result.getChild('command', NS.commands)?.attrs.status, 'completed');
    return result;
  };
  await completes(command('create', hat));
  await quiets(hag);
  const worn = { 'hats#jid': 'hag66@localhost', 'hats#uri': 'urn:hats:host' };
  await completes(command('assign', worn));
  await hag.receives(
    `<presence from='${room('hats')}/thirdwitch'><hats xmlns='${NS.hats}'>
      <hat title='Host' uri='urn:hats:host' hue='327.25'/></hats></presence>`,
  );
  assert.match((await completes(command('list-assigned', {}))).toString(), /hag66@localhost/);
  // §3.4: for occupants who see the hats
  await hag.sends(command('list', {}));
  const listed = await hag.receives(
    `<iq type='result' id='h'><command xmlns='${NS.commands}' status='completed'/></iq>`,
  );
  assert.match(listed.toString(), /urn:hats:host/);
  await hag.sends(command('list-assigned', {}));
  await hag.receives(error('auth', 'forbidden'));
  await completes(command('destroy', { 'hats#uri': 'urn:hats:host' }));
  const bare = await hag.receives(`<presence from='${room('hats')}/thirdwitch'/>`);
  assert.equal(bare.getChild('hats', NS.hats), undefined);
});

scenario('XEP-0463: a user who joins again gets the changes of the lists', async (scene) => {
  const [crone, hag] = await pair(scene, 'versions', { 'muc#roomconfig_persistentroom': '1' });
  const enter = async (peer: Peer, nick: string, mav: string) => {
    await peer.sends(joins(`${room('versions')}/${nick}`, mav));
    await peer.syncs();
    const came = peer.forgets();
    const self = came.find(({ name, attrs }) => name === 'presence' && attrs.from === `${room('versions')}/${nick}`)!;
    const until = self.getChild('x', NS.mucUser)!.getChild('mav', NS.mav)!.attrs.until!;
    return { first: came[0]!, until };
  };
  const all = await enter(crone, 'firstwitch', `<mav xmlns='${NS.mav}'/>`);
  assert.match(all.first.toString(), / jid="crone1@localhost" affiliation="owner"/);
  assert.equal(all.first.getChild('x', NS.mucUser)!.getChild('mav', NS.mav)!.attrs.until, all.until);
  // users with the current version get nothing
  const nothing = await enter(crone, 'firstwitch', `<mav xmlns='${NS.mav}' since='${all.until}'/>`);
  assert.equal(nothing.first.name, 'presence');
  await crone.sends(
    `<iq type='set' id='s' to='${room('versions')}'><query xmlns='${NS.mucAdmin}'>
      <item affiliation='member' jid='hecate@localhost'/></query></iq>`,
  );
  await crone.receives(
    `<message from='${room('versions')}'><x xmlns='${NS.mucUser}'><mav xmlns='${NS.mav}' since='${all.until}' until='*'/>
      <item jid='hecate@localhost' affiliation='member' role='none'/></x></message>`,
  );
  await quiets(crone);
  const some = await enter(crone, 'firstwitch', `<mav xmlns='${NS.mav}' since='${all.until}'/>`);
  assert.match(some.first.toString(), /hecate@localhost/);
  assert.doesNotMatch(some.first.toString(), /crone1@localhost" affiliation/);
  assert.notEqual(some.until, all.until);
  // the lists are not for everybody
  await hag.sends(
    `<presence to='${room('versions')}/thirdwitch'><x xmlns='${NS.muc}'><mav xmlns='${NS.mav}'/></x></presence>`,
  );
  await hag.receives(`<message type='error' from='${room('versions')}'>${refusal('auth', 'forbidden')}</message>`);
});

scenario('XEP-0433: searching for public rooms', async (scene) => {
  const [crone, hag] = await pair(scene, 'search-cave', {
    'muc#roomconfig_roomname': 'A Dark Cave',
    'muc#roomconfig_roomdesc': 'For all good witches',
  });
  await founds(crone, 'search-hidden', 'firstwitch', {
    'muc#roomconfig_publicroom': '0',
    'muc#roomconfig_roomname': 'A Hidden Cave',
  });
  const search = (fields: Readonly<Record<string, string>>) =>
    `<iq type='get' id='s' to='${service}'><search xmlns='${NS.channelSearchQuery}'>
      <x xmlns='${NS.dataForms}' type='submit'>${Object.entries(fields)
        .map(([name, value]) => `<field var='${name}'><value>${value}</value></field>`)
        .join('')}</x></search></iq>`;
  await hag.sends(`<iq type='get' id='s' to='${service}'><search xmlns='${NS.channelSearchQuery}'/></iq>`);
  await hag.receives(`<iq type='result'><search xmlns='${NS.channelSearchQuery}'><x xmlns='${NS.dataForms}' type='form'>
    <field var='q' type='text-single'/><field var='sinaddress' type='boolean'/><field var='key' type='list-single'/></x></search></iq>`);
  await hag.sends(search({ q: 'CAVE witches' }));
  const found = await hag.receives(
    `<iq type='result'><result xmlns='${NS.channelSearchQuery}'><item address='${room('search-cave')}'>
      <name>A Dark Cave</name><nusers>2</nusers><is-open>true</is-open>
      <anonymity-mode>muc_semianonymous</anonymity-mode></item></result></iq>`,
  );
  assert.doesNotMatch(found.toString(), /Hidden/);
  await hag.sends(search({ q: 'zzzz' }));
  const none = await hag.receives(`<iq type='result'><result xmlns='${NS.channelSearchQuery}'/></iq>`);
  assert.equal(none.getChild('result', NS.channelSearchQuery)!.getChild('item'), undefined);
  for (const [fields, condition, specific] of [
    [{ q: ' ' }, 'bad-request', 'invalid-search-terms'],
    [{}, 'bad-request', 'no-search-conditions'],
    [{ q: 'cave', all: '1' }, 'bad-request', 'conflicting-fields'],
    [{ q: 'cave', key: 'mine' }, 'feature-not-implemented', 'invalid-sort-key'],
  ] as [Record<string, string>, string, string][]) {
    await hag.sends(search(fields));
    await hag.receives(
      `<iq type='error'><error type='${specific === 'no-search-conditions' ? 'cancel' : 'modify'}'><${condition} xmlns='${NS.stanzas}'/>
        <${specific} xmlns='${NS.channelSearch}:error'/></error></iq>`,
    );
  }
});

scenario('XEP-0488: a token makes members, as often as it allows', async (scene) => {
  const { actor } = scene;
  const crone = await actor('crone1@localhost/desktop');
  await founds(crone, 'tokens', 'firstwitch', { 'muc#roomconfig_membersonly': '1' });
  const iq = (type: string, inside: string) => `<iq type='${type}' id='t' to='${room('tokens')}'>${inside}</iq>`;
  const hag = await actor('hag66@localhost/pda');
  await hag.sends(iq('set', `<request xmlns='${NS.mucToken}'/>`));
  await hag.receives(error('auth', 'forbidden'));
  await crone.sends(iq('set', `<request xmlns='${NS.mucToken}' counter='1' delay='3600'/>`));
  const made = await crone.receives(
    `<iq type='result'><token xmlns='${NS.mucToken}' counter='1' delay='3600'>*</token></iq>`,
  );
  const token = made.getChildText('token', NS.mucToken)!;
  const address = `${room('tokens')}/thirdwitch`;
  await hag.sends(joins(address, '<password>guess</password>'));
  await hag.receives(`<presence type='error'>${refusal('auth', 'registration-required')}</presence>`);
  await enters(hag, 'tokens', 'thirdwitch', `<password>${token}</password>`);
  await crone.receives(
    `<message><x xmlns='${NS.mucUser}'><item affiliation='member' jid='hag66@localhost' role='none'/></x></message>`,
  );
  await crone.receives(
    `<presence from='${address}'><x xmlns='${NS.mucUser}'>${item('member', 'participant')}</x></presence>`,
  );
  const witch = await actor('wiccarocks@localhost/laptop');
  await witch.sends(joins(`${room('tokens')}/secondwitch`, `<password>${token}</password>`));
  await witch.receives(`<presence type='error'>${refusal('auth', 'registration-required')}</presence>`);
  // one that is taken back
  await crone.sends(iq('set', `<request xmlns='${NS.mucToken}'/>`));
  const second = (await crone.receives(`<iq type='result'/>`)).getChildText('token', NS.mucToken)!;
  await crone.sends(iq('get', `<tokens xmlns='${NS.mucToken}'/>`));
  await crone.receives(`<iq type='result'><tokens xmlns='${NS.mucToken}'><token>${second}</token></tokens></iq>`);
  await crone.sends(iq('set', `<revoke xmlns='${NS.mucToken}'>${second}</revoke>`));
  await crone.receives(`<iq type='result' id='t'/>`);
  await crone.sends(iq('set', `<revoke xmlns='${NS.mucToken}'>${second}</revoke>`));
  await crone.receives(error('cancel', 'item-not-found'));
  await witch.sends(joins(`${room('tokens')}/secondwitch`, `<password>${second}</password>`));
  await witch.receives(`<presence type='error'>${refusal('auth', 'registration-required')}</presence>`);
});

scenario('XEP-0307: a unique room name', async ({ actor }) => {
  const hag = await actor('hag66@localhost/pda');
  await hag.sends(`<iq type='get' id='u' to='${service}'><unique xmlns='${NS.mucUnique}'/></iq>`);
  await hag.receives(`<iq type='result' id='u'><unique xmlns='${NS.mucUnique}'>*</unique></iq>`);
});

scenario(
  'a persistent room survives a restart, and its occupants learn that they left it',
  oneProcess,
  async (scene) => {
    const [crone, hag] = await pair(scene, 'forres', {
      'muc#roomconfig_persistentroom': '1',
      'muc#roomconfig_roomname': 'The Palace',
      'muc#roomconfig_passwordprotectedroom': '0',
    });
    await grants(crone, 'forres', 'hag66@localhost', 'member');
    await grants(crone, 'forres', 'macbeth@localhost', 'outcast');
    await crone.sends(`<message type='groupchat' to='${room('forres')}'><subject>Spells</subject></message>`);
    await hag.sends(says('forres', 'before', 'before'));
    const before = await crone.receives(`<message type='groupchat' id='*'><subject>Spells</subject></message>`);
    await quiets(crone, hag);
    await scene.stage.restart();
    const again = await scene.actor('hag66@localhost/pda');
    await again.sends(`<iq type='get' id='p' to='${room('forres')}/thirdwitch'><ping xmlns='${NS.ping}'/></iq>`);
    await again.receives(error('modify', 'not-acceptable'));
    await again.sends(joins(`${room('forres')}/thirdwitch`));
    await again.receives(
      `<presence from='${room('forres')}/thirdwitch'><x xmlns='${NS.mucUser}'>${item('member', 'participant')}
      <status code='110'/></x></presence>`,
    );
    await again.receives(
      `<message type='groupchat' id='before' from='${room('forres')}/thirdwitch'><body>before</body>
      <delay xmlns='${NS.delay}' from='${room('forres')}' stamp='*'/>
      <stanza-id xmlns='${NS.stanzaId}' by='${room('forres')}' id='*'/></message>`,
    );
    await again.receives(`<message type='groupchat' from='${before.attrs.from}'><subject>Spells</subject></message>`);
    await again.receivesNothing();
    const macbeth = await scene.actor('macbeth@localhost/castle');
    await macbeth.sends(joins(`${room('forres')}/thane`));
    await macbeth.receives(`<presence type='error'>${refusal('auth', 'forbidden')}</presence>`);
  },
);

scenario('XEP-0313 §6.1: the archive of a room stores what that of an account does', async (scene) => {
  const [crone, hag] = await pair(scene, 'lasting');
  const encrypted = `<encrypted xmlns='${NS.omemoLegacy}'><header sid='1'/><payload>x</payload></encrypted>`;
  const contents: [string, string, boolean][] = [
    ['encrypted', encrypted, true],
    ['reaction', `<reactions xmlns='${NS.reactions}' id='1'/>`, true],
    ['displayed', `<displayed xmlns='${NS.markers}' id='1'/>`, true],
    ['call', `<invite xmlns='${NS.callInvites}'/>`, true],
    ['file', `<file-sharing xmlns='${NS.fileSharing}'/>`, true],
    ['hint', `<store xmlns='${NS.hints}'/>`, true],
    ['typing', `<composing xmlns='${NS.chatStates}'/>`, false],
    ['secret', `${encrypted}<no-store xmlns='${NS.hints}'/>`, false],
    ['no-permanent-store', `${encrypted}<no-permanent-store xmlns='${NS.hints}'/>`, false],
  ];
  for (const [id, content] of contents)
    await hag.sends(`<message type='groupchat' to='${room('lasting')}' id='${id}'>${content}</message>`);
  await quiets(hag, crone);
  const stored = contents.filter(([, , isKept]) => isKept).map(([id]) => id);
  await crone.sends(`<iq type='set' id='q' to='${room('lasting')}'><query xmlns='${NS.mam}'/></iq>`);
  await crone.syncs();
  const archived = crone
    .forgets()
    .flatMap((one) => one.getChild('result', NS.mam) ?? [])
    .map((result) => result.getChild('forwarded', NS.forward)!.getChild('message', NS.client)!.attrs.id);
  assert.deepEqual(archived, stored);
  // and so does its history
  const witch = await scene.actor('wiccarocks@localhost/laptop');
  await witch.sends(joins(`${room('lasting')}/secondwitch`));
  await witch.syncs();
  const reported = witch.forgets().filter((one) => one.getChild('delay', NS.delay) !== undefined);
  assert.deepEqual(
    reported.map(({ attrs }) => attrs.id),
    stored,
  );
});

{
  let held: Promise<void> | undefined;
  const reading = around(new MemoryStorage(), ({ name, operation }, run) =>
    held === undefined || name !== 'offline' || operation !== 'page' ? run() : held.then(() => run()),
  );
  scenario(
    'what the account of an occupant handles is not overtaken',
    { storage: () => reading, isTimed: true },
    async (scene) => {
      const hag = await scene.actor('hag66@localhost/pda');
      const crone = await scene.actor('crone1@localhost/desktop');
      const { id } = (await crone.managesStream()).attrs;
      await founds(crone, 'order', 'firstwitch');
      await grants(crone, 'order', 'hag66@localhost', 'admin');
      await enters(hag, 'order', 'thirdwitch');
      await quiets(crone);
      let go!: () => void;
      held = new Promise((resolve) => {
        go = resolve;
      });
      // Her account reads what was stored for her, and handles what she is sent when her connection is lost.
      await crone.sends('<presence/>');
      await crone.receives(`<presence from='crone1@localhost/desktop'/>`);
      crone.cut();
      await hag.syncs();
      await grants(hag, 'order', 'absent@localhost', 'member');
      await enters(await scene.actor('witch@localhost/laptop'), 'order', 'secondwitch');
      go();
      const again = await scene.known('crone1@localhost');
      await again.sends(`<resume xmlns='${NS.sm}' previd='${id}' h='${crone.handled}'/>`);
      await again.receives(`<resumed xmlns='${NS.sm}'/>`);
      await again.receivesFirst(`<message from='${room('order')}'><x xmlns='${NS.mucUser}'>
      <item affiliation='member' jid='absent@localhost'/></x></message>`);
      await again.receivesFirst(`<presence from='${room('order')}/secondwitch'/>`);
    },
  );
}
