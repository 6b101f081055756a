/** A private certificate authority (RFC 5280), which the servers of the tests trust. */
import { createPublicKey, generateKeyPairSync, type KeyObject, randomBytes, sign, X509Certificate } from 'node:crypto';
import { derTag, writeDer, writeOid } from '../../../src/server/tls/der.js';
import { writeNames } from '../../../src/server/tls/names.js';
import type { Pem } from '../../../src/server/tls/self-signed.js';

const oid = {
  ecdsaWithSha256: '1.2.840.10045.4.3.2',
  commonName: '2.5.4.3',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  extendedKeyUsage: '2.5.29.37',
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
} as const;

const sequence = (...parts: Buffer[]): Buffer => writeDer(derTag.sequence, ...parts);
const newKey = (): KeyObject => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;

function extension(id: string, isCritical: boolean, value: Buffer): Buffer {
  const critical = isCritical ? [writeDer(0x01, Buffer.of(0xff))] : [];
  return sequence(writeOid(id), ...critical, writeDer(derTag.octetString, value));
}

const nameOf = (text: string): Buffer =>
  sequence(writeDer(0x31, sequence(writeOid(oid.commonName), writeDer(derTag.utf8String, Buffer.from(text)))));

/** UTCTime. */
const time = (ms: number): Buffer =>
  writeDer(0x17, Buffer.from(`${new Date(ms).toISOString().slice(2, 19).replace(/[-:T]/g, '')}Z`));

/** BIT STRING of which the last `unused` bits do not count. */
const bits = (unused: number, ...bytes: number[]): Buffer => writeDer(0x03, Buffer.of(unused, ...bytes));

interface Subject {
  readonly name: string;
  readonly key: KeyObject;
  readonly extensions: readonly Buffer[];
}

/** What a certificate may be used for (RFC 5280 §4.2.1.12). Public authorities leave out clients. */
export type Usage = 'both' | 'servers';

export class Authority {
  readonly #name = 'Authority of the federation tests';
  readonly #key = newKey();
  /** In PEM. */
  readonly certificate: string;

  constructor() {
    const extensions = [
      extension(oid.basicConstraints, true, sequence(writeDer(0x01, Buffer.of(0xff)))),
      extension(oid.keyUsage, true, bits(1, 0x06)), // keyCertSign, cRLSign
    ];
    this.certificate = this.#signed({ name: this.#name, key: this.#key, extensions });
  }

  /** A certificate for the domains and a key of its own. */
  issue(domains: readonly string[], usage: Usage = 'both'): Pem {
    const key = newKey();
    const purposes = [writeOid(oid.serverAuth), ...(usage === 'both' ? [writeOid(oid.clientAuth)] : [])];
    const extensions = [
      extension(oid.subjectAltName, false, writeNames(domains, [])),
      extension(oid.basicConstraints, true, sequence()),
      extension(oid.keyUsage, true, bits(7, 0x80)), // digitalSignature
      extension(oid.extendedKeyUsage, false, sequence(...purposes)),
    ];
    return {
      certificate: this.#signed({ name: domains[0]!, key, extensions }),
      key: key.export({ type: 'pkcs8', format: 'pem' }).toString(),
    };
  }

  #signed({ name, key, extensions }: Subject): string {
    const algorithm = sequence(writeOid(oid.ecdsaWithSha256));
    const serial = randomBytes(16);
    serial[0] = (serial[0]! & 0x3f) | 0x40; // positive and of full length
    const now = Date.now();
    const body = sequence(
      writeDer(derTag.context(0), writeDer(0x02, Buffer.of(2))), // version 3
      writeDer(0x02, serial),
      algorithm,
      nameOf(this.#name),
      sequence(time(now - 3_600_000), time(now + 30 * 86_400_000)),
      nameOf(name),
      createPublicKey(key).export({ type: 'spki', format: 'der' }),
      writeDer(derTag.context(3), sequence(...extensions)),
    );
    const der = sequence(body, algorithm, bits(0, ...sign('sha256', body, this.#key)));
    return new X509Certificate(der).toString();
  }
}
