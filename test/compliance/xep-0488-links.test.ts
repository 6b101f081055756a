/** Links to rooms: their pages, and the command that makes links with a token (XEP-0488). */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import type { Element } from '../../src/server/xml/element.js';
import { hits, type Peer, type Scene, scenario } from './dialogue.js';
import { ask } from './http-client.js';
import { refusal } from './phrases.js';
import { enters, founds, grants, joins, service } from './rooms.js';

const command = (inner = '', more = ''): string =>
  `<iq type='set' id='c' to='localhost'><command xmlns='${NS.commands}' node='invite-to-room'${more}>${inner}</command></iq>`;
const field = (name: string, value: string) => `<field var='${name}'><value>${value}</value></field>`;

/** Fills in the form of the command. Returns the answer. */
async function asks(peer: Peer, fields: Readonly<Record<string, string>>): Promise<Element> {
  await peer.sends(command());
  const { sessionid } = (await peer.receives(`<iq type='result' id='c'/>`)).getChild('command', NS.commands)!.attrs;
  const all = Object.entries(fields).map(([name, value]) => field(name, value));
  const form = `<x xmlns='${NS.dataForms}' type='submit'>${all.join('')}</x>`;
  await peer.sends(command(form, ` sessionid='${sessionid}' action='complete'`));
  for (;;) {
    const answer = await peer.receivesAny();
    if (answer.attrs.id === 'c') return answer;
  }
}

interface Link {
  readonly uri: string;
  readonly path: string;
  readonly until: number;
}

async function links(peer: Peer, room: string, limits: Readonly<Record<string, string>> = {}): Promise<Link> {
  const answer = await asks(peer, { room: `${room}@${service}`, ...limits });
  assert.equal(answer.attrs.type, 'result', String(answer));
  const form = answer.getChild('command', NS.commands)!.getChild('x', NS.dataForms)!;
  const value = (name: string) =>
    form
      .getChildren('field')
      .find(({ attrs }) => attrs.var === name)!
      .getChildText('value')!;
  return { uri: value('uri'), path: new URL(value('landing-url')).pathname, until: Date.parse(value('expire')) };
}

const tokenIn = (uri: string): string => /\?join;password=([\w-]{20,})$/.exec(uri)![1]!;
const statusOf = async (scene: Scene, path: string): Promise<number> => (await ask(scene, 'http', path)).status;

scenario('a link with a token: its page says where it leads, and whoever has it becomes a member', async (scene) => {
  const crone = await scene.actor('crone1@localhost/desktop');
  const description = `<script>alert("1")</script> & 'caves'`;
  const escaped = description.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll("'", '&apos;');
  await founds(crone, 'hidden', 'first', {
    'muc#roomconfig_membersonly': '1',
    'muc#roomconfig_publicroom': '0',
    'muc#roomconfig_roomname': 'The cave \u{1f987}',
    'muc#roomconfig_roomdesc': escaped,
  });
  const { uri, path, until } = await links(crone, 'hidden', { days: '2', uses: '1' });
  assert.match(path, /^\/invite\/room\/hidden\/[\w-]{20,}$/);
  assert.ok(uri.startsWith(`xmpp:hidden@${service}?join;password=`));
  assert.ok(Math.abs(until - Date.now() - 2 * 86_400_000) < 3_600_000);
  const { status, headers, text } = await ask(scene, 'http', path, { headers: { 'accept-language': 'de' } });
  assert.equal(status, 200);
  assert.equal(headers['content-language'], 'de');
  assert.equal(headers['cache-control'], 'no-store');
  assert.match(text, /Sie sind in den Raum The cave \u{1f987} eingeladen/u);
  assert.ok(text.includes(`href="${uri.replaceAll('&', '&amp;')}"`));
  assert.doesNotMatch(text, /<script>alert/);
  assert.match(text, /&lt;script&gt;alert/);
  // Without the token, and with another one, nobody learns that there is such a room.
  for (const wrong of [
    '/invite/room/hidden',
    `${path}x`,
    path.replace('hidden', 'nowhere'),
    '/invite/room',
    '/invite/room/',
  ])
    assert.equal(await statusOf(scene, wrong), 404, wrong);
  const hag = await scene.actor('hag66@localhost/pda');
  await enters(hag, 'hidden', 'third', `<password>${tokenIn(uri)}</password>`);
  assert.equal(await statusOf(scene, path), 404, 'it has been used');
});

