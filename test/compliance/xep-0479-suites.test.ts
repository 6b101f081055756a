/**
 * XEP-0479: XMPP Compliance Suites 2023: what it asks of servers, in all categories and both levels, with a host and nothing
 * else configured. Each row is seen to work; the file of its specification has the details. Two rows need more by their
 * nature: a component its secret, and the discovery of STUN and TURN servers their addresses.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { NS } from '../../src/server/stanza/ns.js';
import type { Element } from '../../src/server/xml/element.js';
import { appears } from './capabilities.js';
import { withComponents } from './component.js';
import { overTcp, type Peer, type Scene, scenario, type TransportName } from './dialogue.js';
import { ask } from './http-client.js';
import { befriends } from './phrases.js';
import { event, pubsub, result, submitted } from './pubsub.js';

const domain = 'example.org';
/** Only the host; ports of this machine are for the test alone. */
const listen = { s2s: ['127.0.0.1:0'], component: ['127.0.0.1:0'] };
const only = { config: { hosts: { [domain]: {} }, listen } };
const onlyTcp = { ...only, ...overTcp };

const juliet = `juliet@${domain}`;
const romeo = `romeo@${domain}`;
const rooms = `conference.${domain}`;

/** A client as on the open internet: encrypted. */
const enters = (scene: Scene, address: string, transport: TransportName = 'starttls', presence = '<presence/>') =>
  scene.actor(address, { transport, presence });

/** A stream up to the features after the login. */
async function loggedIn(scene: Scene, transport: TransportName): Promise<{ before: Element; after: Element }> {
  await scene.stage.account(juliet);
  const peer = await scene.connect({ transport, host: domain });
  await peer.opens();
  const before = await peer.receivesFeatures();
  return { before, after: await peer.authenticates('juliet') };
}

async function discovers(peer: Peer, to: string): Promise<{ identities: string[]; features: Set<string> }> {
  await peer.sends(`<iq type='get' id='info' to='${to}'><query xmlns='${NS.discoInfo}'/></iq>`);
  const answer = await peer.receives(`<iq type='result' id='info' from='${to}'><query xmlns='${NS.discoInfo}'/></iq>`);
  const query = answer.getChild('query', NS.discoInfo)!;
  return {
    identities: query.getChildren('identity').map(({ attrs: { category, type } }) => `${category}/${type}`),
    features: new Set(query.getChildren('feature').map(({ attrs }) => attrs.var!)),
  };
}

async function offers(peer: Peer, to: string, ...wanted: readonly string[]): Promise<void> {
  const { features } = await discovers(peer, to);
  for (const feature of wanted) assert.ok(features.has(feature), `${to} does not offer ${feature}`);
}

// --- Core -----------------------------------------------------------------------------------------------------------

scenario('Core, server: RFC 6120, RFC 7590: TLS is required, then login and binding', onlyTcp, async (scene) => {
  const plain = await scene.connect({ host: domain, address: '127.0.0.1' });
  await plain.opens();
  assert.ok((await plain.receivesFeatures()).getChild('starttls', NS.tls));
  const { before, after } = await loggedIn(scene, 'starttls');
  const mechanisms = before.getChild('mechanisms', NS.sasl)!.getChildren('mechanism');
  const names = mechanisms.map((one) => one.getText());
  for (const name of ['SCRAM-SHA-1', 'SCRAM-SHA-1-PLUS', 'SCRAM-SHA-256', 'PLAIN'])
    assert.ok(names.includes(name), name);
  assert.ok(after.getChild('bind', NS.bind));
});

scenario('Core, advanced server: XEP-0368: direct TLS for clients', only, async (scene) => {
  const peer = await enters(scene, `${juliet}/balcony`, 'tls');
  assert.equal(peer.tls?.alpnProtocol, 'xmpp-client');
  await peer.receivesNothing();
});

scenario('Core, server: XEP-0030; advanced: XEP-0115 on the server', only, async (scene) => {
  const { after } = await loggedIn(scene, 'starttls');
  const { attrs } = after.getChild('c', NS.caps)!;
  assert.equal(attrs.hash, 'sha-1');
  const peer = await enters(scene, `${romeo}/orchard`);
  assert.ok((await discovers(peer, domain)).identities.includes('server/im'));
  // §5.4: what the hash stands for.
  await peer.sends(
    `<iq type='get' id='c' to='${domain}'><query xmlns='${NS.discoInfo}' node='${attrs.node}#${attrs.ver}'/></iq>`,
  );
  await peer.receives(
    `<iq type='result' id='c'><query xmlns='${NS.discoInfo}' node='${attrs.node}#${attrs.ver}'>
      <feature var='${NS.discoInfo}'/></query></iq>`,
  );
});

