/** Other servers as the administrator sees them: when there is federation, what its streams do, and why one fails. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { after, test } from 'node:test';
import { NS } from '../../src/server/stanza/ns.js';
import type { Pause, ServerStream } from '../../src/server/stream/s2s/inspection.js';
import { DnsServer } from '../dns-server.js';
import { adminOf } from './admin.js';
import { Stage } from './dialogue.js';
import { refusal } from './phrases.js';
import { Impostor, lure, playAlone as play, type Servers } from './servers.js';

const nobody = 'friar@mantua.example';

/** A server of these hosts, and the DNS server that it asks. */
async function serverOf(hosts: readonly string[], s2s: Readonly<Record<string, unknown>>, port = 0) {
  const dns = await DnsServer.open({});
  after(() => dns.close());
  const stage = await Stage.open({
    nodes: 1,
    config: {
      hosts: Object.fromEntries(hosts.map((host) => [host, {}])),
      listen: { s2s: [`127.0.0.1:${port}`], s2s_tls: ['127.0.0.1:0'] },
      s2s: { dns_servers: [dns.address], ...s2s },
    },
  });
  after(() => stage.close());
  const kinds = stage.server.listening.map(({ kind }) => kind).filter((kind) => kind.startsWith('s2s'));
  return { dns, stage, kinds };
}

async function hearsNotFound(stage: Stage, jid: string): Promise<void> {
  const actor = await stage.actor(jid);
  await actor.sends(`<message to='${nobody}' id='1'><body>?</body></message>`);
  await actor.receives(
    `<message type='error' id='1' from='${nobody}'>${refusal('cancel', 'remote-server-not-found')}</message>`,
  );
}

test('by default a server with only private names neither accepts nor opens streams of other servers', async () => {
  const { dns, stage, kinds } = await serverOf(['localhost', 'verona.test'], {});
  assert.deepEqual(kinds, []);
  assert.match(String(stage.server.federation), /no host is a public domain/);
  await hearsNotFound(stage, 'romeo@localhost/orchard');
  assert.deepEqual(dns.asked, []);
});

test('by default a server with a public domain federates', async () => {
  const { dns, stage, kinds } = await serverOf(['localhost', 'verona.it'], {});
  assert.deepEqual(kinds, ['s2s', 's2s_tls']);
  assert.notEqual(typeof stage.server.federation, 'string');
  await hearsNotFound(stage, 'romeo@verona.it/orchard');
  assert.ok(dns.asked.includes('SRV _xmpp-server._tcp.mantua.example'));
});

test('s2s.enabled turns federation on and off for all domains', async () => {
  const on = await serverOf(['localhost'], { enabled: true });
  assert.deepEqual(on.kinds, ['s2s', 's2s_tls']);
  const off = await serverOf(['verona.it'], { enabled: false });
  assert.deepEqual(off.kinds, []);
  assert.match(String(off.stage.server.federation), /s2s\.enabled = false/);
  await hearsNotFound(off.stage, 'romeo@verona.it/orchard');
  assert.deepEqual(off.dns.asked, []);
});

test('by default the server starts without federation if its port is in use', async () => {
  const other = createServer().listen(0, '127.0.0.1');
  await once(other, 'listening');
  after(() => other.close());
  const { port } = other.address() as AddressInfo;
  const { dns, stage, kinds } = await serverOf(['verona.it'], {}, port);
  assert.deepEqual(kinds, []);
  assert.match(String(stage.server.federation), /^listen\.s2s: 127\.0\.0\.1:\d+: another program already uses it/);
  const [error, ...further] = stage.takeErrors();
  assert.match(error!, /a port for other servers cannot be opened/);
  assert.deepEqual(further, []);
  await hearsNotFound(stage, 'romeo@verona.it/orchard');
  assert.deepEqual(dns.asked, []);
  // Asked for by name, federation is not left out.
  await assert.rejects(serverOf(['verona.it'], { enabled: true }, port), { name: 'ListenError' });
});

const [montague, capulet] = ['montague.example', 'capulet.example'];
/** Each direction has a stream of its own. */
const oneWay = { s2s: { bidirectional: false } };
const both = { [montague]: oneWay, [capulet]: oneWay };

