/** What TLS between nodes keeps out. What it carries: test/contract/links.test.ts. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { afterEach, test } from 'node:test';
import { type ConnectionOptions, connect as connectTls, createServer, type TlsOptions } from 'node:tls';
import type { Proof } from '../../src/server/cluster/proof.js';
import { TlsNetwork } from '../../src/server/cluster/tls-network.js';
import type { Purpose, Wire } from '../../src/server/cluster/wire.js';
import { CertificateAuthority } from '../certificate-authority.js';

const secret = (letter: string): Proof => ({ secrets: [letter.repeat(32)] });
const authority = new CertificateAuthority('cluster');
const certified = (by: CertificateAuthority, host = 'localhost', trusted = authority): Proof => {
  const { certificate, key } = by.issues([host]);
  return { certificate, key, authorities: trusted.pem.certificate };
};

const ends: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

interface End {
  readonly network: TlsNetwork;
  readonly warnings: string[];
  /** What members said. */
  readonly heard: string[];
}

async function open(proof: Proof): Promise<End> {
  const warnings: string[] = [];
  const heard: string[] = [];
  const warn = (message: string) => void warnings.push(message);
  const network = await TlsNetwork.open({ host: '127.0.0.1', port: 0, advertised: 'localhost', proof, warn });
  ends.push(() => network.close());
  network.listen(network.address, (wire) => ({
    bytes: (bytes) => {
      heard.push(String(bytes));
      wire.write(Buffer.from('heard'));
    },
    ended: () => {},
  }));
  return { network, warnings, heard };
}

/** Says something to an address. Resolves with the answer, or with how the wire ended. */
function says({ network }: End, address: string, purpose?: Purpose): Promise<string> {
  return new Promise((resolve) => {
    const wire: Wire = network.dial(
      address,
      {
        bytes: (bytes) => {
          resolve(String(bytes));
          wire.close();
        },
        ended: (isRefused) => resolve(isRefused ? 'refused' : 'ended'),
      },
      purpose,
    );
    wire.write(Buffer.from('hello'));
  });
}

const port = ({ network }: End): number => network.port;

/** Resolves when a connection is closed by the other side. */
async function ended(socket: Socket): Promise<void> {
  socket.on('error', () => {});
  socket.resume();
  if (!socket.closed) await new Promise((resolve) => socket.once('close', resolve));
}

for (const [what, own, others] of [
  ['another secret', secret('a'), secret('b')],
  ['a certificate instead of the secret', secret('a'), certified(authority)],
  ['the secret instead of a certificate', certified(authority), secret('a')],
  ['a certificate of another authority', certified(authority), certified(new CertificateAuthority('cluster'))],
] as const)
  test(`a node with ${what} is refused by both sides`, async () => {
    const [one, other] = [await open(own), await open(others)];
    assert.equal(await says(other, one.network.address), 'ended');
    assert.equal(await says(one, other.network.address), 'ended');
    assert.deepEqual([...one.heard, ...other.heard], []);
    // Each has seen the other refuse or be refused, and says so once.
    for (const { warnings } of [one, other]) assert.ok(warnings.length > 0);
    assert.equal(await says(one, other.network.address), 'ended');
    assert.equal(new Set(one.warnings).size, one.warnings.length);
  });

test('several secrets are accepted while one replaces another', async () => {
  const [before, after] = [secret('a'), { secrets: ['b'.repeat(32), 'a'.repeat(32)] }];
  const [one, other] = [await open(before), await open(after)];
  assert.equal(await says(one, other.network.address), 'heard');
  const third = await open({ secrets: ['a'.repeat(32), 'b'.repeat(32)] });
  assert.equal(await says(other, third.network.address), 'heard');
  assert.equal(await says(third, other.network.address), 'heard');
});

test('a certificate is for the host that was dialled', async () => {
  const [one, other] = [await open(certified(authority)), await open(certified(authority, 'elsewhere.example'))];
  assert.equal(await says(one, other.network.address), 'ended');
  assert.match(one.warnings.join(), /ALTNAME/);
});

test('a server that has a certificate everybody trusts, but not the secret, gets nothing', async () => {
  const { certificate: cert, key } = authority.issues(['localhost']);
  const received: Buffer[] = [];
  const options: TlsOptions = { cert, key, ALPNProtocols: ['waxwing-frames'] };
  const impostor = createServer(options, (socket) => socket.on('error', () => {}).on('data', (b) => received.push(b)));
  impostor.on('tlsClientError', () => {});
  impostor.listen(0, '127.0.0.1');
  await once(impostor, 'listening');
  ends.push(() => new Promise((resolve) => impostor.close(resolve)));
  const one = await open(secret('a'));
  assert.equal(await says(one, `localhost:${(impostor.address() as AddressInfo).port}`), 'ended');
  assert.deepEqual(received, []);
});

test('other programs and other versions of TLS reach nothing', async () => {
  const one = await open(secret('a'));
  const plain = connect(port(one), '127.0.0.1');
  plain.write('GET / HTTP/1.1\r\n\r\n');
  await ended(plain);
  const attempts: ConnectionOptions[] = [
    {},
    { maxVersion: 'TLSv1.2' },
    { ALPNProtocols: ['waxwing-frames'] },
    { ALPNProtocols: ['xmpp-client'] },
    { pskCallback: () => ({ psk: Buffer.alloc(32), identity: 'waxwing' }) },
  ];
  for (const more of attempts)
    await ended(connectTls({ port: port(one), host: '127.0.0.1', rejectUnauthorized: false, ...more }));
  assert.deepEqual(one.heard, []);
  assert.ok(
    one.warnings.every((warning) => /^a connection (without|that|of)/.test(warning)),
    one.warnings.join('\n'),
  );
  assert.equal(one.network.inspection.wires, 0);
});

test('connections that prove nothing are bounded, and keep no member away', async () => {
  const [one, other] = [await open(secret('a')), await open(secret('a'))];
  const idle = Array.from({ length: 300 }, () => connect(port(one), '127.0.0.1'));
  const closed = idle.map((socket) => ended(socket));
  await Promise.all(idle.map((socket) => (socket.connecting ? once(socket, 'connect') : undefined)));
  assert.equal(await says(other, one.network.address), 'heard');
  assert.ok(one.network.inspection.unproved <= 128);
  assert.ok(one.network.displaced >= 300 - 128);
  // The rest is closed after the deadline.
  await Promise.all(closed);
  assert.deepEqual(one.heard, ['hello']);
});

test('an address where nobody listens is told from one that cannot be reached', async () => {
  const [one, other] = [await open(secret('a')), await open(secret('a'))];
  const { address } = other.network;
  await other.network.close();
  assert.equal(await says(one, address), 'refused');
  assert.match(one.warnings.join(), /is not running/);
  for (const invalid of ['', 'localhost', 'localhost:0', 'localhost:70000', 'a b:1'])
    assert.equal(await says(one, invalid), 'ended', invalid);
  // Nobody asked for streams there.
  const third = await open(secret('a'));
  assert.equal(await says(one, third.network.address, 'streams'), 'ended');
});

test('a short secret, none, and a port in use are refused', async () => {
  await assert.rejects(open({ secrets: ['short'] }), RangeError);
  await assert.rejects(open({ secrets: [] }), RangeError);
  const one = await open(secret('a'));
  const options = { host: '127.0.0.1', port: port(one), proof: secret('a'), warn: () => {} };
  await assert.rejects(TlsNetwork.open(options), { code: 'EADDRINUSE' });
});