withComponents(
  'Core, server: XEP-0114: a component with its secret',
  { [`gateway.${domain}`]: {} },
  async (scene) => {
    const gateway = await scene.component(`gateway.${domain}`).logsIn();
    const peer = await enters(scene, `${juliet}/balcony`);
    gateway.says(`<message from='x@gateway.${domain}' to='${juliet}' type='chat'><body>hello</body></message>`);
    await peer.receives(`<message from='x@gateway.${domain}' type='chat'><body>hello</body></message>`);
  },
  only,
);

scenario('Core, advanced server: XEP-0163: events reach contacts who want them', only, async (scene) => {
  const one = await enters(scene, `${juliet}/balcony`);
  const other = await enters(scene, `${romeo}/orchard`);
  await befriends(one, other);
  await appears(other, `${NS.bookmarks}+notify`, 'urn:example:mood+notify');
  one.forgets();
  const { identities, features } = await discovers(one, juliet);
  assert.ok(identities.includes('pubsub/pep'));
  for (const feature of ['publish', 'auto-create', 'publish-options', 'persistent-items', 'access-presence'])
    assert.ok(features.has(`${NS.pubsub}#${feature}`), feature);
  await one.sends(
    pubsub('set', `<publish node='urn:example:mood'><item id='1'><mood xmlns='urn:example:mood'/></item></publish>`),
  );
  await one.receives(result());
  await other.receives(event(juliet, other.jid, `<items node='urn:example:mood'><item id='1'/></items>`));
});

// --- Web ------------------------------------------------------------------------------------------------------------

for (const transport of ['wss', 'bosh'] as const)
  scenario(`Web, server: RFC 7395, XEP-0206: login over ${transport}`, only, async (scene) => {
    const peer = await enters(scene, `${juliet}/balcony`, transport);
    await peer.sends(`<iq type='get' id='r'><query xmlns='${NS.roster}'/></iq>`);
    await peer.receives(`<iq type='result' id='r'><query xmlns='${NS.roster}'/></iq>`);
  });

scenario('Web: XEP-0156: both are found by pages of any origin', only, async (scene) => {
  for (const path of ['host-meta', 'host-meta.json']) {
    const answer = await ask(scene, 'https', `/.well-known/${path}`, {
      host: domain,
      headers: { origin: 'https://chat.example' },
    });
    assert.equal(answer.status, 200);
    assert.equal(answer.headers['access-control-allow-origin'], '*');
    const port = scene.stage.port('https');
    for (const url of [`wss://${domain}:${port}/xmpp-websocket`, `https://${domain}:${port}/http-bind`])
      assert.ok(answer.text.includes(url), url);
  }
});

// --- IM -------------------------------------------------------------------------------------------------------------

scenario('IM, server: RFC 6121: roster, presence and messages', only, async (scene) => {
  const one = await enters(scene, `${juliet}/balcony`);
  const other = await enters(scene, `${romeo}/orchard`);
  await befriends(one, other);
  await one.sends(`<iq type='get' id='r'><query xmlns='${NS.roster}'/></iq>`);
  await one.receives(
    `<iq type='result' id='r'><query xmlns='${NS.roster}'><item jid='${romeo}' subscription='both'/></query></iq>`,
  );
  await one.sends('<presence><show>away</show></presence>');
  await one.receives(`<presence from='${one.jid}'><show>away</show></presence>`);
  await other.receives(`<presence from='${one.jid}'><show>away</show></presence>`);
  await one.sends(`<message to='${romeo}' type='chat'><body>art thou there</body></message>`);
  await other.receives(`<message from='${one.jid}' type='chat'><body>art thou there</body></message>`);
});

