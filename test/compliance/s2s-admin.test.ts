/** Other servers as the administrator sees them: when there is federation, what its streams do, and why one fails. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { after, test } from 'node:test';
import { DnsServer } from '../dns-server.js';
import { Stage } from './dialogue.js';
import { refusal } from './phrases.js';

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

test('by default a server with private names alone neither listens for other servers nor looks for them', async () => {
  const { dns, stage, kinds } = await serverOf(['localhost', 'verona.test'], {});
  assert.deepEqual(kinds, []);
  assert.match(String(stage.server.federation), /no host is a public domain/);
  await hearsNotFound(stage, 'romeo@localhost/orchard');
  assert.deepEqual(dns.asked, []);
});

test('by default a server with a public domain talks to other servers', async () => {
  const { dns, stage, kinds } = await serverOf(['localhost', 'verona.it'], {});
  assert.deepEqual(kinds, ['s2s', 's2s_tls']);
  assert.notEqual(typeof stage.server.federation, 'string');
  await hearsNotFound(stage, 'romeo@verona.it/orchard');
  assert.ok(dns.asked.includes('SRV _xmpp-server._tcp.mantua.example'));
});

test('s2s.enabled turns federation on and off, whatever the domains', async () => {
  const on = await serverOf(['localhost'], { enabled: true });
  assert.deepEqual(on.kinds, ['s2s', 's2s_tls']);
  const off = await serverOf(['verona.it'], { enabled: false });
  assert.deepEqual(off.kinds, []);
  assert.match(String(off.stage.server.federation), /s2s\.enabled = false/);
  await hearsNotFound(off.stage, 'romeo@verona.it/orchard');
  assert.deepEqual(off.dns.asked, []);
});

test('a port for other servers that is taken: by default the server starts without them', async () => {
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
