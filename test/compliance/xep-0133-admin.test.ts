/** XEP-0133: administering the service from a client. xep-0050-adhoc tests that others are refused. */
import assert from 'node:assert/strict';
import { Jid } from '../../src/server/address/jid.js';
import { NS } from '../../src/server/stanza/ns.js';
import type { Element } from '../../src/server/xml/element.js';
import { base64, type Peer, plain, type Scene, scenario } from './dialogue.js';
import { befriends, refusal } from './phrases.js';
import { Scram } from './scram.js';

const config = { hosts: { localhost: { admins: ['nurse@localhost'] }, 'elsewhere.example': {} } };
const admin = 'http://jabber.org/protocol/admin';

type Fields = Readonly<Record<string, string | readonly string[]>>;

const submitted = (fields: Fields): string => {
  const all = { FORM_TYPE: admin, ...fields };
  const written = Object.entries(all).map(
    ([name, values]) =>
      `<field var='${name}'>${[values]
        .flat()
        .map((value) => `<value>${value}</value>`)
        .join('')}</field>`,
  );
  return `<x xmlns='${NS.dataForms}' type='submit'>${written.join('')}</x>`;
};

const command = (node: string, attributes: string, content = '', to = 'localhost') =>
  `<iq type='set' id='c' to='${to}'><command xmlns='${NS.commands}' node='${admin}#${node}' ${attributes}>${content}</command></iq>`;

/** Executes a command, fills in its form where it has one, and answers with the `<command/>` that it ends with. */
async function runs(peer: Peer, node: string, fields?: Fields, to?: string): Promise<Element> {
  await peer.sends(command(node, `action='execute'`, '', to));
  const first = await peer.receives(`<iq type='result' id='c'><command xmlns='${NS.commands}'/></iq>`);
  const asked = first.getChild('command', NS.commands)!;
  if (fields === undefined) {
    assert.equal(asked.attrs.status, 'completed');
    return asked;
  }
  assert.equal(asked.attrs.status, 'executing');
  const form = asked.getChild('x', NS.dataForms)!;
  for (const name of ['FORM_TYPE', ...Object.keys(fields)])
    assert.ok(
      form.getChildren('field').some(({ attrs }) => attrs.var === name),
      `${node} asks for ${name}`,
    );
  await peer.sends(command(node, `sessionid='${asked.attrs.sessionid}' action='complete'`, submitted(fields), to));
  const last = await peer.receives(
    `<iq type='result' id='c'><command xmlns='${NS.commands}' status='completed'/></iq>`,
  );
  const answer = last.getChild('command', NS.commands)!;
  for (const one of [asked, answer]) isTyped(one);
  return answer;
}

async function isRefused(peer: Peer, node: string, fields: Fields, error: string): Promise<void> {
  await peer.sends(command(node, `action='execute'`));
  const first = await peer.receives(`<iq type='result' id='c'><command xmlns='${NS.commands}'/></iq>`);
  const { sessionid } = first.getChild('command', NS.commands)!.attrs;
  await peer.sends(command(node, `sessionid='${sessionid}' action='complete'`, submitted(fields)));
  await peer.receives(`<iq type='error' id='c'>${error}</iq>`);
}

/** XEP-0050 §3.4: an error in a form completes the command, with the reason. */
async function fails(peer: Peer, node: string, fields: Fields, reason: RegExp): Promise<void> {
  const [note] = (await runs(peer, node, fields)).getChildElements();
  assert.equal(note?.name, 'note');
  assert.equal(note?.attrs.type, 'error');
  assert.match(note!.getText(), reason);
}

const values = (answer: Element, name: string): string[] =>
  answer
    .getChildren('x', NS.dataForms)
    .flatMap((form) => form.getChildren('field'))
    .filter(({ attrs }) => attrs.var === name)
    .flatMap((field) => field.getChildren('value').map((value) => value.getText()));

/** XEP-0004 §3.3: clients drop an answer with a field that has no type. */
function isTyped(answer: Element): void {
  for (const form of answer.getChildren('x', NS.dataForms))
    for (const field of form.getChildren('field')) assert.ok(field.attrs.type, `${field}`);
}

