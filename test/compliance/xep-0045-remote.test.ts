/**
 * XEP-0045 and XEP-0410 between servers: occupants whose server or client is gone leave the room at both ends, and come
 * back without doubles.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { Jid } from '../../src/server/address/jid.js';
import { NS } from '../../src/server/stanza/ns.js';
import type { Peer } from './dialogue.js';
import { refusal } from './phrases.js';
import { Impostor, play, type Servers } from './servers.js';

const [montague, capulet] = ['montague.example', 'capulet.example'];
const room = `garden@conference.${capulet}`;
const romeo = `romeo@${montague}`;
const both = { [montague]: {}, [capulet]: {} };
/** A room looks for ghosts after a second of silence. */
const attentive = { [montague]: {}, [capulet]: { modules: { muc: { silence_seconds: 1 } } } };

const joining = (nick: string) => `<presence to='${room}/${nick}'><x xmlns='${NS.muc}'/></presence>`;
const gone = (more: string) =>
  `<presence from='${room}/romeo' type='unavailable'><x xmlns='${NS.mucUser}'><item role='none'/>${more}</x></presence>`;
const removed = gone(`<status code='333'/>`);
const groupchat = (id: string) => `<message to='${room}' type='groupchat' id='${id}'><body>${id}</body></message>`;
const spoken = (id: string, nick: string) =>
  `<message from='${room}/${nick}' type='groupchat' id='${id}'><body>${id}</body></message>`;

/** Juliet opens the room at Capulet. */
async function opened(servers: Servers): Promise<Peer> {
  const juliet = await servers.stage(capulet).actor(`juliet@${capulet}/balcony`, { presence: true });
  await juliet.sends(joining('juliet'));
  await juliet.receives(`<presence from='${room}/juliet'/>`);
  await juliet.receives(`<message from='${room}' type='groupchat'><subject/></message>`);
  const form = `<x xmlns='${NS.dataForms}' type='submit'/>`;
  await juliet.sends(`<iq type='set' id='open' to='${room}'><query xmlns='${NS.mucOwner}'>${form}</query></iq>`);
  await juliet.receives(`<iq type='result' id='open'/>`);
  return juliet;
}

/** A client of Romeo that enters the room, and sees Juliet and itself. */
async function enters(servers: Servers, resource = 'orchard'): Promise<Peer> {
  const peer = await servers.stage(montague).actor(`${romeo}/${resource}`, { presence: true });
  await comesIn(peer);
  return peer;
}

async function comesIn(peer: Peer): Promise<void> {
  await peer.sends(joining('romeo'));
  await peer.receives(`<presence from='${room}/juliet'/>`);
  await peer.receives(`<presence from='${room}/romeo'><x xmlns='${NS.mucUser}'><status code='110'/></x></presence>`);
  await peer.receives(`<message from='${room}' type='groupchat'><subject/></message>`);
}

/** The clients in the room by nickname, as administrators see them. */
async function present(servers: Servers): Promise<Record<string, readonly string[]>> {
  const details = await servers.stage(capulet).home(room).host(capulet)!.provided('rooms')!.show(Jid.parse(room));
  return Object.fromEntries(details!.present.map(({ nick, jids }) => [nick, [...jids].sort()]));
}

/**
 * Romeo enters over a stream of a server of Montague that is killed, and starts again without that session: DNS names a
 * server that knows of nothing.
 */
async function leavesGhost(servers: Servers, juliet: Peer): Promise<void> {
  const server = Impostor.connect(servers.stage(capulet).port('s2s'), `from='${montague}' to='conference.${capulet}'`);
  const [certificate, key] = ['crt', 'key'].map((kind) => readFileSync(`${servers.pem(montague)}.${kind}`, 'utf8'));
  await server.opensWithTls({ certificate: certificate!, key: key! });
  const identity = Buffer.from(montague).toString('base64');
  server.says(`<bidi xmlns='${NS.bidi}'/><auth xmlns='${NS.sasl}' mechanism='EXTERNAL'>${identity}</auth>`);
  await server.hearsElement('success');
  await server.opens();
  server.says(
    `<presence from='${romeo}/orchard' to='${room}/romeo'><x xmlns='${NS.muc}'/></presence>
     <iq from='${romeo}/orchard' to='${room}/romeo' type='get' id='in'><ping xmlns='${NS.ping}'/></iq>`,
  );
  await juliet.receives(`<presence from='${room}/romeo'/>`);
  let item = await server.hears();
  while (item.kind === 'element' && item.name !== 'iq') item = await server.hears();
  assert.ok(item.kind === 'element' && item.attrs.type === 'result', JSON.stringify(item));
  server.cut();
}

