/**
 * Federation between two servers (RFC 6120 §13, RFC 6121): messages, presence, rooms, archives, and undeliverable
 * stanzas.
 */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import { makeSelfSigned } from '../../src/server/tls/self-signed.js';
import type { Peer } from './dialogue.js';
import { refusal } from './phrases.js';
import { Impostor, lure, play, playAlone, type Servers } from './servers.js';

const [montague, capulet] = ['montague.example', 'capulet.example'];
const both = { [montague]: {}, [capulet]: {} };

const actors = async (servers: Servers) => ({
  romeo: await servers.stage(montague).actor('romeo@montague.example/orchard', { presence: true }),
  juliet: await servers.stage(capulet).actor('juliet@capulet.example/balcony', { presence: true }),
});

play('messages in both directions, in order', both, async (servers) => {
  const { romeo, juliet } = await actors(servers);
  for (let n = 0; n < 50; n++)
    await romeo.sends(`<message to='juliet@capulet.example' type='chat' id='${n}'><body>${n}</body></message>`);
  for (let n = 0; n < 50; n++)
    await juliet.receives(
      `<message from='romeo@montague.example/orchard' to='juliet@capulet.example' type='chat' id='${n}'><body>${n}</body></message>`,
    );
  await juliet.sends(`<message to='romeo@montague.example/orchard' type='chat'><body>Ay me!</body></message>`);
  await romeo.receives(
    `<message from='juliet@capulet.example/balcony' to='romeo@montague.example/orchard' type='chat'><body>Ay me!</body></message>`,
  );
  const metrics = async () => (await servers.stage(montague).server.metrics.text()).text;
  // The last acknowledgement may come after the answer.
  while (!/^waxwing_server_waiting_bytes 0$/m.test(await metrics()))
    await new Promise((resolve) => setImmediate(resolve));
  assert.match(await metrics(), /^waxwing_server_streams\{direction="incoming"\} 0$/m);
  assert.match(await metrics(), /^waxwing_server_streams\{direction="outgoing"\} 1$/m);
});

play('RFC 6121 §3.1: a subscription between servers, and its presence', both, async (servers) => {
  const { romeo, juliet } = await actors(servers);
  await romeo.sends(`<iq type='get' id='r'><query xmlns='${NS.roster}'/></iq>`);
  await romeo.receives(`<iq type='result' id='r'><query xmlns='${NS.roster}'/></iq>`);
  await romeo.sends(`<presence to='juliet@capulet.example' type='subscribe'/>`);
  await romeo.receives(
    `<iq type='set'><query xmlns='${NS.roster}'><item jid='juliet@capulet.example' subscription='none' ask='subscribe'/></query></iq>`,
  );
  await juliet.receives(`<presence from='romeo@montague.example' type='subscribe'/>`);
  await juliet.sends(`<presence to='romeo@montague.example' type='subscribed'/>`);
  await romeo.receivesAnyOrder([
    `<presence from='juliet@capulet.example' type='subscribed'/>`,
    `<iq type='set'><query xmlns='${NS.roster}'><item jid='juliet@capulet.example' subscription='to'/></query></iq>`,
    `<presence from='juliet@capulet.example/balcony'/>`,
  ]);
  await juliet.sends(`<presence><show>away</show></presence>`);
  await romeo.receives(`<presence from='juliet@capulet.example/balcony'><show>away</show></presence>`);
  await juliet.sends(`<presence type='unavailable'/>`);
  await romeo.receives(`<presence from='juliet@capulet.example/balcony' type='unavailable'/>`);
});

/** A room that is open to others, with the one who creates it. */
async function opens(peer: Peer, room: string): Promise<void> {
  await peer.sends(`<presence to='${room}/owner'><x xmlns='${NS.muc}'/></presence>`);
  await peer.receives(`<presence from='${room}/owner'/>`);
  await peer.receives(`<message from='${room}' type='groupchat'><subject/></message>`);
  await peer.sends(
    `<iq type='set' id='open' to='${room}'><query xmlns='${NS.mucOwner}'><x xmlns='${NS.dataForms}' type='submit'/></query></iq>`,
  );
  await peer.receives(`<iq type='result' id='open'/>`);
}

