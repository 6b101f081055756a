/**
 * XEP-0489: a server describes its accounts, in answers and in their stanzas to unknown recipients on other servers.
 */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import { type Peer, type Scene, scenario } from './dialogue.js';
import { befriends, logsInAnonymously, refusal, subscribes } from './phrases.js';
import { enters, founds, service } from './rooms.js';
import { play, type Servers } from './servers.js';

const open = { config: { modules: { register: { open: true } } }, alone: true };
const info = (affiliation: string, more = '') => `<info xmlns='${NS.raa}' affiliation='${affiliation}'${more}/>`;
const forged = info('admin', ` since='2001-01-01T00:00:00Z'`);
const query = (to: string) => `<iq type='get' id='q' to='${to}'><query xmlns='${NS.raa}'/></iq>`;

const announced = async (peer: Peer): Promise<string[]> => {
  await peer.sends(`<iq type='get' id='d' to='localhost'><query xmlns='${NS.discoInfo}'/></iq>`);
  const result = await peer.receives(`<iq type='result' id='d'/>`);
  return result
    .getChildElements()[0]!
    .getChildElements()
    .flatMap(({ attrs }) => (attrs.var?.startsWith(NS.raa) ? [attrs.var.slice(NS.raa.length)] : []));
};

/** A user who registered their own account. */
async function registers({ connect, actor }: Scene, name: string, options: { presence?: true } = {}): Promise<Peer> {
  const outsider = await connect({ transport: 'starttls' });
  await outsider.opens();
  await outsider.receivesFeatures();
  await outsider.sends(`<iq type='set' id='new'><query xmlns='${NS.register}'><username>${name}</username>
    <password>password</password></query></iq>`);
  await outsider.receives(`<iq type='result' id='new'/>`);
  return actor(`${name}@localhost/x`, { ...options, password: 'password' });
}

scenario('§5: support is announced', async ({ actor }) => {
  assert.deepEqual((await announced(await actor('juliet@localhost/balcony'))).sort(), [
    '',
    '#embed-message',
    '#embed-presence-directed',
    '#embed-presence-sub',
  ]);
});

scenario(
  '§5: disabled features are not announced',
  { config: { modules: { account_affiliations: { embed: false, query: 'nobody' } } } },
  async ({ actor }) => {
    const juliet = await actor('juliet@localhost/balcony');
    assert.deepEqual(await announced(juliet), []);
    await juliet.sends(query('juliet@localhost'));
    await juliet.receives(`<iq type='result' id='q'>${info('member')}</iq>`);
    const romeo = await actor('romeo@localhost/orchard');
    await romeo.sends(query('juliet@localhost'));
    await romeo.receives(`<iq type='error' id='q'>${refusal('auth', 'forbidden')}</iq>`);
  },
);

scenario('§3.2: for users who may see the presence; others learn nothing', open, async (scene) => {
  const juliet = await scene.actor('juliet@localhost/balcony', { presence: true });
  const romeo = await registers(scene, 'romeo', { presence: true });
  for (const to of ['juliet@localhost', 'nobody@localhost']) {
    await romeo.sends(query(to));
    await romeo.receives(`<iq type='error' id='q' from='${to}'>${refusal('auth', 'forbidden')}</iq>`);
  }
  await befriends(romeo, juliet);
  await romeo.sends(query('juliet@localhost'));
  await romeo.receives(`<iq type='result' id='q' from='juliet@localhost'>${info('member')}</iq>`, { exactly: false });
  await juliet.sends(query('romeo@localhost'));
  const answer = await juliet.receives(`<iq type='result' id='q'>${info('registered', ` since='*'`)}</iq>`);
  // §6.1: to the day, in UTC
  const { since } = answer.getChild('info', NS.raa)!.attrs;
  assert.match(since!, /^\d{4}-\d\d-\d\dT00:00:00(\.000)?Z$/);
  assert.ok(Date.now() - Date.parse(since!) < 2 * 86_400_000);
});