// --- the room's server ------------------------------------------------------------------------------------------------

play('XEP-0045 §18.1.2: a silent room removes an occupant whose server was killed', attentive, async (servers) => {
  const juliet = await opened(servers);
  await servers.stage(montague).account(romeo);
  await leavesGhost(servers, juliet);
  await juliet.receives(removed);
  assert.deepEqual(await present(servers), { juliet: [`juliet@${capulet}/balcony`] });
});

play('XEP-0045 §18.1.2: and one whose server is gone for good', attentive, async (servers) => {
  const juliet = await opened(servers);
  await leavesGhost(servers, juliet);
  servers.dns.zone = { addresses: {}, srv: {} };
  await juliet.receives(removed);
});

play('XEP-0045 §7.2.8: who comes back before that is one occupant, whatever the client', attentive, async (servers) => {
  const juliet = await opened(servers);
  await servers.stage(montague).account(romeo);
  await leavesGhost(servers, juliet);
  // Another client of the same user, and one of the same address.
  const window = await enters(servers, 'window');
  for (;;) {
    const clients = (await present(servers)).romeo!;
    if (clients.length === 1) break;
    assert.deepEqual(clients, [`${romeo}/orchard`, `${romeo}/window`]);
    await juliet.syncs();
  }
  const orchard = await enters(servers);
  assert.deepEqual(await present(servers), {
    juliet: [`juliet@${capulet}/balcony`],
    romeo: [`${romeo}/orchard`, `${romeo}/window`],
  });
  await juliet.syncs();
  const seen = juliet.forgets().filter(({ name }) => name === 'presence');
  assert.ok(seen.every(({ attrs }) => attrs.from === `${room}/romeo` && attrs.type === undefined));
  await juliet.sends(groupchat('welcome'));
  for (const client of [window, orchard]) {
    let message = await client.receivesAny();
    while (message.attrs.id !== 'welcome') message = await client.receivesAny();
    await client.receivesNothing();
  }
});

play('XEP-0045 §18.1.2: whoever is there stays, without an answer', attentive, async (servers) => {
  const juliet = await opened(servers);
  const client = await enters(servers);
  await juliet.receives(`<presence from='${room}/romeo'/>`);
  // Nothing to show, to store or to copy, to the client alone.
  await client.receives(
    `<message from='${room}' to='${romeo}/orchard' type='groupchat'>
      <no-store xmlns='${NS.hints}'/><no-copy xmlns='${NS.hints}'/></message>`,
    { exactly: false },
  );
  await juliet.sends(groupchat('1'));
  await juliet.receives(spoken('1', 'juliet'));
  let message = await client.receivesAny();
  while (message.attrs.id !== '1') message = await client.receivesAny();
  assert.equal(message.attrs.from, `${room}/juliet`);
});

// --- the occupant's server --------------------------------------------------------------------------------------------

play('XEP-0045 §7.14, RFC 6121 §4.6.3: the room is told of a client that is gone', both, async (servers) => {
  const juliet = await opened(servers);
  for (const end of ['cut', 'closes'] as const) {
    const client = await enters(servers);
    await juliet.receives(`<presence from='${room}/romeo'/>`);
    await client[end]();
    await juliet.receives(gone(''));
  }
});