play('XEP-0045: an occupant from another server', both, async (servers) => {
  const { romeo, juliet } = await actors(servers);
  const room = 'garden@conference.capulet.example';
  await opens(juliet, room);
  await romeo.sends(`<presence to='${room}/romeo'><x xmlns='${NS.muc}'/></presence>`);
  await romeo.receives(`<presence from='${room}/owner' to='romeo@montague.example/orchard'/>`);
  await romeo.receives(`<presence from='${room}/romeo'/>`);
  await romeo.receives(`<message from='${room}' type='groupchat'><subject/></message>`);
  await juliet.receives(`<presence from='${room}/romeo'/>`);
  await romeo.sends(`<message to='${room}' type='groupchat' id='1'><body>But soft!</body></message>`);
  await romeo.receives(`<message from='${room}/romeo' type='groupchat' id='1'><body>But soft!</body></message>`);
  await juliet.receives(`<message from='${room}/romeo' type='groupchat' id='1'><body>But soft!</body></message>`);
});

play(
  'a server that is denied: its users are offline, and gone from rooms, until it is allowed',
  both,
  async (servers) => {
    const { romeo, juliet } = await actors(servers);
    const [hers, his] = ['garden@conference.capulet.example', 'street@conference.montague.example'];
    await juliet.sends(`<presence to='romeo@montague.example' type='subscribe'/>`);
    await romeo.receives(`<presence from='juliet@capulet.example' type='subscribe'/>`);
    await romeo.sends(`<presence to='juliet@capulet.example' type='subscribed'/>`);
    await juliet.receives(`<presence from='romeo@montague.example/orchard'/>`);
    for (const [owner, guest, room] of [
      [juliet, romeo, hers],
      [romeo, juliet, his],
    ] as const) {
      await opens(owner, room);
      await guest.sends(`<presence to='${room}/guest'><x xmlns='${NS.muc}'/></presence>`);
      await guest.receives(`<presence from='${room}/owner'/>`);
      await guest.receives(`<presence from='${room}/guest'/>`);
      await guest.receives(`<message from='${room}' type='groupchat'><subject/></message>`);
      await owner.receives(`<presence from='${room}/guest'/>`);
    }
    await servers.changes(capulet, { s2s: { domains: { [montague]: { policy: 'deny' } } } });
    await juliet.receivesAnyOrder([
      `<presence from='romeo@montague.example' type='unavailable'/>`,
      `<presence from='${his}/guest' type='unavailable'/>`,
      `<presence from='${hers}/guest' type='unavailable'><x xmlns='${NS.mucUser}'><status code='333'/></x></presence>`,
    ]);
    // Once, although the configuration is loaded again.
    await servers.changes(capulet, {});
    await juliet.sends(`<message to='${hers}' type='groupchat' id='1'><body>alone</body></message>`);
    await juliet.receives(`<message from='${hers}/owner' type='groupchat' id='1'/>`);
    await servers.changes(capulet, { s2s: { domains: {} } });
    await juliet.receives(`<presence from='romeo@montague.example/orchard'/>`);
  },
);

play('XEP-0313: a message is in both archives', both, async (servers) => {
  const { romeo, juliet } = await actors(servers);
  await romeo.sends(`<message to='juliet@capulet.example' type='chat' id='1'><body>archived</body></message>`);
  await juliet.receives(`<message type='chat' id='1'><body>archived</body></message>`);
  for (const peer of [romeo, juliet]) {
    await peer.sends(`<iq type='set' id='q'><query xmlns='${NS.mam}' queryid='q'/></iq>`);
    await peer.receives(
      `<message><result xmlns='${NS.mam}' queryid='q'><forwarded xmlns='${NS.forward}'><message xmlns='jabber:client' id='1' type='chat'><body>archived</body></message></forwarded></result></message>`,
    );
    await peer.receives(`<iq type='result' id='q'/>`);
  }
});

play('RFC 6120 §8.2: requests and answers between servers', both, async (servers) => {
  const { romeo } = await actors(servers);
  await romeo.sends(`<iq type='get' id='1' to='capulet.example'><ping xmlns='${NS.ping}'/></iq>`);
  await romeo.receives(`<iq type='result' id='1' from='capulet.example'/>`);
  await romeo.sends(`<iq type='get' id='2' to='nobody@capulet.example'><ping xmlns='${NS.ping}'/></iq>`);
  await romeo.receives(
    `<iq type='error' id='2' from='nobody@capulet.example'>${refusal('cancel', 'service-unavailable')}</iq>`,
  );
});