scenario('§3.2: for servers', async ({ server, stage }) => {
  await stage.account('juliet@localhost');
  const host = server.host('localhost')!;
  const elsewhere = server.host('elsewhere.example')!;
  const { Stanza } = await import('../../src/server/stanza/stanza.js');
  const { Jid } = await import('../../src/server/address/jid.js');
  const { el } = await import('../../src/server/xml/element.js');
  const ask = (to: string) =>
    elsewhere.ask(
      Stanza.build('iq', { type: 'get', from: elsewhere.jid, to: Jid.parse(to) }, el('query', { xmlns: NS.raa })),
    );
  const answer = await ask(`juliet@${host.domain}`);
  assert.equal(answer.child(NS.raa, 'info')?.attrs.affiliation, 'member');
  await assert.rejects(ask('nobody@localhost'), { condition: 'service-unavailable' });
});

scenario(
  '§2: administrators, if configured',
  {
    config: {
      hosts: { localhost: { admins: ['nurse@localhost'] } },
      modules: { account_affiliations: { show_admins: true } },
    },
  },
  async ({ actor }) => {
    const nurse = await actor('nurse@localhost/kitchen');
    await nurse.sends(query('nurse@localhost'));
    await nurse.receives(`<iq type='result' id='q'>${info('admin')}</iq>`);
  },
);

scenario('§3.3, §4: added to stanzas for users of other servers; forged ones are removed', open, async (scene) => {
  const { actor } = scene;
  const romeo = await registers(scene, 'romeo', { presence: true });
  const tybalt = await actor('tybalt@elsewhere.example/street', { presence: true });
  const ours = info('registered', ` since='*'`);
  const gets = async (name: string, id: string, inside: string) => {
    const received = await tybalt.receives(
      `<${name} id='${id}' from='*'${id === 's' ? ` type='subscribe'` : id === 'c' ? ` type='chat'` : ''}>${inside}</${name}>`,
    );
    assert.equal(received.getChildren('info').length, inside === '' ? 0 : 1, String(received));
    assert.doesNotMatch(String(received), /2001/);
  };
  await romeo.sends(`<message id='c' type='chat' to='tybalt@elsewhere.example'><body>x</body>${forged}</message>`);
  await gets('message', 'c', ours);
  await romeo.sends(`<presence id='d' to='${tybalt.jid}'>${forged}</presence>`);
  await gets('presence', 'd', ours);
  await romeo.sends(`<presence id='s' type='subscribe' to='tybalt@elsewhere.example'>${forged}</presence>`);
  await gets('presence', 's', ours);
});

scenario('§4, §6.2: not added for contacts; forged ones are removed for them, too', open, async (scene) => {
  const { actor } = scene;
  const romeo = await registers(scene, 'romeo', { presence: true });
  const tybalt = await actor('tybalt@elsewhere.example/street', { presence: true });
  await subscribes(romeo, tybalt);
  await subscribes(tybalt, romeo);
  await romeo.syncs();
  await tybalt.syncs();
  tybalt.forgets();
  await romeo.sends(`<message id='1' type='chat' to='tybalt@elsewhere.example'><body>x</body>${forged}</message>`);
  await romeo.sends(`<presence id='2' to='${tybalt.jid}'>${forged}</presence>`);
  await romeo.sends(`<presence id='3'>${forged}</presence>`);
  await romeo.sends(`<presence id='4' type='unavailable'>${forged}</presence>`);
  await romeo.syncs();
  await tybalt.syncs();
  const received = tybalt.forgets();
  assert.deepEqual(
    received.map(({ attrs }) => attrs.id),
    ['1', '2', '3', '4'],
  );
  for (const element of received) assert.equal(element.getChild('info', NS.raa), undefined, String(element));
});

scenario('§4: not added for local rooms, so no occupant sees it', async ({ actor }) => {
  const juliet = await actor('juliet@localhost/balcony');
  const romeo = await actor('romeo@localhost/orchard');
  await founds(juliet, 'hall', 'juliet');
  await enters(romeo, 'hall', 'romeo');
  await juliet.syncs();
  for (const element of juliet.forgets()) assert.doesNotMatch(String(element), /urn:xmpp:raa/);
  await romeo.sends(`<message type='groupchat' to='hall@${service}'><body>x</body>${forged}</message>`);
  const received = await juliet.receives(`<message type='groupchat'><body>x</body></message>`);
  assert.doesNotMatch(String(received), /urn:xmpp:raa/);
});