scenario('IM, server: XEP-0054; advanced: XEP-0398, XEP-0153: an avatar is also in the vCard', only, async (scene) => {
  const one = await enters(scene, `${juliet}/balcony`);
  await offers(one, domain, NS.vcardTemp);
  await offers(one, juliet, NS.avatarConversion);
  const png = Buffer.from('\x89PNG\r\n\x1a\n and more', 'latin1');
  const id = createHash('sha1').update(png).digest('hex');
  const data = `<data xmlns='${NS.avatarData}'>${png.toString('base64')}</data>`;
  const info = `<metadata xmlns='${NS.avatarMetadata}'><info id='${id}' bytes='${png.length}' type='image/png'/></metadata>`;
  await one.sends(pubsub('set', `<publish node='${NS.avatarData}'><item id='${id}'>${data}</item></publish>`));
  await one.receives(result());
  await one.sends(pubsub('set', `<publish node='${NS.avatarMetadata}'><item id='${id}'>${info}</item></publish>`));
  await one.syncs();
  one.forgets();
  await one.sends(`<iq type='get' id='v'><vCard xmlns='${NS.vcardTemp}'/></iq>`);
  await one.receives(
    `<iq type='result' id='v'><vCard xmlns='${NS.vcardTemp}'>
      <PHOTO><TYPE>image/png</TYPE><BINVAL>${png.toString('base64')}</BINVAL></PHOTO></vCard></iq>`,
  );
  // XEP-0153 §4.1: its hash is in the presence.
  await one.sends('<presence/>');
  await one.receives(`<presence><x xmlns='${NS.vcardUpdate}'><photo>${id}</photo></x></presence>`);
});

scenario('IM, server: XEP-0280: a second client gets what the first one sends', only, async (scene) => {
  const one = await enters(scene, `${juliet}/balcony`);
  const second = await enters(scene, `${juliet}/chamber`);
  await offers(second, domain, NS.carbons);
  await second.sends(`<iq type='set' id='c'><enable xmlns='${NS.carbons}'/></iq>`);
  await second.receives(`<iq type='result' id='c'/>`);
  await scene.stage.account(romeo);
  await one.sends(`<message to='${romeo}' type='chat'><body>carbon</body></message>`);
  await second.receives(
    `<message from='${juliet}' type='chat'><sent xmlns='${NS.carbons}'><forwarded xmlns='${NS.forward}'>
      <message xmlns='${NS.client}' to='${romeo}' type='chat'><body>carbon</body></message></forwarded></sent></message>`,
  );
});

scenario('IM, advanced server: XEP-0191: a blocked user is not heard', only, async (scene) => {
  const one = await enters(scene, `${juliet}/balcony`);
  const other = await enters(scene, `${romeo}/orchard`);
  await offers(one, domain, NS.blocking);
  await one.sends(`<iq type='set' id='b'><block xmlns='${NS.blocking}'><item jid='${romeo}'/></block></iq>`);
  await one.syncs();
  one.forgets();
  await other.sends(`<message to='${juliet}' type='chat'><body>hark</body></message>`);
  await other.receives(`<message type='error' from='${juliet}'><error type='cancel'/></message>`);
  await one.receivesNothing();
});

scenario('IM, server: XEP-0045, XEP-0249; advanced: XEP-0313 of the room, XEP-0410: a room', only, async (scene) => {
  const one = await enters(scene, `${juliet}/balcony`);
  const other = await enters(scene, `${romeo}/orchard`);
  await one.sends(`<iq type='get' id='i' to='${domain}'><query xmlns='${NS.discoItems}'/></iq>`);
  await one.receives(`<iq type='result' id='i'><query xmlns='${NS.discoItems}'><item jid='${rooms}'/></query></iq>`);
  assert.ok((await discovers(one, rooms)).identities.includes('conference/text'));
  const room = `ball@${rooms}`;
  await one.sends(`<presence to='${room}/J'><x xmlns='${NS.muc}'/></presence>`);
  await one.syncs();
  await one.sends(
    `<iq type='set' id='o' to='${room}'><query xmlns='${NS.mucOwner}'><x xmlns='jabber:x:data' type='submit'/></query></iq>`,
  );
  await one.syncs();
  one.forgets();
  await one.sends(`<message to='${romeo}'><x xmlns='${NS.conference}' jid='${room}'/></message>`);
  await other.receives(`<message from='${one.jid}'><x xmlns='${NS.conference}' jid='${room}'/></message>`);
  await other.sends(`<presence to='${room}/R'><x xmlns='${NS.muc}'/></presence>`);
  await other.syncs();
  one.forgets();
  other.forgets();
  await other.sends(`<message to='${room}' type='groupchat'><body>will she dance</body></message>`);
  for (const peer of [one, other])
    await peer.receives(`<message from='${room}/R' type='groupchat'><body>will she dance</body></message>`);
  await offers(one, room, NS.mam, NS.selfPing);
  await one.sends(`<iq type='set' id='m' to='${room}'><query xmlns='${NS.mam}' queryid='q'/></iq>`);
  await one.receives(
    `<message from='${room}'><result xmlns='${NS.mam}' queryid='q' id='*'><forwarded xmlns='${NS.forward}'>
        <message xmlns='${NS.client}' from='${room}/R' type='groupchat'><body>will she dance</body></message></forwarded></result></message>`,
  );
  await one.receives(`<iq type='result' id='m' from='${room}'><fin xmlns='${NS.mam}' complete='true'/></iq>`);
  // XEP-0410 §3: the room answers for itself whether one is still in it.
  await other.sends(`<iq type='get' id='s' to='${room}/R'><ping xmlns='${NS.ping}'/></iq>`);
  await other.receives(`<iq type='result' id='s' from='${room}/R'/>`);
});