/** With which condition a login fails. */
async function failsToLogIn({ connect }: Pick<Scene, 'connect'>, user: string, password: string): Promise<string> {
  const peer = await connect({ address: '127.1.0.33' });
  await peer.opens();
  await peer.receivesFeatures();
  const scram = new Scram({ hash: 'SHA-1', user, password });
  await peer.sends(`<auth xmlns='${NS.sasl}' mechanism='SCRAM-SHA-1'>${base64(scram.first())}</auth>`);
  const challenge = await peer.receives(`<challenge xmlns='${NS.sasl}'>*</challenge>`);
  await peer.sends(`<response xmlns='${NS.sasl}'>${base64(scram.final(plain(challenge)))}</response>`);
  const failure = await peer.receives(`<failure xmlns='${NS.sasl}'/>`);
  return failure.getChildElements()[0]!.name;
}

scenario('§4.1: add a user', { config }, async ({ actor, server }) => {
  const nurse = await actor('nurse@localhost/kitchen');
  const fields = { accountjid: 'Juliet@localhost', password: 'R0m30', 'password-verify': 'R0m30' };
  await runs(nurse, 'add-user', fields);
  const juliet = await actor('juliet@localhost/balcony', { password: 'R0m30' });
  await juliet.syncs();
  await isRefused(nurse, 'add-user', fields, refusal('cancel', 'conflict'));
  await fails(nurse, 'add-user', { ...fields, accountjid: 'a@localhost', 'password-verify': 'x' }, /passwords differ/);
  await fails(nurse, 'add-user', { ...fields, accountjid: 'a@elsewhere.example' }, /must be at localhost/);
  await fails(nurse, 'add-user', { ...fields, accountjid: '@@' }, /not an address/);
  await fails(nurse, 'add-user', { accountjid: 'a@localhost', password: 'R0m30', 'password-verify': '' }, /required/);
  assert.equal(await server.accounts.exists('a@elsewhere.example'), false);
  await server.accounts.remove('juliet@localhost');
});

scenario('§4.2: delete a user; its subscribers get unavailable presence', { config }, async ({ actor, server }) => {
  const nurse = await actor('nurse@localhost/kitchen');
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await befriends(romeo, juliet);
  await runs(nurse, 'delete-user', { accountjids: ['juliet@localhost'] });
  await romeo.receives(`<presence type='unavailable' from='juliet@localhost/balcony'/>`);
  juliet.forgets();
  assert.equal(await server.accounts.exists('juliet@localhost'), false);
  await fails(nurse, 'delete-user', { accountjids: ['romeo@localhost', 'nobody@localhost'] }, /nobody@localhost/);
  assert.equal(await server.accounts.exists('romeo@localhost'), true, 'all or none');
  await isRefused(nurse, 'delete-user', { accountjids: 'nurse@localhost' }, refusal('cancel', 'not-allowed'));
});

scenario('§4.3, §4.4: disable and enable a user', { config }, async ({ actor, connect }) => {
  const nurse = await actor('nurse@localhost/kitchen');
  const juliet = await actor('juliet@localhost/balcony');
  await runs(nurse, 'disable-user', { accountjids: 'juliet@localhost' });
  await juliet.closed('not-authorized');
  assert.equal(await failsToLogIn({ connect }, 'juliet', 'pencil'), 'account-disabled');
  assert.equal(await failsToLogIn({ connect }, 'juliet', 'guess'), 'not-authorized');
  assert.deepEqual(values(await runs(nurse, 'get-disabled-users-num'), 'disabledusersnum'), ['1']);
  assert.deepEqual(values(await runs(nurse, 'get-disabled-users-list', { max_items: 'none' }), 'disableduserjids'), [
    'juliet@localhost',
  ]);
  await runs(nurse, 'reenable-user', { accountjids: 'juliet@localhost' });
  await actor('juliet@localhost/balcony');
});

