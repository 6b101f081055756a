/** An authority of the tests: certificates that are signed by another than themselves (RFC 5280). */
import { createPublicKey, generateKeyPairSync, type KeyObject, randomBytes, sign, X509Certificate } from 'node:crypto';
import { derTag, writeDer, writeOid } from '../src/server/tls/der.js';
import { writeNames } from '../src/server/tls/names.js';
import type { Pem } from '../src/server/tls/self-signed.js';

const day = 86_400_000;
const ecdsaWithSha256 = writeDer(derTag.sequence, writeOid('1.2.840.10045.4.3.2'));

export class CertificateAuthority {
  readonly #key = newKey();
  readonly #name: Buffer;
  /** Its own certificate. */
  readonly pem: Pem;

  constructor(name: string) {
    this.#name = distinguishedName(name);
    const extensions = [extension('2.5.29.19', writeDer(derTag.sequence, writeDer(0x01, Buffer.of(0xff))))];
    const certificate = this.#sign(this.#name, createPublicKey(this.#key), extensions, Date.now());
    this.pem = { certificate, key: pemOf(this.#key) };
  }

  /** A certificate for domains, for both sides of a connection. Valid for 90 days from `from` on, in ms since 1970. */
  issues(domains: readonly string[], from = Date.now() - day): Pem {
    const key = newKey();
    return { certificate: this.certifies(domains, createPublicKey(key), from), key: pemOf(key) };
  }

  /** The same for the key of another, in PEM. */
  certifies(domains: readonly string[], key: KeyObject, from = Date.now() - day): string {
    const usages = writeDer(derTag.sequence, writeOid('1.3.6.1.5.5.7.3.1'), writeOid('1.3.6.1.5.5.7.3.2'));
    const extensions = [extension('2.5.29.17', writeNames(domains, [])), extension('2.5.29.37', usages)];
    return this.#sign(distinguishedName(domains[0]!), key, extensions, from);
  }

  #sign(subject: Buffer, key: KeyObject, extensions: readonly Buffer[], from: number): string {
    const body = writeDer(
      derTag.sequence,
      writeDer(derTag.context(0), writeDer(0x02, Buffer.of(2))),
      writeDer(0x02, Buffer.concat([Buffer.of(1), randomBytes(15)])),
      ecdsaWithSha256,
      this.#name,
      writeDer(derTag.sequence, time(from), time(from + 90 * day)),
      subject,
      key.export({ type: 'spki', format: 'der' }),
      writeDer(derTag.context(3), writeDer(derTag.sequence, ...extensions)),
    );
    const signature = writeDer(0x03, Buffer.of(0), sign('sha256', body, this.#key));
    return new X509Certificate(writeDer(derTag.sequence, body, ecdsaWithSha256, signature)).toString();
  }
}

const newKey = (): KeyObject => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;

const pemOf = (key: KeyObject): string => key.export({ type: 'pkcs8', format: 'pem' }).toString();

const extension = (oid: string, value: Buffer): Buffer =>
  writeDer(derTag.sequence, writeOid(oid), writeDer(derTag.octetString, value));

function distinguishedName(text: string): Buffer {
  const name = writeDer(derTag.sequence, writeOid('2.5.4.3'), writeDer(derTag.utf8String, Buffer.from(text)));
  return writeDer(derTag.sequence, writeDer(0x31, name));
}

/** UTCTime: until 2049. */
function time(ms: number): Buffer {
  return writeDer(0x17, Buffer.from(`${new Date(ms).toISOString().slice(2, 19).replace(/[-:T]/g, '')}Z`));
}