scenario('IM, advanced server: XEP-0402, XEP-0048, XEP-0049: one list of bookmarks', only, async (scene) => {
  const one = await enters(scene, `${juliet}/balcony`);
  await offers(one, juliet, NS.bookmarksCompat);
  const options = submitted('publish-options', {
    persist_items: 'true',
    max_items: 'max',
    send_last_published_item: 'never',
    access_model: 'whitelist',
  });
  await one.sends(
    pubsub(
      'set',
      `<publish node='${NS.bookmarks}'><item id='ball@${rooms}'>
        <conference xmlns='${NS.bookmarks}' name='The Ball' autojoin='true'/></item></publish>
      <publish-options>${options}</publish-options>`,
    ),
  );
  await one.receives(result());
  await one.sends(
    `<iq type='get' id='x'><query xmlns='${NS.private}'><storage xmlns='${NS.bookmarksPrivate}'/></query></iq>`,
  );
  await one.receives(
    `<iq type='result' id='x'><query xmlns='${NS.private}'><storage xmlns='${NS.bookmarksPrivate}'>
      <conference jid='ball@${rooms}' name='The Ball'/></storage></query></iq>`,
  );
});

scenario('IM, advanced server: XEP-0223, XEP-0049: data that nobody else reads', only, async (scene) => {
  const one = await enters(scene, `${juliet}/balcony`);
  const other = await enters(scene, `${romeo}/orchard`);
  await befriends(one, other);
  const options = submitted('publish-options', { persist_items: 'true', access_model: 'whitelist' });
  await one.sends(
    pubsub(
      'set',
      `<publish node='urn:example:diary'><item id='current'><page xmlns='urn:example:diary'/></item></publish>
      <publish-options>${options}</publish-options>`,
    ),
  );
  await one.receives(result());
  await other.sends(pubsub('get', `<items node='urn:example:diary'/>`, juliet));
  await other.receives(`<iq type='error' id='p' from='${juliet}'><error/></iq>`);
  await one.sends(`<iq type='set' id='x'><query xmlns='${NS.private}'><page xmlns='urn:example:diary'/></query></iq>`);
  await one.receives(`<iq type='result' id='x'/>`);
  await one.sends(`<iq type='get' id='y'><query xmlns='${NS.private}'><page xmlns='urn:example:diary'/></query></iq>`);
  await one.receives(
    `<iq type='result' id='y'><query xmlns='${NS.private}'><page xmlns='urn:example:diary'/></query></iq>`,
  );
});

scenario('IM, advanced server: XEP-0313: what was said while one was away', only, async (scene) => {
  const other = await enters(scene, `${romeo}/orchard`);
  await scene.stage.account(juliet);
  await other.sends(`<message to='${juliet}' type='chat'><body>for later</body></message>`);
  await other.syncs();
  const one = await scene.actor(`${juliet}/balcony`, { transport: 'starttls' });
  await offers(one, juliet, NS.mam, NS.mamExtended);
  await one.sends(`<iq type='set' id='m'><query xmlns='${NS.mam}' queryid='q'/></iq>`);
  await one.receives(
    `<message from='${juliet}'><result xmlns='${NS.mam}' queryid='q' id='*'><forwarded xmlns='${NS.forward}'>
      <delay xmlns='${NS.delay}' stamp='*'/>
      <message xmlns='${NS.client}' from='${other.jid}' type='chat'><body>for later</body></message></forwarded></result></message>`,
  );
  await one.receives(`<iq type='result' id='m'><fin xmlns='${NS.mam}' complete='true'/></iq>`);
});