scenario('§4.5: end one session, or all', { config }, async ({ actor }) => {
  const nurse = await actor('nurse@localhost/kitchen');
  const balcony = await actor('juliet@localhost/balcony');
  const chamber = await actor('juliet@localhost/chamber');
  await runs(nurse, 'end-user-session', { accountjids: 'juliet@localhost/balcony' });
  await balcony.closed('policy-violation');
  await chamber.receivesNothing();
  await runs(nurse, 'end-user-session', { accountjids: 'juliet@localhost' });
  await chamber.closed('policy-violation');
});

scenario('§4.7: change a password', { config }, async ({ actor, connect }) => {
  const nurse = await actor('nurse@localhost/kitchen');
  await actor('juliet@localhost/balcony');
  await runs(nurse, 'change-user-password', { accountjid: 'juliet@localhost', password: 'rosemary' });
  assert.equal(await failsToLogIn({ connect }, 'juliet', 'pencil'), 'not-authorized');
  await actor('juliet@localhost/chamber', { password: 'rosemary' });
  await fails(nurse, 'change-user-password', { accountjid: 'nobody@localhost', password: 'rosemary' }, /nobody@/);
});

scenario('§4.8, §4.9, §4.10: data of an account', { config }, async ({ actor }) => {
  const nurse = await actor('nurse@localhost/kitchen');
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await befriends(romeo, juliet);
  await romeo.sends(`<iq type='set' id='1'><query xmlns='${NS.roster}'>
    <item jid='juliet@localhost' name='J'><group>Friends</group></item></query></iq>`);
  await romeo.receives(`<iq type='result' id='1'/>`);
  const roster = await runs(nurse, 'get-user-roster', { accountjids: 'romeo@localhost' });
  const items = roster.getChild('x', NS.dataForms)!.getChild('query', NS.roster)!.getChildren('item');
  assert.deepEqual(
    items.map(({ attrs }) => [attrs.jid, attrs.name, attrs.subscription]),
    [['juliet@localhost', 'J', 'both']],
  );
  const login = await runs(nurse, 'get-user-lastlogin', { accountjids: 'romeo@localhost' });
  assert.ok(Date.now() - Date.parse(values(login, 'lastlogin')[0]!) < 60_000);
  const stats = await runs(nurse, 'user-stats', { accountjid: 'romeo@localhost' });
  assert.deepEqual(values(stats, 'onlineresources'), ['orchard']);
  assert.deepEqual(values(stats, 'rostersize'), ['1']);
  assert.equal(values(stats, 'ipaddresses').length, 1);
  const both = await runs(nurse, 'user-stats', { accountjids: ['romeo@localhost', 'juliet@localhost'] });
  assert.deepEqual(values(both, 'onlineresources'), ['orchard', 'balcony']);
  await fails(nurse, 'user-stats', { accountjids: [] }, /address/);
});

scenario('§4.13 to §4.22: numbers and lists of users', { config }, async ({ actor, stage }) => {
  const nurse = await actor('nurse@localhost/kitchen', { presence: '<presence><show>away</show></presence>' });
  await actor('romeo@localhost/orchard', { presence: true });
  await stage.account('paris@localhost');
  await actor('tybalt@elsewhere.example/street', { presence: true });
  const expected: Readonly<Record<string, readonly string[]>> = {
    registered: ['nurse@localhost', 'paris@localhost', 'romeo@localhost'],
    online: ['nurse@localhost', 'romeo@localhost'],
    active: ['romeo@localhost'],
    idle: ['nurse@localhost'],
  };
  for (const [what, who] of Object.entries(expected)) {
    assert.deepEqual(values(await runs(nurse, `get-${what}-users-num`), `${what}usersnum`), [String(who.length)]);
    const node = what === 'active' || what === 'idle' ? `get-${what}-users` : `get-${what}-users-list`;
    assert.deepEqual(values(await runs(nurse, node, { max_items: '25' }), `${what}userjids`), who);
  }
});

const headline = (subject: string, text: string) =>
  `<message type='headline' from='localhost'><subject>${subject}</subject><body>${text}</body></message>`;