scenario('the page of a room that everybody may find and enter needs no token', async (scene) => {
  const crone = await scene.actor('crone1@localhost/desktop');
  const open = { 'muc#roomconfig_publicroom': '1', 'muc#roomconfig_membersonly': '0' };
  await founds(crone, 'market', 'first', open);
  const { status, text } = await ask(scene, 'http', '/invite/room/market');
  assert.equal(status, 200);
  assert.match(text, /You are invited to the room market/);
  assert.ok(text.includes(`href="xmpp:market@${service}?join"`));
  assert.equal(await statusOf(scene, '/invite/room/MARKET'), 200, 'names are compared as addresses are');
  for (const wrong of ['%ff', 'a%2fb', 'a@b', '%00', 'market/', 'market/x/y', 'a'.repeat(2000)])
    assert.equal(await statusOf(scene, `/invite/room/${wrong}`), 404, wrong);
  for (const [name, fields] of [
    ['unlisted', { ...open, 'muc#roomconfig_publicroom': '0' }],
    ['closed', { ...open, 'muc#roomconfig_membersonly': '1' }],
    ['secret', { ...open, 'muc#roomconfig_passwordprotectedroom': '1', 'muc#roomconfig_roomsecret': 'sesame' }],
  ] as const) {
    await founds(crone, name, 'first', fields);
    assert.equal(await statusOf(scene, `/invite/room/${name}`), 404, name);
  }
  await enters(crone, 'unfinished', 'first');
  assert.equal(await statusOf(scene, '/invite/room/unfinished'), 404, 'its owner has not opened it yet');
});

scenario('who may not invite to a room makes no link to it', async (scene) => {
  const crone = await scene.actor('crone1@localhost/desktop');
  const hag = await scene.actor('hag66@localhost/pda');
  await founds(crone, 'sabbath', 'first', { 'muc#roomconfig_membersonly': '1', 'muc#roomconfig_allowinvites': '0' });
  const refused = async (room: string, condition: string) => {
    const error = (await asks(hag, { room })).getChild('error');
    assert.equal(error?.getChild(condition)?.name, condition, room);
  };
  await refused(`sabbath@${service}`, 'forbidden');
  await refused(`nowhere@${service}`, 'item-not-found');
  // What is entered wrongly is answered by a note.
  for (const wrong of [
    { room: service },
    { room: 'hag66@localhost' },
    ...['0', '-1', '1e3', '3651', 'x'].map((days) => ({ room: `sabbath@${service}`, days })),
    { room: `sabbath@${service}`, uses: '10001' },
  ]) {
    const note = (await asks(hag, wrong)).getChild('command', NS.commands)?.getChild('note');
    assert.equal(note?.attrs.type, 'error', JSON.stringify(wrong));
  }
  // A link is as good as the right of who made it.
  await grants(crone, 'sabbath', 'hag66@localhost', 'admin');
  const { uri, path } = await links(hag, 'sabbath');
  assert.equal(await statusOf(scene, path), 200);
  await grants(crone, 'sabbath', 'hag66@localhost', 'member');
  assert.equal(await statusOf(scene, path), 404);
  const witch = await scene.actor('wiccarocks@localhost/laptop');
  await witch.sends(joins(`sabbath@${service}/second`, `<password>${tokenIn(uri)}</password>`));
  await witch.receives(`<presence type='error'>${refusal('auth', 'registration-required')}</presence>`);
});

scenario('tokens cannot be tried out', { alone: true }, async (scene) => {
  const crone = await scene.actor('crone1@localhost/desktop');
  await founds(crone, 'hidden', 'first', { 'muc#roomconfig_publicroom': '0' });
  const statuses = new Set<number>();
  for (let n = 0; n < 65; n++) statuses.add(await statusOf(scene, `/invite/room/hidden/${'guess'.repeat(5)}${n}`));
  assert.deepEqual([...statuses], [404, 429]);
  assert.ok((await hits(scene, 'invites.tries')) > 0);
});