interface Listed {
  readonly streams: readonly ServerStream[];
  readonly total: number;
  readonly pages: number;
}

async function greet(servers: Servers) {
  const romeo = await servers.stage(montague).actor('romeo@montague.example/orchard', { presence: true });
  const juliet = await servers.stage(capulet).actor('juliet@capulet.example/balcony', { presence: true });
  await romeo.sends(`<message to='juliet@capulet.example' type='chat' id='1'><body>one</body></message>`);
  await romeo.sends(`<message to='juliet@capulet.example' type='chat' id='2'><body>two</body></message>`);
  await juliet.receives(`<message type='chat' id='1'><body>one</body></message>`);
  await juliet.receives(`<message type='chat' id='2'><body>two</body></message>`);
  return { romeo, juliet };
}

play('s2s list and show: both ends of a stream', both, async (servers) => {
  await greet(servers);
  const [here, there] = [await adminOf(servers.stage(montague)), await adminOf(servers.stage(capulet))];
  const pairs = [{ local: montague, remote: capulet }];
  let listed = await here.ask<Listed>('s2s list');
  // Answers to requests of the server may be on their way.
  while (listed.streams.some(({ queued }) => queued > 0)) listed = await here.ask<Listed>('s2s list');
  const { streams, total } = listed;
  assert.equal(total, streams.length);
  const out = streams.find(({ direction }) => direction === 'out')!;
  assert.deepEqual([out.state, out.pairs, out.received, out.queued, out.address], ['open', pairs, 0, 0, '127.0.0.1']);
  assert.ok(out.authentication === 'EXTERNAL' || out.authentication === 'dialback');
  assert.match(out.tls!.protocol, /^TLSv1\.[23]$/);
  assert.match(out.since, /^\d{4}-\d\d-\d\dT.*Z$/);
  const incoming = (await there.ask<Listed>('s2s list')).streams.filter(({ direction }) => direction === 'in');
  const open = incoming.find(({ pairs }) => pairs.length > 0)!;
  assert.deepEqual([open.pairs, open.sent], [[{ local: capulet, remote: montague }], 0]);
  // Besides the messages there may be answers to requests of the server.
  assert.ok(out.sent >= 2 && open.received >= 2, `${out.sent} ${open.received}`);
  assert.equal(open.authentication, out.authentication);

  assert.match(
    await here.read('s2s list'),
    /^capulet\.example +<- +montague\.example +open +TLSv1\.\d +\w+ +\S+ \S+ UTC +0 +\d+ +\d+$/m,
  );
  assert.match(await there.read('s2s list'), /^montague\.example +-> +capulet\.example +open .* \d+ +0 +0$/m);
  const shown = await here.read('s2s show', { domain: 'Capulet.Example' });
  assert.match(shown, /^Domain +capulet\.example$/m);
  assert.match(shown, /^Stream to it +open$/m);
  assert.match(shown, /^Sent +\d+ stanzas$/m);
});

play('s2s list and show: a stream for both directions', { [montague]: {}, [capulet]: {} }, async (servers) => {
  const { romeo, juliet } = await greet(servers);
  await juliet.sends(`<message to='romeo@montague.example' type='chat' id='3'><body>three</body></message>`);
  await romeo.receives(`<message type='chat' id='3'><body>three</body></message>`);
  const there = await adminOf(servers.stage(capulet));
  const { streams } = await there.ask<Listed>('s2s list');
  const [carrier] = streams.filter(({ bidirectional }) => bidirectional);
  assert.ok(carrier?.direction === 'in' && carrier.sent >= 1 && carrier.received >= 2);
  assert.match(await there.read('s2s show', { domain: montague }), /^Directions +both$/m);
  const here = await adminOf(servers.stage(montague));
  const out = (await here.ask<Listed>('s2s list')).streams.find(({ direction }) => direction === 'out');
  assert.ok(out?.bidirectional === true && out.received >= 1);
});