scenario('§4.23: an announcement', { config }, async ({ actor }) => {
  const nurse = await actor('nurse@localhost/kitchen', { presence: true });
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const garden = await actor('romeo@localhost/garden', { presence: true });
  const tybalt = await actor('tybalt@elsewhere.example/street', { presence: true });
  romeo.forgets();
  await nurse.sends(command('announce', `action='execute'`));
  const asked = await nurse.receives(`<iq type='result'/>`);
  const { sessionid } = asked.getChild('command', NS.commands)!.attrs;
  await nurse.sends(
    command('announce', `sessionid='${sessionid}'`, submitted({ announcement: ['Feast', 'tonight &amp; tomorrow'] })),
  );
  await nurse.receivesAnyOrder([
    headline('Announcement', 'Feast\ntonight &amp; tomorrow'),
    `<iq type='result' id='c'><command xmlns='${NS.commands}' status='completed'/></iq>`,
  ]);
  await romeo.receives(headline('Announcement', 'Feast\ntonight &amp; tomorrow'));
  await garden.receives(headline('Announcement', 'Feast\ntonight &amp; tomorrow'));
  for (const peer of [nurse, romeo, garden, tybalt]) await peer.receivesNothing();
});

scenario('§4.24 to §4.28: message of the day and welcome message', { config }, async ({ actor, server }) => {
  const nurse = await actor('nurse@localhost/kitchen');
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  await runs(nurse, 'set-motd', { motd: ['Good morrow'] });
  await romeo.receives(headline('Message of the day', 'Good morrow'));
  await romeo.sends(`<presence type='unavailable'/><presence/>`);
  await romeo.syncs();
  assert.ok(
    romeo.forgets().every(({ name }) => name !== 'message'),
    'once',
  );
  await runs(nurse, 'set-welcome', { welcome: ['Be welcome'] });
  await server.accounts.create(Jid.parse('juliet@localhost'), 'password');
  const juliet = await actor('juliet@localhost/balcony', { password: 'password' });
  await juliet.sends('<presence/>');
  await juliet.receives('<presence/>');
  await juliet.receives(headline('Welcome', 'Be welcome'));
  await juliet.receives(headline('Message of the day', 'Good morrow'));
  await juliet.receivesNothing();
  await runs(nurse, 'delete-motd');
  await runs(nurse, 'delete-welcome');
  const paris = await actor('paris@localhost/street');
  await paris.sends('<presence/>');
  await paris.receives('<presence/>');
  await paris.receivesNothing();
  await server.accounts.remove('juliet@localhost');
});

scenario('§3: administrators can also run the commands at their own account', { config }, async ({ actor }) => {
  const nurse = await actor('nurse@localhost/kitchen');
  const romeo = await actor('romeo@localhost/orchard');
  const list = `<query xmlns='${NS.discoItems}' node='${NS.commands}'/>`;
  const nodes = async (peer: Peer, to: string) => {
    await peer.sends(`<iq type='get' id='1' to='${to}'>${list}</iq>`);
    const listed = await peer.receives(`<iq type='result' id='1'>${list}</iq>`);
    return listed
      .getChildElements()[0]!
      .getChildElements()
      .flatMap(({ attrs }) => attrs.node ?? []);
  };
  const own = await nodes(nurse, 'nurse@localhost');
  for (const node of await nodes(nurse, 'localhost')) assert.ok(own.includes(node), node);
  for (const name of ['edit-blacklist', 'edit-whitelist', 'edit-admin', 'restart', 'shutdown'])
    assert.ok(own.includes(`${admin}#${name}`), name);
  assert.ok((await nodes(romeo, 'romeo@localhost')).every((node) => !node.startsWith(admin)));
  const info = `<query xmlns='${NS.discoInfo}' node='${admin}#user-stats'/>`;
  await nurse.sends(`<iq type='get' id='2' to='nurse@localhost'>${info}</iq>`);
  await nurse.receives(`<iq type='result' id='2'><query xmlns='${NS.discoInfo}' node='${admin}#user-stats'>
    <identity category='automation' type='command-node'/></query></iq>`);
  const stats = await runs(nurse, 'user-stats', { accountjid: 'romeo@localhost' }, 'nurse@localhost');
  assert.deepEqual(values(stats, 'onlineresources'), ['orchard']);
  await romeo.sends(command('user-stats', `action='execute'`, '', 'romeo@localhost'));
  await romeo.receives(`<iq type='error' id='c'>${refusal('cancel', 'forbidden')}</iq>`);
});