play('XEP-0368: a server with only direct TLS', both, async (servers) => {
  const { romeo, juliet } = await actors(servers);
  servers.dns.zone = { addresses: {}, srv: {} };
  servers.leads(capulet, servers.stage(capulet).port('s2s_tls'), true);
  await romeo.sends(`<message to='juliet@capulet.example' type='chat' id='1'><body>direct</body></message>`);
  await juliet.receives(`<message type='chat' id='1'><body>direct</body></message>`);
});

const refused = (id: string, type: string, condition: string, from = 'juliet@capulet.example') =>
  `<message type='error' id='${id}' from='${from}'>${refusal(type, condition)}</message>`;

play('RFC 6120 §8.3.3.16: a missing domain, and one without a server', both, async (servers) => {
  const { romeo } = await actors(servers);
  await romeo.sends(`<message to='friar@mantua.example' type='chat' id='1'><body>?</body></message>`);
  await romeo.receives(refused('1', 'cancel', 'remote-server-not-found', 'friar@mantua.example'));
  // While the pair rests it is not tried again.
  const asked = servers.dns.asked.length;
  await romeo.sends(`<message to='friar@mantua.example' type='chat' id='2'><body>?</body></message>`);
  await romeo.receives(refused('2', 'cancel', 'remote-server-not-found', 'friar@mantua.example'));
  assert.equal(servers.dns.asked.length, asked);
  servers.leads('padua.example', servers.stage(capulet).port('s2s'));
  await romeo.sends(`<message to='friar@padua.example' type='chat' id='3'><body>?</body></message>`);
  await romeo.receives(refused('3', 'cancel', 'remote-server-not-found', 'friar@padua.example'));
});

const inside = { [montague]: { s2s: { allow_networks: [] } }, [capulet]: {} };
play('a private address is not connected to', inside, async (servers) => {
  const { romeo } = await actors(servers);
  await romeo.sends(`<message to='juliet@capulet.example' type='chat' id='1'><body>?</body></message>`);
  await romeo.receives(refused('1', 'cancel', 'remote-server-not-found'));
});

play('a stream is opened again after the server was gone', both, async (servers) => {
  const { romeo, juliet } = await actors(servers);
  await romeo.sends(`<message to='juliet@capulet.example' type='chat' id='1'><body>before</body></message>`);
  await juliet.receives(`<message id='1' type='chat'><body>before</body></message>`);
  await servers.stage(capulet).restart();
  servers.leads(capulet, servers.stage(capulet).port('s2s'));
  const again = await servers.stage(capulet).actor('juliet@capulet.example/balcony', { presence: true });
  await romeo.sends(`<message to='juliet@capulet.example' type='chat' id='2'><body>after</body></message>`);
  await again.receives(`<message id='2' type='chat'><body>after</body></message>`);
});

play(
  'a server that connects to us is connected to at once, although it was unreachable before',
  both,
  async (servers) => {
    const { romeo, juliet } = await actors(servers);
    servers.dns.zone = { ...servers.dns.zone, srv: {} };
    await romeo.sends(`<message to='juliet@capulet.example' type='chat' id='1'><body>?</body></message>`);
    await romeo.receives(refused('1', 'cancel', 'remote-server-not-found'));
    servers.leads(capulet, servers.stage(capulet).port('s2s'));
    servers.leads(montague, servers.stage(montague).port('s2s'));
    // Its back-off lasts for two seconds or more.
    await romeo.sends(`<message to='juliet@capulet.example' type='chat' id='2'><body>?</body></message>`);
    await romeo.receives(refused('2', 'cancel', 'remote-server-not-found'));
    await juliet.sends(`<message to='romeo@montague.example' type='chat' id='3'><body>here</body></message>`);
    await romeo.receives(`<message type='chat' id='3'><body>here</body></message>`);
    await romeo.sends(`<message to='juliet@capulet.example' type='chat' id='4'><body>at last</body></message>`);
    await juliet.receives(`<message type='chat' id='4'><body>at last</body></message>`);
  },
);

play('a stanza of the size that clients may send arrives, although servers add to it', both, async (servers) => {
  const { romeo, juliet } = await actors(servers);
  // Some transports add a namespace.
  const around = `<message xmlns='${NS.client}' to='juliet@capulet.example' type='chat' id='1'><body></body></message>`;
  const text = 'x'.repeat(262_144 - around.length);
  await romeo.sends(around.replace('<body>', `<body>${text}`));
  await juliet.receives(`<message type='chat' id='1'><body>${text}</body></message>`);
});

