import assert from 'node:assert/strict';
import { createHash, generateKeyPairSync, sign, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { connect, createServer, type SecureVersion, type TLSSocket } from 'node:tls';
import { endPointHash, noBindings, tlsBindings } from '../../src/server/stream/sasl/binding.js';

/** A DER element. */
function der(tag: number, ...content: (Buffer | string)[]): Buffer {
  const body = Buffer.concat(content.map((part) => (typeof part === 'string' ? Buffer.from(part, 'hex') : part)));
  const { length } = body;
  const size = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...size]), body]);
}
const sequence = (...content: (Buffer | string)[]): Buffer => der(0x30, ...content);
const oid = (hex: string): Buffer => der(0x06, hex);

const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });

/**
 * A certificate that claims this signature. The signature itself is always ECDSA with SHA-256, because nobody verifies
 * it here.
 */
function certificate(algorithm: Buffer): X509Certificate {
  const name = sequence(der(0x31, sequence(oid('550403'), der(0x0c, Buffer.from('capulet.example')))));
  const tbs = sequence(
    der(0xa0, der(0x02, '02')),
    der(0x02, '01'),
    algorithm,
    name,
    sequence(der(0x17, Buffer.from('200101000000Z')), der(0x17, Buffer.from('491231235959Z'))),
    name,
    publicKey.export({ type: 'spki', format: 'der' }),
  );
  return new X509Certificate(sequence(tbs, algorithm, der(0x03, '00', sign('sha256', tbs, privateKey))));
}

const ecdsaSha256 = sequence(oid('2a8648ce3d040302'));
const none = der(0x05);
/** RSASSA-PSS-params with a hash (RFC 4055 §3.1). */
const pss = (hash: string): Buffer =>
  sequence(oid('2a864886f70d01010a'), sequence(der(0xa0, sequence(oid(hash), none)), der(0xa2, der(0x02, '20'))));

for (const [what, algorithm, hash] of [
  ['ecdsa-with-SHA1', sequence(oid('2a8648ce3d0401')), 'sha256'],
  ['ecdsa-with-SHA224', sequence(oid('2a8648ce3d040301')), 'sha224'],
  ['ecdsa-with-SHA256', ecdsaSha256, 'sha256'],
  ['ecdsa-with-SHA384', sequence(oid('2a8648ce3d040303')), 'sha384'],
  ['ecdsa-with-SHA512', sequence(oid('2a8648ce3d040304')), 'sha512'],
  ['md5WithRSAEncryption', sequence(oid('2a864886f70d010104'), none), 'sha256'],
  ['sha1WithRSAEncryption', sequence(oid('2a864886f70d010105'), none), 'sha256'],
  ['sha256WithRSAEncryption', sequence(oid('2a864886f70d01010b'), none), 'sha256'],
  ['sha384WithRSAEncryption', sequence(oid('2a864886f70d01010c'), none), 'sha384'],
  ['sha512WithRSAEncryption', sequence(oid('2a864886f70d01010d'), none), 'sha512'],
  ['RSASSA-PSS with SHA-384', pss('608648016503040202'), 'sha384'],
  ['RSASSA-PSS with SHA-1', pss('2b0e03021a'), 'sha256'],
  ['RSASSA-PSS and nothing else', sequence(oid('2a864886f70d01010a'), sequence()), 'sha256'],
] as const) {
  test(`RFC 5929 §4.1: a certificate signed with ${what} is hashed with ${hash}`, () => {
    const made = certificate(algorithm);
    assert.deepEqual(endPointHash(made), createHash(hash).update(made.raw).digest());
  });
}

test('a signature without a hash has no tls-server-end-point binding', () => {
  assert.equal(endPointHash(certificate(sequence(oid('2b6570')))), undefined); // Ed25519
  assert.equal(endPointHash(certificate(pss('2b6570'))), undefined);
});

for (const version of ['TLSv1.2', 'TLSv1.3'] as const satisfies SecureVersion[]) {
  test(`${version}: both ends have the same bindings`, async () => {
    const ours = certificate(ecdsaSha256);
    const key = privateKey.export({ type: 'pkcs8', format: 'pem' });
    const server = createServer({ cert: ours.toString(), key, maxVersion: version }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const client = connect({
      port: (server.address() as AddressInfo).port,
      host: '127.0.0.1',
      rejectUnauthorized: false,
    });
    const [accepted] = (await once(server, 'secureConnection')) as [TLSSocket];
    if (client.getProtocol() === null) await once(client, 'secureConnect');

    const bindings = tlsBindings(accepted, endPointHash(ours));
    const shown = client.getPeerCertificate().raw;
    assert.deepEqual(bindings.channelBinding('tls-server-end-point'), createHash('sha256').update(shown).digest());
    const exported = bindings.channelBinding('tls-exporter');
    if (version === 'TLSv1.3') {
      assert.deepEqual(bindings.channelBindingTypes, ['tls-exporter', 'tls-server-end-point']);
      assert.equal(exported?.length, 32);
      assert.deepEqual(exported, client.exportKeyingMaterial(32, 'EXPORTER-Channel-Binding', Buffer.alloc(0)));
      assert.deepEqual(tlsBindings(accepted, undefined).channelBindingTypes, ['tls-exporter']);
    } else {
      assert.deepEqual(bindings.channelBindingTypes, ['tls-server-end-point']);
      assert.equal(exported, undefined);
    }
    const late = tlsBindings(accepted, undefined);
    client.destroy();
    accepted.destroy();
    server.close();
    await once(server, 'close');
    assert.equal(late.channelBinding('tls-exporter'), undefined);
  });
}

test('a stream without TLS has no binding', () => {
  assert.deepEqual(noBindings.channelBindingTypes, []);
  assert.equal(noBindings.channelBinding('tls-exporter'), undefined);
});