const shutOut = `<error type='auth'><forbidden xmlns='${NS.stanzas}'/></error>`;
const chat = (to: string) => `<message id='m' type='chat' to='${to}'><body>x</body></message>`;

scenario('§4.11: nobody can communicate with listed addresses, nor can services', { config }, async ({ actor }) => {
  const nurse = await actor('nurse@localhost/kitchen', { presence: true });
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const tybalt = await actor('tybalt@elsewhere.example/street', { presence: true });
  const paris = await actor('paris@elsewhere.example/street', { presence: true });
  await befriends(romeo, tybalt);
  await runs(nurse, 'edit-blacklist', { blacklistjids: ['tybalt@elsewhere.example'] });
  assert.deepEqual(
    values(await runs(nurse, 'edit-blacklist', { blacklistjids: ['tybalt@elsewhere.example'] }), 'x'),
    [],
  );
  for (const to of [
    'romeo@localhost',
    'romeo@localhost/orchard',
    'localhost',
    'conference.localhost',
    'a@pubsub.localhost',
  ]) {
    await tybalt.sends(chat(to));
    await tybalt.receives(`<message id='m' type='error' from='${to}'>${shutOut}</message>`);
    await tybalt.sends(`<iq id='i' type='get' to='${to}'><query xmlns='${NS.discoInfo}'/></iq>`);
    await tybalt.receives(`<iq id='i' type='error' from='${to}'>${shutOut}</iq>`);
    for (const type of ['', `type='unavailable'`, `type='subscribe'`, `type='probe'`])
      await tybalt.sends(`<presence ${type} to='${to}'/>`);
    await tybalt.sends(`<iq id='r' type='result' to='${to}'/>`);
  }
  await romeo.sends(chat('tybalt@elsewhere.example'));
  await romeo.receives(`<message id='m' type='error' from='tybalt@elsewhere.example'>${shutOut}</message>`);
  await romeo.sends('<presence><show>away</show></presence>');
  await romeo.receives('<presence/>');
  await tybalt.sends('<presence><show>away</show></presence>');
  await tybalt.receives('<presence/>');
  await romeo.receivesNothing();
  await tybalt.receivesNothing();
  // Others of the admin's domain, and accounts of this one
  await paris.sends(chat('romeo@localhost'));
  await romeo.receives(`<message type='chat' from='paris@elsewhere.example/street'/>`);
  await fails(nurse, 'edit-blacklist', { blacklistjids: ['localhost'] }, /is this server/);
  await fails(nurse, 'edit-blacklist', { blacklistjids: ['nurse@localhost'] }, /administrator/);
  await runs(nurse, 'edit-blacklist', { blacklistjids: ['elsewhere.example'] });
  await paris.sends(chat('romeo@localhost'));
  await paris.receives(`<message id='m' type='error' from='romeo@localhost'>${shutOut}</message>`);
  await runs(nurse, 'edit-blacklist', { blacklistjids: [] });
  await tybalt.sends(chat('romeo@localhost'));
  await romeo.receives(`<message type='chat' from='tybalt@elsewhere.example/street'/>`);
});

scenario(
  '§4.12: an allow list restricts the host to itself and the listed addresses',
  { config },
  async ({ actor }) => {
    const nurse = await actor('nurse@localhost/kitchen', { presence: true });
    const romeo = await actor('romeo@localhost/orchard', { presence: true });
    const tybalt = await actor('tybalt@elsewhere.example/street', { presence: true });
    const paris = await actor('paris@elsewhere.example/street', { presence: true });
    await runs(nurse, 'edit-whitelist', { whitelistjids: ['paris@elsewhere.example'] });
    await tybalt.sends(chat('romeo@localhost'));
    await tybalt.receives(`<message id='m' type='error' from='romeo@localhost'>${shutOut}</message>`);
    for (const peer of [paris, nurse]) {
      await peer.sends(chat('romeo@localhost'));
      await romeo.receives(`<message type='chat' from='${peer.jid}'/>`);
    }
    await romeo.sends(`<iq type='get' id='1' to='conference.localhost'><query xmlns='${NS.discoInfo}'/></iq>`);
    await romeo.receives(`<iq type='result' id='1'/>`);
    await runs(nurse, 'edit-whitelist', { whitelistjids: [] });
    await tybalt.sends(chat('romeo@localhost'));
    await romeo.receives(`<message type='chat' from='tybalt@elsewhere.example/street'/>`);
  },
);