const small = { [montague]: { s2s: { queue_stanzas_per_domain: 10 }, limits: { login_deadline_seconds: 3 } } };
play('the queue for a silent server is limited, and returned', small, async (servers) => {
  const romeo = await servers.stage(montague).actor('romeo@montague.example/orchard', { presence: true });
  const trap = await lure('');
  servers.leads(capulet, trap.port);
  for (let n = 1; n <= 12; n++)
    await romeo.sends(`<message to='juliet@capulet.example' type='chat' id='${n}'><body>?</body></message>`);
  const counts = { 'resource-constraint': 0, 'remote-server-timeout': 0 };
  for (let n = 1; n <= 12; n++) {
    const error = (await romeo.receivesAny()).getChild('error');
    for (const name of ['resource-constraint', 'remote-server-timeout'] as const)
      if (error?.getChild(name, NS.stanzas) !== undefined) counts[name]++;
  }
  // One sender has a part of the queue.
  assert.ok(counts['resource-constraint'] >= 2 && counts['remote-server-timeout'] >= 1);
  assert.equal(counts['resource-constraint'] + counts['remote-server-timeout'], 12);
});

const verona = 'verona.example';
const twoHosts = { [capulet]: { hosts: { [verona]: makeSelfSigned([verona]) } } };
play(
  'RFC 6120 §5.4.3.1: a server that sends no server name in TLS gets the certificate of its header',
  twoHosts,
  async (servers) => {
    for (const domain of [capulet, verona]) {
      const peer = Impostor.connect(servers.stage(capulet).port('s2s'), `from='${montague}' to='${domain}'`);
      await peer.opensWithTls();
      assert.match(peer.peerNames, new RegExp(`DNS:${domain}`));
    }
  },
);

/** What another program at the first places of a domain does instead of TLS with a valid certificate. */
const faults: Readonly<Record<string, (peer: Impostor) => Promise<void>>> = {
  'closes the connection': async (peer) => peer.cut(),
  'does not know the domain': async (peer) => {
    peer.sendsHeader();
    peer.says(`<stream:error><host-unknown xmlns='${NS.streams}'/></stream:error></stream:stream>`);
  },
  'offers no TLS': async (peer) => {
    peer.sendsHeader();
    peer.says('<stream:features/>');
  },
  'refuses TLS': async (peer) => {
    peer.sendsHeader();
    peer.says(`<stream:features><starttls xmlns='${NS.tls}'/></stream:features><failure xmlns='${NS.tls}'/>`);
  },
  'breaks the handshake': async (peer) => {
    await peer.hears();
    peer.sendsHeader();
    peer.says(`<stream:features><starttls xmlns='${NS.tls}'/></stream:features>`);
    peer.cut();
  },
  'has another certificate': (peer) => peer.answers(makeSelfSigned([capulet]), 'some-id'),
};

play('if TLS fails at some places of a domain, the others are tried in their order', both, async (servers) => {
  const { romeo, juliet } = await actors(servers);
  const traps = await Promise.all(Object.keys(faults).map(() => lure(`from='${capulet}' to='${montague}'`)));
  const ports = [...traps.map(({ port }) => port), servers.stage(capulet).port('s2s')];
  const records = ports.map((port, at) => `${at} 0 ${port} here.example`);
  servers.dns.zone = { ...servers.dns.zone, srv: { [`_xmpp-server._tcp.${capulet}`]: records } };
  await romeo.sends(`<message to='juliet@capulet.example' type='chat' id='1'><body>found</body></message>`);
  for (const [at, fault] of Object.values(faults).entries()) await fault(await traps[at]!.next());
  await juliet.receives(`<message type='chat' id='1'><body>found</body></message>`);
  await romeo.receivesNothing();
});