scenario('§2: anonymous accounts', { config: { auth: { anonymous: true } } }, async ({ connect }) => {
  const anonymous = await logsInAnonymously(connect);
  await anonymous.sends(query(anonymous.jid.split('/')[0]!));
  await anonymous.receives(`<iq type='result' id='q'>${info('anonymous')}</iq>`);
});

// --- what other servers report ----------------------------------------------------------------------------------------

const [montague, capulet] = ['montague.example', 'capulet.example'];
const says = (id: string) => `<message id='${id}' type='chat' to='juliet@${capulet}'><body>${id}</body></message>`;

/** A user of Montague's who made the account just now. */
async function newcomer(servers: Servers, name: string): Promise<Peer> {
  const stage = servers.stage(montague);
  const client = await stage.connect({ transport: 'starttls', host: montague });
  await client.opens();
  await client.receivesFeatures();
  await client.sends(`<iq type='set' id='new'><query xmlns='${NS.register}'><username>${name}</username>
    <password>password</password></query></iq>`);
  await client.receives(`<iq type='result' id='new'/>`);
  return stage.actor(`${name}@${montague}/x`, { password: 'password' });
}

/** Capulet has asked Montague what it announces, which the first report makes it do. */
async function hasAsked(peer: Peer): Promise<void> {
  await peer.sends(`<iq type='get' id='p' to='${capulet}'><ping xmlns='${NS.ping}'/></iq>`);
  await peer.receives(`<iq type='result' id='p'/>`);
}

const limited = { [capulet]: { modules: { strangers: { per_domain_newcomers: 2 } } } };
const tooMany = (id: string) => `<message id='${id}' type='error'>${refusal('wait', 'policy-violation')}</message>`;

play(
  '§3.3, §6.2: unknown senders that their server reports as new share a limit; others do not',
  { ...limited, [montague]: { modules: { register: { open: true } } } },
  async (servers) => {
    const juliet = await servers.stage(capulet).actor(`juliet@${capulet}/balcony`, { presence: true });
    const isDelivered = async (peer: Peer, id: string) => {
      await peer.sends(says(id));
      await juliet.receives(`<message type='chat' id='${id}' from='${peer.jid}'/>`);
    };
    const romeo = await newcomer(servers, 'romeo');
    // Not counted: Capulet does not know yet whether Montague removes what clients write.
    await isDelivered(romeo, '0');
    await hasAsked(romeo);
    await isDelivered(romeo, '1');
    const benvolio = await newcomer(servers, 'benvolio');
    await isDelivered(benvolio, '2');
    await romeo.sends(says('3'));
    await romeo.receives(tooMany('3'));
    await benvolio.sends(says('4'));
    await benvolio.receives(tooMany('4'));
    const mercutio = await servers.stage(montague).actor(`mercutio@${montague}/square`);
    for (const id of ['5', '6', '7']) await isDelivered(mercutio, id);
    // Who has written to them knows them.
    await juliet.sends(`<message to='${romeo.jid}' type='chat'><body>Ay me!</body></message>`);
    await romeo.receives(`<message from='${juliet.jid}' type='chat'><body>Ay me!</body></message>`);
    await isDelivered(romeo, '8');
    const { text } = await servers.stage(capulet).server.metrics.text();
    assert.match(text, /waxwing_limits_hit_total\{limit="strangers\.per_domain_newcomers"\} 2/);
  },
);

play(
  '§6.2: what a server does not announce is ignored, whoever wrote it',
  { ...limited, [montague]: { modules: { account_affiliations: { embed: false } } } },
  async (servers) => {
    const juliet = await servers.stage(capulet).actor(`juliet@${capulet}/balcony`, { presence: true });
    const romeo = await servers.stage(montague).actor(`romeo@${montague}/orchard`);
    for (const id of ['0', '1', '2', '3', '4']) {
      await romeo.sends(says(id).replace('<body>', `${info('anonymous')}<body>`));
      await juliet.receives(`<message type='chat' id='${id}' from='${romeo.jid}'>${info('anonymous')}</message>`);
      await hasAsked(romeo);
    }
  },
);