scenario('§4.29: the list of administrators', { config }, async ({ actor }) => {
  const nurse = await actor('nurse@localhost/kitchen');
  const romeo = await actor('romeo@localhost/orchard');
  await romeo.sends(command('edit-admin', `action='execute'`));
  await romeo.receives(`<iq type='error' id='c'>${refusal('cancel', 'forbidden')}</iq>`);
  await runs(nurse, 'edit-admin', { adminjids: ['nurse@localhost', 'romeo@localhost'] });
  await fails(nurse, 'edit-admin', { adminjids: ['nobody@localhost'] }, /not an account/);
  await fails(nurse, 'edit-admin', { adminjids: ['tybalt@elsewhere.example'] }, /not an account/);
  // Now an admin. Admins named in the configuration stay, and nobody can remove themselves by mistake
  const stored = await runs(romeo, 'edit-admin', { adminjids: ['romeo@localhost'] });
  assert.match(stored.getChildText('note', NS.commands) ?? '', /nurse@localhost/);
  await isRefused(romeo, 'edit-admin', { adminjids: ['nurse@localhost'] }, refusal('cancel', 'not-allowed'));
  await runs(nurse, 'edit-admin', { adminjids: ['nurse@localhost'] });
  await romeo.sends(command('edit-admin', `action='execute'`));
  await romeo.receives(`<iq type='error' id='c'>${refusal('cancel', 'forbidden')}</iq>`);
});

const everywhere = {
  hosts: { localhost: { admins: ['nurse@localhost'] }, 'elsewhere.example': { admins: ['nurse@localhost'] } },
};

scenario(
  '§4.30, §4.31: restart and shutdown are announced, and orderly',
  // Nodes that stop at the same moment: docs/decisions/0011-homes.md, Not there yet.
  { config: everywhere, alone: true, nodes: 1 },
  async ({ actor }) => {
    const nurse = await actor('nurse@localhost/kitchen', { presence: true });
    const romeo = await actor('romeo@localhost/orchard', { presence: true });
    // Nothing would start it again
    await isRefused(nurse, 'restart', { delay: '30' }, refusal('cancel', 'feature-not-implemented'));
    await fails(nurse, 'shutdown', { delay: 'soon' }, /delay/);
    await runsAside(nurse, 'shutdown', { delay: '3600' });
    await romeo.receives(headline('Announcement', 'The server will be shut down in 3600 seconds.'));
    await runsAside(nurse, 'shutdown', { delay: '0', announcement: ['Good', 'night'] });
    await romeo.receives(headline('Announcement', 'Good\nnight'));
    await romeo.closed('system-shutdown');
  },
);

scenario('§4.31: not for administrators of one of several hosts', { config }, async ({ actor }) => {
  const nurse = await actor('nurse@localhost/kitchen');
  await isRefused(nurse, 'shutdown', { delay: '0' }, refusal('cancel', 'forbidden'));
});

/** Like `runs`, for a user who gets the announcement. */
async function runsAside(peer: Peer, node: string, fields: Fields): Promise<void> {
  await peer.sends(command(node, `action='execute'`));
  const first = await peer.receives(`<iq type='result' id='c'><command xmlns='${NS.commands}'/></iq>`);
  const { sessionid } = first.getChild('command', NS.commands)!.attrs;
  await peer.sends(command(node, `sessionid='${sessionid}'`, submitted(fields)));
  await peer.receivesAnyOrder([
    `<message type='headline' from='localhost'/>`,
    `<iq type='result' id='c'><command xmlns='${NS.commands}' status='completed'/></iq>`,
  ]);
}