play('s2s list: pages, and the streams of one domain', both, async (servers) => {
  const { romeo, juliet } = await greet(servers);
  await juliet.sends(`<message to='romeo@montague.example' type='chat' id='3'><body>three</body></message>`);
  await romeo.receives(`<message type='chat' id='3'><body>three</body></message>`);
  await romeo.sends(`<presence to='hall@conference.capulet.example/romeo'><x xmlns='${NS.muc}'/></presence>`);
  await romeo.receivesAny();
  const admin = await adminOf(servers.stage(montague));
  const { total } = await admin.ask<Listed>('s2s list');
  assert.ok(total >= 3);
  const seen: string[] = [];
  for (let page = 1; page <= total; page++) {
    const { streams, pages } = await admin.ask<Listed>('s2s list', { limit: 1, page });
    assert.deepEqual([streams.length, pages], [1, total]);
    seen.push(`${streams[0]!.direction} ${streams[0]!.pairs[0]?.remote} ${streams[0]!.since}`);
  }
  assert.equal(new Set(seen).size, total);
  assert.match(
    await admin.read('s2s list', { limit: 1 }),
    new RegExp(`^Page 1 of ${total}; ${total} streams\\.$`, 'm'),
  );
  assert.match(await admin.read('s2s list', { limit: 1, page: 99 }), /There is no page 99/);
  // A domain has the streams of its services as well, and no others that end alike.
  assert.equal((await admin.ask<Listed>('s2s list', { domain: capulet })).total, total);
  const rooms = await admin.ask<Listed>('s2s list', { domain: `conference.${capulet}` });
  assert.ok(rooms.total >= 1 && rooms.total < total);
  assert.equal((await admin.ask<Listed>('s2s list', { domain: 'let.example' })).total, 0);
  await assert.rejects(admin.ask('s2s list', { domain: 'juliet@capulet.example' }), /is not a domain/);
  await assert.rejects(admin.ask('s2s list', { limit: 0 }), /above 0/);
});

play('s2s kick: streams of both directions close, and the next stanza opens a new one', both, async (servers) => {
  const { romeo, juliet } = await greet(servers);
  await juliet.sends(`<message to='romeo@montague.example' type='chat' id='3'><body>three</body></message>`);
  await romeo.receives(`<message type='chat' id='3'><body>three</body></message>`);
  const admin = await adminOf(servers.stage(montague));
  const { closed } = await admin.ask<{ closed: number }>('s2s kick', { domain: capulet });
  assert.ok(closed >= 1);
  await romeo.sends(`<message to='juliet@capulet.example' type='chat' id='4'><body>four</body></message>`);
  await juliet.receives(`<message type='chat' id='4'><body>four</body></message>`);
  await juliet.sends(`<message to='romeo@montague.example' type='chat' id='5'><body>five</body></message>`);
  await romeo.receives(`<message type='chat' id='5'><body>five</body></message>`);
  assert.match(
    await admin.read('s2s kick', { domain: 'verona.example' }),
    /There were no streams with verona\.example\./,
  );
});

play('s2s show and kick: a domain in back-off, which a kick ends', both, async (servers) => {
  const { dns } = servers;
  const { zone } = dns;
  dns.zone = {};
  const romeo = await servers.stage(montague).actor('romeo@montague.example/orchard', { presence: true });
  const fails = async (id: string) => {
    await romeo.sends(`<message to='juliet@capulet.example' type='chat' id='${id}'><body>?</body></message>`);
    await romeo.receives(
      `<message type='error' id='${id}' from='juliet@capulet.example'>${refusal('cancel', 'remote-server-not-found')}</message>`,
    );
  };
  await fails('1');
  const admin = await adminOf(servers.stage(montague));
  const { pauses, streams } = await admin.ask<{ pauses: Pause[]; streams: unknown[] }>('s2s show', { domain: capulet });
  assert.deepEqual(streams, []);
  assert.deepEqual(
    pauses.map(({ local, remote, failures, condition }) => [local, remote, failures, condition]),
    [[montague, capulet, 1, 'remote-server-not-found']],
  );
  assert.match(await admin.read('s2s show', { domain: capulet }), /are refused until .* after 1 failed attempt /);
  dns.zone = zone;
  await fails('2');
  assert.match(await admin.read('s2s kick', { domain: capulet }), /Its back-off has ended\./);
  const juliet = await servers.stage(capulet).actor('juliet@capulet.example/balcony', { presence: true });
  await romeo.sends(`<message to='juliet@capulet.example' type='chat' id='3'><body>three</body></message>`);
  await juliet.receives(`<message type='chat' id='3'><body>three</body></message>`);
});

