import assert from 'node:assert/strict';
import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import { describe, test } from 'node:test';
import { DerError, derTag, readDer, readOid, readOne, writeDer, writeOid } from '../../src/server/tls/der.js';
import { coversDomain, coversServer, writeNames, xmppAddresses } from '../../src/server/tls/names.js';
import { makeSelfSigned } from '../../src/server/tls/self-signed.js';

const { sequence, octetString, utf8String, context, implicit } = derTag;

const san = '2.5.29.17';
const text = (tag: number, value: string) => writeDer(tag, Buffer.from(value));
const otherName = (type: string, value: Buffer) => writeDer(context(0), writeOid(type), writeDer(context(0), value));
const xmppAddr = (address: string) => otherName('1.3.6.1.5.5.7.8.5', text(utf8String, address));
const nameList = (...names: Buffer[]) => writeDer(sequence, ...names);

/** A certificate with nothing but these extensions. */
function certificate(extensions: readonly (readonly [oid: string, value: Buffer])[]) {
  const list = extensions.map(([oid, value]) => writeDer(sequence, writeOid(oid), writeDer(octetString, value)));
  const version = writeDer(context(0), writeDer(2, Buffer.of(2)));
  return writeDer(sequence, writeDer(sequence, version, writeDer(context(3), writeDer(sequence, ...list))));
}

describe('DER', () => {
  test('lengths and identifiers are read as written', () => {
    for (const size of [0, 1, 127, 128, 255, 256, 65_535, 65_536]) {
      assert.equal(readOne(writeDer(octetString, Buffer.alloc(size)), octetString).length, size);
    }
    for (const oid of ['2.5.29.17', '1.2.840.113549.1.1.11', '1.3.6.1.5.5.7.8.5', '2.999.1', '0.9.2342']) {
      assert.equal(readOid(readOne(writeOid(oid), derTag.oid)), oid);
    }
  });

  const broken: readonly (readonly [name: string, hex: string])[] = [
    ['a truncated value', '0403aabb'],
    ['a truncated length', '0482'],
    ['a missing length', '04'],
    ['an indefinite length', '3080040100'],
    ['a length that is not minimal', '048101aa'],
    ['a length with a leading zero', `0482007f${'00'.repeat(127)}`],
    ['an excessive length', '0484ffffffff'],
    ['a tag of many bytes', '1f8101'],
  ];
  for (const [name, hex] of broken) {
    test(`${name} is refused`, () => assert.throws(() => readDer(Buffer.from(hex, 'hex')), DerError));
  }
  test('invalid identifiers are refused', () => {
    for (const hex of ['', '80', '2a80', '2a8001', 'ffffffffffffffff7f']) {
      assert.throws(() => readOid(Buffer.from(hex, 'hex')), DerError, hex);
    }
  });
});

describe('the names of a certificate', () => {
  const found = (...extensions: readonly (readonly [string, Buffer])[]) => xmppAddresses(certificate(extensions));

  test('are all domains and XMPP addresses', () => {
    const names = nameList(
      text(implicit(2), 'example.org'),
      text(implicit(1), 'alice@mail.example'),
      xmppAddr('alice@example.org'),
      otherName('1.3.6.1.5.5.7.8.7', text(0x16, '_xmpp-client.example.org')),
      text(implicit(2), '*.example.org'),
      xmppAddr('älice@example.org'),
    );
    assert.deepEqual(found([san, names]), {
      dns: ['example.org', '*.example.org'],
      xmppAddr: ['alice@example.org', 'älice@example.org'],
      srv: ['_xmpp-client.example.org'],
    });
  });

  test('a name that looks like another is just a name', () => {
    const forged = nameList(
      text(implicit(1), 'x, othername:XmppAddr:admin@example.org'),
      text(implicit(6), 'xmpp:admin@example.org'),
    );
    assert.deepEqual(found([san, forged]), { dns: [], xmppAddr: [], srv: [] });
  });

  const nothing: readonly (readonly [name: string, der: Buffer])[] = [
    ['no extension', certificate([])],
    [
      'a duplicate extension',
      certificate([
        [san, nameList(xmppAddr('a@b'))],
        [san, nameList(xmppAddr('c@d'))],
      ]),
    ],
    ['a NUL in a domain', certificate([[san, nameList(text(implicit(2), 'example.org\0.evil.example'))]])],
    ['a NUL in an address', certificate([[san, nameList(xmppAddr('admin@example.org\0@evil.example'))]])],
    [
      'an address with invalid UTF-8',
      certificate([[san, nameList(otherName('1.3.6.1.5.5.7.8.5', writeDer(utf8String, Buffer.of(0x61, 0xff))))]]),
    ],
    ['an address of another type', certificate([[san, nameList(otherName('1.3.6.1.5.5.7.8.5', text(0x16, 'a@b')))]])],
    ['bytes after the names', certificate([[san, Buffer.concat([nameList(xmppAddr('a@b')), Buffer.of(5, 0)])]])],
    ['bytes after the certificate', Buffer.concat([certificate([[san, nameList(xmppAddr('a@b'))]]), Buffer.of(5, 0)])],
    ['no certificate', Buffer.from('nonsense')],
    ['nothing', Buffer.alloc(0)],
  ];
  for (const [name, der] of nothing) {
    test(`${name}: no names`, () => assert.deepEqual(xmppAddresses(der), { dns: [], xmppAddr: [], srv: [] }));
  }

  test('truncated certificates are read without an error', () => {
    const whole = new X509Certificate(makeSelfSigned(['example.org']).certificate).raw;
    for (let length = 0; length < whole.length; length++) {
      assert.deepEqual(xmppAddresses(whole.subarray(0, length)), { dns: [], xmppAddr: [], srv: [] });
    }
  });
});