scenario('IM, server: XEP-0363: a file by the address in its slot', only, async (scene) => {
  const one = await enters(scene, `${juliet}/balcony`);
  const service = `upload.${domain}`;
  await one.sends(`<iq type='get' id='i' to='${domain}'><query xmlns='${NS.discoItems}'/></iq>`);
  await one.receives(`<iq type='result' id='i'><query xmlns='${NS.discoItems}'><item jid='${service}'/></query></iq>`);
  await offers(one, service, NS.upload);
  await one.sends(
    `<iq type='get' id='u' to='${service}'><request xmlns='${NS.upload}' filename='a.txt' size='5'/></iq>`,
  );
  const slot = (
    await one.receives(`<iq type='result' id='u' from='${service}'><slot xmlns='${NS.upload}'/></iq>`)
  ).getChild('slot', NS.upload)!;
  const url = (name: string) => new URL(slot.getChild(name)!.attrs.url!);
  for (const { protocol, host } of [url('put'), url('get')])
    assert.deepEqual([protocol, host], ['https:', `${domain}:${scene.stage.port('https')}`]);
  const put = url('put');
  const stored = await ask(scene, 'https', put.pathname + put.search, {
    method: 'PUT',
    host: domain,
    headers: { 'content-length': 5 },
    body: 'hello',
  });
  assert.equal(stored.status, 201);
  assert.equal((await ask(scene, 'https', url('get').pathname, { host: domain })).text, 'hello');
});

// --- Mobile ---------------------------------------------------------------------------------------------------------

scenario('Mobile, server: XEP-0198, XEP-0352: a phone changes its network and sleeps', only, async (scene) => {
  const { after } = await loggedIn(scene, 'starttls');
  for (const [name, ns] of [
    ['sm', NS.sm],
    ['csi', NS.csi],
  ] as const)
    assert.ok(after.getChild(name, ns), name);
  const one = await scene.actor(`${juliet}/phone`, { transport: 'starttls' });
  const { attrs } = await one.managesStream();
  const other = await enters(scene, `${romeo}/orchard`);
  await one.sends(`<presence/><inactive xmlns='${NS.csi}'/>`);
  await one.syncs();
  one.forgets();
  const { handled } = one;
  one.cut();
  await other.sends(`<message to='${juliet}' type='chat'><body>wake up</body></message>`);
  await other.syncs();
  const again = await scene.known(juliet, { transport: 'starttls' });
  await again.sends(`<resume xmlns='${NS.sm}' previd='${attrs.id}' h='${handled}'/>`);
  await again.receives(`<resumed xmlns='${NS.sm}' previd='${attrs.id}'/>`);
  await again.receives(`<message from='${other.jid}' type='chat'><body>wake up</body></message>`);
});

withComponents(
  'Mobile, advanced server: XEP-0357: a phone that is not connected is woken through the service of its app',
  { [`push.${domain}`]: {} },
  async (scene) => {
    const service = await scene.component(`push.${domain}`).logsIn();
    const one = await enters(scene, `${juliet}/phone`);
    await offers(one, juliet, NS.push);
    await one.sends(`<iq type='set' id='e'><enable xmlns='${NS.push}' jid='push.${domain}' node='token'/></iq>`);
    await one.receives(`<iq type='result' id='e'/>`);
    await one.closes();
    await one.isClosed();
    const other = await enters(scene, `${romeo}/orchard`);
    await other.sends(`<message to='${juliet}' type='chat'><body>wake up</body></message>`);
    await service.receives(
      `<iq type='set' id='{push}' from='${domain}'><pubsub xmlns='${NS.pubsub}'><publish node='token'><item>
        <notification xmlns='${NS.push}'/></item></publish></pubsub></iq>`,
    );
    service.sends(`<iq type='result' id='{push}' from='push.${domain}' to='${domain}'/>`);
  },
  only,
);

// --- A/V Calling ----------------------------------------------------------------------------------------------------

scenario(
  'A/V Calling, server: XEP-0215: STUN and TURN servers, once one is named',
  {
    config: {
      ...only.config,
      modules: { external_services: { uris: [`turn:turn.${domain}`], secret: 'the north' } },
    },
  },
  async (scene) => {
    const one = await enters(scene, `${juliet}/balcony`);
    await offers(one, domain, NS.externalServices);
    await one.sends(`<iq type='get' id='s' to='${domain}'><services xmlns='${NS.externalServices}'/></iq>`);
    await one.receives(
      `<iq type='result' id='s'><services xmlns='${NS.externalServices}'>
        <service type='turn' host='turn.${domain}' port='3478' username='*' password='*' restricted='true'/></services></iq>`,
    );
  },
);