test('s2s commands explain why there are no streams with other servers', async () => {
  const { stage } = await serverOf(['localhost'], {});
  const admin = await adminOf(stage);
  for (const command of ['s2s list', 's2s show', 's2s kick'])
    await assert.rejects(
      admin.ask(command, command === 's2s list' ? {} : { domain: capulet }),
      /there are no streams with other servers: no host is a public domain/,
    );
});

play('metrics count stanzas, streams and failures by domain', both, async (servers) => {
  const { romeo } = await greet(servers);
  await romeo.sends(`<message to='${nobody}' type='chat' id='3'><body>?</body></message>`);
  await romeo.receives(
    `<message type='error' id='3' from='${nobody}'>${refusal('cancel', 'remote-server-not-found')}</message>`,
  );
  const here = (await servers.stage(montague).server.metrics.text()).text;
  for (const line of [
    /^waxwing_server_stanzas_sent_total\{domain="capulet\.example"\} [2-9]$/m,
    /^waxwing_server_stanzas_sent_total\{domain="\(others\)"\} 0$/m,
    /^waxwing_server_domain_streams\{domain="capulet\.example",direction="outgoing"\} 1$/m,
    /^waxwing_server_failures_total\{domain="mantua\.example",step="dns"\} 1$/m,
  ])
    assert.match(here, line);
  const there = (await servers.stage(capulet).server.metrics.text()).text;
  assert.match(there, /^waxwing_server_stanzas_received_total\{domain="montague\.example"\} [2-9]$/m);
  assert.match(there, /^waxwing_server_domain_streams\{domain="montague\.example",direction="incoming"\} 1$/m);
});

play('s2s list and kick: a stream that is not authenticated yet, in either direction', both, async (servers) => {
  const admin = await adminOf(servers.stage(montague));
  const romeo = await servers.stage(montague).actor('romeo@montague.example/orchard', { presence: true });
  const trap = await lure('');
  servers.leads('verona.example', trap.port);
  // A kick ends the attempt: the other address is not tried.
  const { srv = {}, ...zone } = servers.dns.zone;
  const name = '_xmpp-server._tcp.verona.example';
  const another = `1 0 ${(await lure('')).port} here.example`;
  servers.dns.zone = { ...zone, srv: { ...srv, [name]: [...srv[name]!, another] } };
  await romeo.sends(`<message to='prince@verona.example' type='chat' id='1'><body>?</body></message>`);
  await (await trap.next()).hears();
  const { streams } = await admin.ask<Listed>('s2s list', { domain: 'verona.example' });
  assert.deepEqual(
    streams.map(({ direction, state, authentication, tls, queued }) => [direction, state, authentication, tls, queued]),
    [['out', 'negotiating', null, null, 1]],
  );
  assert.deepEqual(await admin.ask('s2s kick', { domain: 'verona.example' }), {
    domain: 'verona.example',
    closed: 1,
    paused: 0,
  });
  await romeo.receives(
    `<message type='error' id='1' from='prince@verona.example'>${refusal('wait', 'remote-server-timeout')}</message>`,
  );
  // The failure leaves no back-off: the next stanza connects again.
  await romeo.sends(`<message to='prince@verona.example' type='chat' id='2'><body>?</body></message>`);
  await (await trap.next()).hears();

  const port = servers.stage(montague).port('s2s');
  const impostor = Impostor.connect(port, `from='mantua.example' to='${montague}'`);
  await impostor.opens();
  const claimed = await admin.ask<Listed>('s2s list', { domain: 'mantua.example' });
  assert.deepEqual(
    claimed.streams.map(({ direction, state, pairs, claimed }) => [direction, state, pairs, claimed]),
    [['in', 'negotiating', [], { local: montague, remote: 'mantua.example' }]],
  );
  assert.match(
    await admin.read('s2s list', { domain: 'mantua.example' }),
    /^\(mantua\.example\) .* negotiating +no TLS/m,
  );
  // RFC 6120 §4.9.3.16.
  assert.match(await admin.read('s2s kick', { domain: 'mantua.example' }), /Closed 1 stream with mantua\.example\./);
  await impostor.hearsError('reset');
});
