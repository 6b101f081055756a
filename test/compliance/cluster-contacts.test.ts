/** What an account of one node has to do with the sessions and data of accounts at the other. */
import assert from 'node:assert/strict';
import { Jid } from '../../src/server/address/jid.js';
import { NS } from '../../src/server/stanza/ns.js';
import type { Element } from '../../src/server/xml/element.js';
import { appears, capabilities, explains } from './capabilities.js';
import { type Peer, type ScenarioOptions, type Scene, scenario } from './dialogue.js';
import { bareOf, befriends } from './phrases.js';
import { itemEvent, publish, result } from './pubsub.js';

const two: ScenarioOptions = {
  nodes: 2,
  config: { hosts: { localhost: { admins: ['nurse@localhost'] }, 'elsewhere.example': {} } },
};
const tune = 'urn:example:tune';
const wanted = `${tune}+notify`;
const admin = 'http://jabber.org/protocol/admin';

/** An account that lives at the node, and is not the one that is named. */
function living({ stage }: Scene, at: number): string {
  for (let n = 0; ; n++) if (stage.home(`user${n}@localhost`) === stage.nodes[at]) return `user${n}@localhost`;
}

/** Friends, one at each node. */
async function pair(scene: Scene): Promise<[Peer, Peer]> {
  const romeo = await scene.actor(`${living(scene, 0)}/orchard`, { presence: true });
  const juliet = await scene.actor(`${living(scene, 1)}/balcony`, { presence: true });
  await befriends(romeo, juliet);
  await scene.stage.settle();
  for (const peer of [romeo, juliet]) peer.forgets();
  return [romeo, juliet];
}

scenario('events reach the clients of a contact that want them', two, async (scene) => {
  const [romeo, juliet] = await pair(scene);
  await appears(juliet, wanted);
  const plain = await scene.actor(`${bareOf(juliet)}/plain`, { presence: true });
  await scene.stage.settle();
  for (const peer of [juliet, plain, romeo]) peer.forgets();
  await romeo.sends(publish(tune, 'a', 'Lute'));
  await romeo.receives(result());
  await juliet.receives(itemEvent(bareOf(romeo), juliet.jid, tune, 'a', 'Lute'));
  await plain.receivesNothing();
  await juliet.receivesNothing();
});

scenario('a new session gets the last items of contacts; so does a contact who gains access', two, async (scene) => {
  const [romeo, juliet] = await pair(scene);
  await romeo.sends(publish(tune, 'a', 'Lute'));
  await romeo.receives(result());
  const late = await scene.actor(`${bareOf(juliet)}/chamber`);
  const caps = capabilities(wanted);
  await late.sends(caps.presence);
  await explains(late, caps);
  await late.receivesAnyOrder([
    `<presence from='${romeo.jid}'/>`,
    itemEvent(bareOf(romeo), late.jid, tune, 'a', 'Lute'),
  ]);
  await late.receivesNothing();
});

scenario('presence for an offline contact is dropped, and sent when they come online', two, async (scene) => {
  const [romeo, juliet] = await pair(scene);
  await juliet.sends(`<presence type='unavailable'/>`);
  await romeo.receives(`<presence type='unavailable' from='${juliet.jid}'/>`);
  await romeo.sends(`<presence><status>waiting</status></presence>`);
  await scene.stage.settle();
  juliet.forgets();
  await juliet.sends('<presence/>');
  await juliet.receivesAnyOrder([
    `<presence from='${juliet.jid}'/>`,
    `<presence from='${romeo.jid}'><status>waiting</status></presence>`,
  ]);
});

const request = (node: string, content = '', attributes = ''): string =>
  `<iq type='set' id='c' to='localhost'><command xmlns='${NS.commands}' node='${node}' ${attributes}>${content}</command></iq>`;

async function command(peer: Peer, node: string, content = '', attributes = ''): Promise<Element> {
  await peer.sends(request(node, content, attributes));
  const answer = await peer.receives(`<iq type='result' id='c'><command xmlns='${NS.commands}'/></iq>`);
  return answer.getChild('command', NS.commands)!;
}

/** The form of a command with one field filled in. */
async function filled(
  peer: Peer,
  node: string,
  name: string,
  value: string,
): Promise<[content: string, attributes: string]> {
  const { sessionid } = (await command(peer, node)).attrs;
  const fields = `<field var='FORM_TYPE'><value>${admin}</value></field><field var='${name}'><value>${value}</value></field>`;
  return [`<x xmlns='${NS.dataForms}' type='submit'>${fields}</x>`, `sessionid='${sessionid}' action='complete'`];
}

const fills = async (peer: Peer, node: string, name: string, value: string): Promise<Element> =>
  command(peer, node, ...(await filled(peer, node, name, value)));

const valuesOf = (answer: Element, name: string): string[] =>
  answer
    .getChild('x', NS.dataForms)!
    .getChildren('field')
    .filter(({ attrs }) => attrs.var === name)
    .flatMap((field) => field.getChildren('value').map((value) => value.getText()));

scenario('users find their own sessions, wherever their home is', two, async (scene) => {
  for (const peer of await pair(scene)) {
    const answer = await command(peer, 'list-sessions');
    const rows = answer.getChild('x', NS.dataForms)!.getChildren('item');
    const resources = rows.map((row) => row.getChildren('field')[0]!.getChildText('value'));
    assert.deepEqual(resources, [Jid.parse(peer.jid).resource]);
  }
});

scenario('administrators list and reach the accounts of all nodes', two, async (scene) => {
  const [romeo, juliet] = await pair(scene);
  const nurse = await scene.actor('nurse@localhost/kitchen', { presence: true });
  assert.deepEqual(valuesOf(await command(nurse, `${admin}#get-online-users-num`), 'onlineusersnum'), ['3']);
  const listed = await fills(nurse, `${admin}#get-online-users-list`, 'max_items', '25');
  assert.deepEqual(valuesOf(listed, 'onlineuserjids'), [bareOf(romeo), bareOf(juliet), 'nurse@localhost'].sort());
  for (const peer of [romeo, juliet]) {
    const stats = await fills(nurse, `${admin}#user-stats`, 'accountjids', bareOf(peer));
    assert.deepEqual(valuesOf(stats, 'onlineresources'), [Jid.parse(peer.jid).resource]);
    assert.deepEqual(valuesOf(stats, 'rostersize'), ['1']);
  }
  const sent = await filled(nurse, `${admin}#announce`, 'announcement', 'Supper is ready.');
  await nurse.sends(request(`${admin}#announce`, ...sent));
  for (const peer of [romeo, juliet, nurse])
    await peer.receives(`<message type='headline' from='localhost'><body>Supper is ready.</body></message>`);
  await nurse.receives(`<iq type='result' id='c'><command xmlns='${NS.commands}'/></iq>`);
});