/** A busy machine takes longer to end than usual. */
const patient = { config: { admin: { shutdown_grace_seconds: 60 } } };
play('XEP-0045 §7.14: and of those of a server that stops', { [montague]: patient, [capulet]: {} }, async (servers) => {
  const juliet = await opened(servers);
  await enters(servers);
  await juliet.receives(`<presence from='${room}/romeo'/>`);
  await servers.stage(montague).restart();
  await juliet.receives(gone(''));
  servers.leads(montague, servers.stage(montague).port('s2s', servers.stage(montague).nodes.at(-1)));
  await enters(servers, 'window');
  await juliet.receives(`<presence from='${room}/romeo'/>`);
});

const brief = {
  ...both,
  [montague]: { config: { stream_management: { hibernate_seconds: 2, hibernate_max_seconds: 2 } } },
};
play(
  'XEP-0198: a session that a restart outlives, and that nobody resumes, leaves the room',
  brief,
  async (servers) => {
    const juliet = await opened(servers);
    const client = await servers.stage(montague).actor(`${romeo}/orchard`, { presence: true });
    await client.managesStream();
    await comesIn(client);
    await juliet.receives(`<presence from='${room}/romeo'/>`);
    client.cut();
    await servers.stage(montague).restart();
    servers.leads(montague, servers.stage(montague).port('s2s', servers.stage(montague).nodes.at(-1)));
    await juliet.receives(gone(''));
  },
);

play('RFC 6121 §8.5.3.2.1: what a room sends to a client that is gone comes back', both, async (servers) => {
  await servers.stage(montague).account(romeo);
  const juliet = await servers.stage(capulet).actor(`juliet@${capulet}/balcony`, { presence: true });
  for (const type of ['groupchat', 'normal'])
    await juliet.sends(`<message to='${romeo}/orchard' type='${type}' id='${type}'/>`);
  for (const type of ['groupchat', 'normal'])
    await juliet.receives(
      `<message from='${romeo}/orchard' type='error' id='${type}'>${refusal('cancel', 'service-unavailable')}</message>`,
    );
});

play(
  'XEP-0410 §3.2: a room that was restarted knows nobody, and whoever asks comes back once',
  // One process: the rooms of a node that stops go on at another one.
  { [montague]: {}, [capulet]: { ...patient, nodes: 1 } },
  async (servers) => {
    const juliet = await opened(servers);
    const configured = `<x xmlns='${NS.dataForms}' type='submit'><field var='muc#roomconfig_persistentroom'><value>1</value></field></x>`;
    await juliet.sends(
      `<iq type='set' id='keep' to='${room}'><query xmlns='${NS.mucOwner}'>${configured}</query></iq>`,
    );
    await juliet.receives(`<message from='${room}' type='groupchat'/>`);
    await juliet.receives(`<iq type='result' id='keep'/>`);
    const client = await enters(servers);
    await servers.stage(capulet).restart();
    servers.leads(capulet, servers.stage(capulet).port('s2s', servers.stage(capulet).nodes.at(-1)));
    let farewell = await client.receivesAny();
    while (farewell.attrs.from !== `${room}/romeo`) farewell = await client.receivesAny(); // Juliet may be gone before.
    const codes = farewell.getChild('x', NS.mucUser)!.getChildren('status');
    assert.deepEqual(
      codes.map(({ attrs }) => attrs.code),
      ['110', '332'],
    );
    const again = await servers.stage(capulet).actor(`juliet@${capulet}/balcony`, { presence: true });
    await again.sends(joining('juliet'));
    await again.receives(`<presence from='${room}/juliet'/>`);
    await again.receives(`<message from='${room}' type='groupchat'><subject/></message>`);
    await client.sends(`<iq to='${room}/romeo' type='get' id='in'><ping xmlns='${NS.ping}'/></iq>`);
    await client.receives(`<iq from='${room}/romeo' type='error' id='in'>${refusal('modify', 'not-acceptable')}</iq>`);
    for (let n = 0; n < 2; n++) await comesIn(client);
    await again.receives(`<presence from='${room}/romeo'/>`);
    assert.deepEqual(await present(servers), {
      juliet: [`juliet@${capulet}/balcony`],
      romeo: [`${romeo}/orchard`],
    });
  },
);