play('a place that accepts connections and says nothing is followed by the next one', both, async (servers) => {
  const { romeo, juliet } = await actors(servers);
  const traps = await Promise.all([1, 2].map(() => lure(`from='${capulet}' to='${montague}'`)));
  const ports = [...traps.map(({ port }) => port), servers.stage(capulet).port('s2s')];
  const records = ports.map((port, at) => `${at} 0 ${port} here.example`);
  servers.dns.zone = { ...servers.dns.zone, srv: { [`_xmpp-server._tcp.${capulet}`]: records } };
  await romeo.sends(`<message to='juliet@capulet.example' type='chat' id='1'><body>found</body></message>`);
  const [mute, halfway] = [await traps[0]!.next(), await traps[1]!.next()];
  halfway.sendsHeader();
  await juliet.receives(`<message type='chat' id='1'><body>found</body></message>`);
  mute.sendsHeader();
  await romeo.receivesNothing();
});

play('if all places fail, stanzas are returned once', both, async (servers) => {
  const { romeo } = await actors(servers);
  const traps = await Promise.all([1, 2].map(() => lure(`from='${capulet}' to='${montague}'`)));
  const records = traps.map(({ port }, at) => `${at} 0 ${port} here.example`);
  servers.dns.zone = { ...servers.dns.zone, srv: { [`_xmpp-server._tcp.${capulet}`]: records } };
  await romeo.sends(`<message to='juliet@capulet.example' type='chat' id='1'><body>?</body></message>`);
  for (const trap of traps) await faults['offers no TLS']!(await trap.next());
  await romeo.receives(refused('1', 'wait', 'remote-server-timeout'));
  await romeo.receivesNothing();
});

const narrow = { [montague]: { s2s: { connecting_streams: 1 } }, [capulet]: {} };
playAlone('streams are opened in turn: one waits while another is being opened', narrow, async (servers) => {
  const { romeo, juliet } = await actors(servers);
  const trap = await lure('');
  servers.leads(verona, trap.port);
  await romeo.sends(`<message to='nurse@verona.example' type='chat' id='1'><body>?</body></message>`);
  const silent = await trap.next();
  await romeo.sends(`<message to='juliet@capulet.example' type='chat' id='2'><body>2</body></message>`);
  // This request is handled after both.
  await romeo.sends(`<iq type='get' id='3' to='montague.example'><ping xmlns='${NS.ping}'/></iq>`);
  await romeo.receives(`<iq type='result' id='3'/>`);
  const delayed = async () => {
    const { text } = await servers.stage(montague).server.metrics.text();
    return /^waxwing_server_streams_delayed\{direction="outgoing"\} (\d+)/m.exec(text)?.[1];
  };
  assert.equal(await delayed(), '1');
  silent.cut();
  await juliet.receives(`<message type='chat' id='2'/>`);
  await romeo.receives(`<message type='error' id='1' from='nurse@verona.example'/>`);
  assert.equal(await delayed(), '0');
});

playAlone('stanzas for which no stream is open yet are returned when the server stops', narrow, async (servers) => {
  const { romeo } = await actors(servers);
  const trap = await lure('');
  servers.leads(verona, trap.port);
  await romeo.sends(`<message to='nurse@verona.example' type='chat' id='1'><body>?</body></message>`);
  await trap.next();
  // It waits for the first.
  await romeo.sends(`<message to='juliet@capulet.example' type='chat' id='2'><body>2</body></message>`);
  await romeo.syncs();
  const stopped = servers.stage(montague).server.stop();
  await romeo.receivesAnyOrder([
    `<message type='error' id='1' from='nurse@verona.example'/>`,
    `<message type='error' id='2' from='juliet@capulet.example'/>`,
  ]);
  await stopped;
});

const brief = { [montague]: { s2s: { idle_seconds: 10, require_valid_certificate: false } } };
play(
  'RFC 6120 §4.6: an idle stream is closed by the server that opened it, and opened again without a pause',
  brief,
  async (servers) => {
    const romeo = await servers.stage(montague).actor('romeo@montague.example/orchard', { presence: true });
    const trap = await lure(`from='${capulet}' to='${montague}'`);
    servers.leads(capulet, trap.port);
    const takes = async (id: string) => {
      await romeo.sends(`<message to='juliet@capulet.example' type='chat' id='${id}'><body>${id}</body></message>`);
      const server = await trap.next();
      await server.answers(makeSelfSigned([capulet]), 'some-id');
      await server.hearsElement('result');
      server.says(`<db:result from='${capulet}' to='${montague}' type='valid'/>`);
      assert.equal((await server.hearsElement('message')).attrs.id, id);
      return server;
    };
    const first = await takes('1');
    assert.equal((await first.hears()).kind, 'close');
    await takes('2');
  },
);
