/** Behind proxies: the PROXY protocol (sections of HAProxy's specification), and X-Forwarded-For. */
import assert from 'node:assert/strict';
import { connect as connectTcp } from 'node:net';
import { NS } from '../../src/server/stanza/ns.js';
import { type ConnectOptions, connectionOf, eachNode, hits, overTcp, scenarioWith } from './dialogue.js';
import { greeted } from './sasl.js';

const scenario = scenarioWith(overTcp);

const proxy = '127.9.0.1';
const webProxy = '127.8.0.1';
const behind = {
  config: {
    listen: { proxy_protocol: ['127.9.0.0/16'] },
    http: { forwarded_from: ['127.8.0.0/16'] },
    auth: { failures_per_address: 2 },
  },
} as const;

const line = (text: string) => `PROXY ${text}\r\n`;
const client = '192.0.2.7';
const fromClient = line(`TCP4 ${client} 198.51.100.1 56324 5222`);

/** §2.2: version 2. */
function block(command: number, family: number, ...body: (readonly number[] | Uint8Array)[]): Buffer {
  const rest = Buffer.concat(body.map((part) => Buffer.from(part)));
  const beginning = Buffer.from('\r\n\r\n\0\r\nQUIT\n\x20\0\0\0', 'latin1');
  beginning[12] = 0x20 | command;
  beginning[13] = family;
  beginning.writeUInt16BE(rest.length, 14);
  return Buffer.concat([beginning, rest]);
}
const addresses4 = [192, 0, 2, 7, 198, 51, 100, 1, 0xdc, 4, 0x14, 0x66];
const address6 = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
const addresses6 = [...address6, ...address6, 0xdc, 4, 0x14, 0x66];
/** §2.2.6: PP2_TYPE_SSL, after a TLV without meaning here. */
const overTls = [0x04, 0, 1, 0, 0x20, 0, 5, 1, 0, 0, 0, 0];

const reported: readonly (readonly [title: string, preface: string | Buffer, address: string, secure: boolean])[] = [
  ['§2.1: version 1, IPv4', fromClient, client, false],
  ['§2.1: version 1, IPv6', line('TCP6 2001:db8:0:0::7 2001:db8::1 56324 5222'), '2001:db8::7', false],
  ['§2.1: version 1, unknown client', line('UNKNOWN ffff:f...f:ffff 65535'), proxy, false],
  ['§2.2: version 2, IPv4', block(1, 0x11, addresses4), client, false],
  ['§2.2: version 2, IPv6', block(1, 0x21, addresses6), '2001:db8::7', false],
  ['§2.2: version 2, the proxy itself', block(0, 0), proxy, false],
  ['§2.2: version 2, another family', block(1, 0x31, Buffer.alloc(216)), proxy, false],
  ['§2.2.6: version 2, over TLS to the proxy', block(1, 0x11, addresses4, overTls), client, true],
];
for (const [title, preface, address, secure] of reported)
  scenario(title, behind, async (scene) => {
    for (const transport of [secure ? 'tcp' : 'starttls', 'tls', 'websocket', 'wss'] as const) {
      const peer = await scene.actor('romeo@localhost/orchard', { transport, preface, address: proxy });
      const connection = connectionOf(scene, peer);
      assert.equal(connection.remoteAddress, address, transport);
      assert.equal(connection.secure, secure || transport !== 'websocket', transport);
    }
  });

scenario('byte by byte', behind, async (scene) => {
  const { connect, server } = scene;
  for (const header of [Buffer.from(fromClient), block(1, 0x11, addresses4, overTls)]) {
    const peer = await connect({ address: proxy, preface: '' });
    for (const byte of header) await peer.sends(Buffer.of(byte));
    await peer.opens();
    await peer.receivesFeatures();
    assert.equal(server.connections.tcp! + server.connections.tls!, 1);
    peer.cut();
    while (server.connections.tcp! + server.connections.tls! > 0) await new Promise((resolve) => setImmediate(resolve));
  }
});

scenario('§2.2.6: STARTTLS is not offered if the proxy terminates TLS', behind, async ({ connect }) => {
  const [, features] = await greeted(connect, { address: proxy, preface: block(1, 0x11, addresses4, overTls) });
  assert.equal(features.getChild('starttls', NS.tls), undefined);
  assert.ok(features.getChild('mechanisms', NS.sasl));
});

for (const [title, preface] of [
  ['another beginning', '<?xml'],
  ['a line that is too long', `PROXY UNKNOWN ${'x'.repeat(100)}`],
  ['an invalid address', line('TCP4 192.0.2.777 198.51.100.1 1 2')],
  ['an address of the other family', line('TCP4 2001:db8::7 198.51.100.1 1 2')],
  ['an invalid port', line('TCP4 192.0.2.7 198.51.100.1 65536 2')],
  ['a missing port', line('TCP4 192.0.2.7 198.51.100.1 1')],
  ['another protocol', line('UDP4 192.0.2.7 198.51.100.1 1 2')],
  ['another version', Buffer.from('\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0', 'latin1')],
  ['another command', block(2, 0x11, addresses4)],
  ['truncated addresses', block(1, 0x11, addresses4.slice(1))],
  ['a truncated TLV', block(1, 0x11, addresses4, [0x20, 0, 9, 1])],
  ['a block that is too long', block(1, 0x11, Buffer.alloc(5000))],
] as const)
  scenario(`§2: refused from a proxy: ${title}`, behind, async ({ connect }) => {
    const peer = await connect({ address: proxy, preface });
    await peer.ends();
  });

scenario('a header from other addresses is not accepted', behind, async ({ connect, server }) => {
  const peer = await connect({ address: '127.4.0.1', preface: fromClient });
  await peer.receivesStreamError('not-well-formed');
  assert.equal(server.sessions.size, 0);
});