describe('the domains that names match', () => {
  const table: readonly (readonly [names: readonly string[], domain: string, covers: boolean])[] = [
    [['example.org'], 'example.org', true],
    [['EXAMPLE.org'], 'example.org', true],
    [['xn--exmple-cua.org'], 'exämple.org', true],
    [['*.example.org'], 'chat.example.org', true],
    [['*.example.org'], 'example.org', false],
    [['*.example.org'], 'a.b.example.org', false],
    [['c*.example.org'], 'chat.example.org', false],
    [['*.org'], 'example.org', false],
    [['*'], 'localhost', false],
    [['example.org.evil.example'], 'example.org', false],
    [['192.0.2.1'], '192.0.2.1', false],
  ];
  for (const [dns, domain, covers] of table) {
    test(`${dns} ${covers ? 'matches' : 'does not match'} ${domain}`, () =>
      assert.equal(coversDomain({ dns, xmppAddr: [], srv: [] }, domain), covers));
  }
  test('an XMPP address matches its domain', () => {
    assert.ok(coversDomain({ dns: [], xmppAddr: ['example.org'], srv: [] }, 'example.org'));
    assert.ok(!coversDomain({ dns: [], xmppAddr: ['a@example.org'], srv: [] }, 'example.org'));
  });
  test('a service name matches its domain for that service only, as A-labels, without case', () => {
    const names = { dns: [], xmppAddr: [], srv: ['_XMPP-server.xn--exmple-cua.org', '_xmpp-client.example.net'] };
    assert.ok(coversServer(names, 'exämple.org'));
    assert.ok(!coversDomain(names, 'exämple.org'));
    assert.ok(!coversServer(names, 'example.net'));
    assert.ok(!coversServer(names, 'org'));
  });
  test('to another server an address matches its domain in any spelling, an account does not', () => {
    const names = { dns: [], xmppAddr: ['XN--exmple-cua.org', 'a@example.net'], srv: [] };
    assert.ok(coversServer(names, 'exämple.org'));
    assert.ok(!coversServer(names, 'example.net'));
  });
  test('written names are read back', () => {
    assert.deepEqual(xmppAddresses(certificate([[san, writeNames(['exämple.org'], ['exämple.org'])]])), {
      dns: ['xn--exmple-cua.org'],
      xmppAddr: ['exämple.org'],
      srv: [],
    });
  });
});

describe('a self-signed certificate', () => {
  const now = Date.UTC(2026, 0, 1);
  const domains = ['exämple.org', 'conference.exämple.org'];
  const { certificate: pem, key } = makeSelfSigned(domains, undefined, now);
  const parsed = new X509Certificate(pem);

  test('has its domains, and is not a CA', () => {
    assert.deepEqual(xmppAddresses(parsed.raw), {
      dns: ['xn--exmple-cua.org', 'conference.xn--exmple-cua.org'],
      xmppAddr: domains,
      srv: [],
    });
    assert.equal(parsed.ca, false);
    assert.deepEqual(parsed.keyUsage, ['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2']);
    assert.ok(parsed.verify(parsed.publicKey));
    assert.match(key, /^-----BEGIN PRIVATE KEY-----/);
    assert.equal(parsed.publicKey.asymmetricKeyDetails?.namedCurve, 'prime256v1');
  });

  test('is valid for 825 days, from an hour ago', () => {
    assert.equal(Date.parse(parsed.validFrom), now - 3_600_000);
    assert.equal(Date.parse(parsed.validTo), now - 3_600_000 + 825 * 86_400_000 - 1000);
  });

  test('works with a given key, a long name, and after 2049', () => {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const long = `${'a'.repeat(60)}.${'b'.repeat(60)}.example`;
    const other = new X509Certificate(makeSelfSigned([long], privateKey, Date.UTC(2049, 0, 1)).certificate);
    assert.ok(other.checkPrivateKey(privateKey));
    assert.deepEqual(xmppAddresses(other.raw).dns, [long]);
    assert.equal(new Date(other.validTo).getUTCFullYear(), 2051);
    assert.notEqual(other.serialNumber, parsed.serialNumber);
  });
});
