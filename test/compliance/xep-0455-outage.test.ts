/** XEP-0455: Service Outage Status. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { cli } from '../../src/modules/xep-0455-outage/cli.js';
import type { Outage } from '../../src/modules/xep-0455-outage/services.js';
import { NS } from '../../src/server/stanza/ns.js';
import { type Peer, scenario } from './dialogue.js';
import { dataOf, home, start } from './program.js';

const addresses = ['https://status.example.net/a.json?x=1&y=2', 'http://[2001:db8::1]/b.json'];
const ask = (peer: Peer) => peer.sends(`<iq type='get' id='1' to='${peer.host}'><query xmlns='${NS.discoInfo}'/></iq>`);

scenario(
  '§2.1: the addresses of the status are in the disco#info of the host',
  { config: { hosts: { localhost: { outage_status: addresses }, 'elsewhere.example': {} } } },
  async ({ actor }) => {
    const romeo = await actor('romeo@localhost/orchard');
    await ask(romeo);
    await romeo.receives(
      `<iq type='result' id='1'><query xmlns='${NS.discoInfo}'><x xmlns='jabber:x:data' type='result'>
        <field var='FORM_TYPE' type='hidden'><value>urn:xmpp:sos:0</value></field>
        <field var='external-status-addresses' type='list-multi'>
          <value>${addresses[0]!.replace('&', '&amp;')}</value><value>${addresses[1]}</value></field></x></query></iq>`,
    );
    const juliet = await actor('juliet@elsewhere.example/balcony');
    await ask(juliet);
    const answer = await juliet.receives(`<iq type='result' id='1'/>`);
    assert.equal(answer.toString().includes('urn:xmpp:sos:0'), false);
  },
);

test('§2.2: an administrator announces an outage, and the server serves the file', async () => {
  const at = home();
  writeFileSync(
    at.file,
    `[listen]\nc2s = ["127.0.0.1:0"]\nc2s_tls = []\nhttps = []\nhttp = ["127.0.0.1:0"]\n[modules.proxy65]\nlisten = []\n` +
      `[hosts.localhost]\noutage_status = ["${addresses[0]}"]\n[hosts."elsewhere.example"]\n`,
  );
  const server = await start(at);
  const { listening } = (await dataOf(at, ['status'])) as { listening: { kind: string; port: number }[] };
  const { port } = listening.find(({ kind }) => kind === 'http')!;
  const file = async (host = 'localhost') => {
    const answer = await fetch(`http://127.0.0.1:${port}/outage.json`, { headers: { host } });
    assert.deepEqual(
      [answer.status, answer.headers.get('content-type'), answer.headers.get('access-control-allow-origin')],
      [200, 'application/json', '*'],
    );
    return answer.json();
  };
  assert.deepEqual(await file(), {});
  const on = '--host=localhost';
  await dataOf(at, [
    'outage',
    'set',
    'The server moves',
    on,
    '--begin=2027-03-01T22:00:00+01:00',
    '--end=2027-03-01T23:00:00Z',
  ]);
  await dataOf(at, ['outage', 'translate', 'de', 'Der Server zieht um', on]);
  const announced = {
    planned: true,
    beginning: '2027-03-01T21:00:00.000Z',
    expected_end: '2027-03-01T23:00:00.000Z',
    message: { default: 'The server moves', de: 'Der Server zieht um' },
  };
  assert.deepEqual(await file(), announced);
  assert.deepEqual((await dataOf(at, ['outage', 'show', on])) as object, {
    host: 'localhost',
    outage: announced,
    addresses: [addresses[0]],
  });
  assert.deepEqual(await dataOf(at, ['outage', 'clear', on]), { host: 'localhost', wasAnnounced: true });
  assert.deepEqual(await file(), {});
  server.child.kill('SIGTERM');
  assert.equal(await server.ended, 0);
});

test('the commands report wrong usage, and each host has its own outage', async () => {
  const stored = new Map<string, Outage | undefined>();
  const hosts = ['localhost', 'elsewhere.example'].map((domain) => ({
    domain,
    provided: () => ({
      get: async () => stored.get(domain),
      set: async (outage: Outage | undefined) => void stored.set(domain, outage),
      addresses: () => [],
    }),
  }));
  const run = async (name: string, values: Readonly<Record<string, unknown>>) => {
    const command = cli.find((one) => one.name === `outage ${name}`)!;
    const data: unknown = await command.run({ hosts } as never, values as never);
    return command.text(data as never);
  };
  const host = 'localhost';
  for (const [name, values, failure] of [
    ['set', { message: 'x' }, 'usage'],
    ['set', { message: 'x', host: 'verona' }, 'not-found'],
    ['set', { message: ' ', host }, 'usage'],
    ['set', { message: 'x'.repeat(2001), host }, 'usage'],
    ['set', { message: 'x', host, begin: 'tomorrow' }, 'usage'],
    ['set', { message: 'x', host, begin: '2027-03-01T22:00:00Z', end: '2027-03-01T22:00:00Z' }, 'usage'],
    ['translate', { language: 'default', message: 'x', host }, 'usage'],
    ['translate', { language: 'd e', message: 'x', host }, 'usage'],
    ['translate', { language: 'de', message: 'x', host }, 'not-found'],
  ] as const)
    await assert.rejects(run(name, values), { name: 'CommandError', failure });
  assert.equal(stored.size, 0);
  assert.match(
    (await run('set', { message: ' x ', unplanned: true, host }))!,
    /do not know where to read it: set hosts\."localhost"\.outage_status/,
  );
  assert.deepEqual(
    { ...stored.get(host), beginning: '' },
    { planned: false, beginning: '', message: { default: 'x' } },
  );
  for (let count = 1; count < 50; count++) {
    const language = `de-${count}`;
    await run('translate', { language, message: 'y', host });
  }
  await assert.rejects(run('translate', { language: 'de', message: 'y', host }), { failure: 'usage' });
  assert.match((await run('show', { host }))!, /Planned +no.*Message \(default\) +x/s);
  assert.equal(await run('show', { host: 'elsewhere.example' }), 'No outage is announced for elsewhere.example.');
  assert.equal(await run('clear', { host }), 'The outage of localhost is over.');
  assert.equal(await run('clear', { host }), 'No outage was announced for localhost.');
  const off = { hosts: [{ domain: host, provided: () => undefined }] };
  await assert.rejects(async () => cli[0]!.run(off as never, { message: 'x' } as never), { failure: 'configuration' });
});