const ways: readonly (readonly [string, (n: number) => ConnectOptions])[] = [
  [
    'PROXY protocol',
    (n) => ({ address: proxy, preface: line(`TCP4 192.0.2.${n} 198.51.100.1 1 2`), transport: 'tls' }),
  ],
  [
    'X-Forwarded-For',
    (n) => ({
      address: webProxy,
      transport: 'websocket',
      headers: { 'x-forwarded-for': `10.9.9.9, 192.0.2.${n}`, 'x-forwarded-proto': 'https' },
    }),
  ],
];
for (const [title, from] of ways) {
  const few = { config: { ...behind.config, limits: { connections_per_address: 2 } }, ...eachNode, alone: true };
  scenario(`connections are counted by client: ${title}`, few, async (scene) => {
    const { connect } = scene;
    const held = [await greeted(connect, from(1)), await greeted(connect, from(1))];
    await assert.rejects(greeted(connect, from(1)));
    assert.equal(await hits(scene, 'connections_per_address'), 1);
    await greeted(connect, from(2));
    assert.equal(held.length, 2);
  });

  scenario(`so are failed logins: ${title}`, { ...behind, alone: true }, async ({ connect, stage }) => {
    await stage.account('romeo@localhost');
    const fails = async (n: number, user: string): Promise<string> => {
      const [peer] = await greeted(connect, from(n));
      await peer.sends(`<auth xmlns='${NS.sasl}' mechanism='PLAIN'>${btoa(`\0${user}\0wrong`)}</auth>`);
      const failure = await peer.receivesAny();
      await peer.closes();
      return failure.getChildElements()[0]!.getName();
    };
    for (const [user, expected] of [
      ['romeo', 'not-authorized'],
      ['juliet', 'not-authorized'],
      ['nurse', 'temporary-auth-failure'],
    ] as const)
      assert.equal(await fails(1, user), expected);
    assert.equal(await fails(2, 'nurse'), 'not-authorized');
  });
}

const forwarded: readonly (readonly [string, Record<string, string>, string, boolean])[] = [
  ['names the client', { 'x-forwarded-for': client }, client, false],
  ['TLS to the proxy', { 'x-forwarded-for': client, 'x-forwarded-proto': 'https' }, client, true],
  ['the first entry is forged', { 'x-forwarded-for': `127.0.0.1, 10.0.0.1,${client}` }, client, false],
  ['through another proxy', { 'x-forwarded-for': `${client}, 127.8.0.9` }, client, false],
  ['IPv6', { 'x-forwarded-for': '2001:db8::7' }, '2001:db8::7', false],
  ['names none', {}, webProxy, false],
  ['with a port', { 'x-forwarded-for': `${client}:123` }, client, false],
  ['IPv6 with a port', { 'x-forwarded-for': '[2001:db8::7]:123' }, '2001:db8::7', false],
];
for (const [title, headers, address, secure] of forwarded)
  scenario(`X-Forwarded-For: ${title}`, behind, async (scene) => {
    const options = { transport: 'websocket', address: webProxy, headers } as const;
    const connection = connectionOf(scene, await scene.actor('romeo@localhost/orchard', options));
    assert.equal(connection.remoteAddress, address);
    assert.equal(connection.secure, secure);
  });

for (const sent of ['unknown', '', `${client}, unknown`, '_hidden', '192.0.2'])
  scenario(`X-Forwarded-For: refused if it names nobody: ${JSON.stringify(sent)}`, behind, async (scene) => {
    const headers = { 'x-forwarded-for': sent };
    await assert.rejects(greeted(scene.connect, { transport: 'websocket', address: webProxy, headers }));
    assert.equal(scene.server.connections.websocket, 0);
  });

scenario('X-Forwarded-For: ignored from other addresses', behind, async (scene) => {
  const options = { transport: 'websocket', address: '127.4.0.2', headers: { 'x-forwarded-for': client } } as const;
  const peer = await scene.actor('romeo@localhost/orchard', options);
  assert.equal(connectionOf(scene, peer).remoteAddress, '127.4.0.2');
});

const guarded = {
  config: { ...behind.config, metrics: { allow_from: ['127.8.0.0/16', '127.0.0.1'], token: 'open-sesame' } },
} as const;
scenario('metrics are served to allowed addresses only', guarded, async ({ stage }) => {
  const status = (headers: string, localAddress = webProxy) =>
    new Promise<string>((resolve, reject) => {
      const socket = connectTcp({ host: '127.0.0.1', port: stage.port('http'), localAddress });
      socket.once('error', reject).once('data', (chunk) => {
        resolve(chunk.toString().slice(9, 12));
        socket.destroy();
      });
      socket.write(`GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n${headers}\r\n`);
    });
  assert.equal(await status(''), '200');
  assert.equal(await status('', '127.0.0.1'), '200');
  assert.equal(await status('', '127.4.0.3'), '404');
  for (const header of [
    `X-Forwarded-For: ${client}`,
    'X-Forwarded-For: unknown',
    `Forwarded: for=${client}`,
    'Via: 1.1 x',
  ]) {
    assert.equal(await status(`${header}\r\n`), '404', header);
    assert.equal(await status(`${header}\r\n`, '127.0.0.1'), '404', header);
    const authorization = 'Authorization: Bearer open-sesame\r\n';
    assert.equal(await status(`${header}\r\n${authorization}`, '127.4.0.3'), '200', header);
  }
  // A wrong token is like a missing one, also from an address that needs none.
  for (const wrong of ['open', 'open-sesame-now', ''])
    assert.equal(await status(`Authorization: Bearer ${wrong}\r\n`, '127.4.0.3'), '404');
  assert.equal(await status('X-Forwarded-For: 127.8.0.9\r\n'), '200');
});
