/**
 * Self-signed certificates (RFC 5280) for hosts without another, so that a new server offers TLS at once. All have the
 * same fixed structure, written as DER.
 */

import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
  X509Certificate,
} from 'node:crypto';
import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { wall } from '../clock.js';
import { derTag, writeDer, writeOid } from './der.js';
import { readIfExists, writeWhole } from './files.js';
import { coversDomain, writeNames, xmppAddresses } from './names.js';

/**
 * Apple's systems refuse a certificate with a longer validity, even if the user trusts it. Renewal keeps the key, so
 * clients that pin the key do not notice it.
 */
const validDays = 825;

/** A certificate is renewed if it expires within this time. */
const renewDays = 30;

const day = 86_400_000;

export interface Pem {
  readonly certificate: string;
  readonly key: string;
}

/** ECDSA on P-256: supported by all clients, and a fraction of the handshake cost of RSA. */
export function newKey(): KeyObject {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
}

/**
 * Creates a certificate for the host and its other domains, as domains and as XMPP addresses. `now` in ms since 1970.
 */
export function makeSelfSigned(domains: readonly string[], key = newKey(), now = wall()): Pem {
  return certify(domains, key, now, [subjectAltName(domains, domains), ...usages()]);
}

/** RFC 8737 §3: the certificate that answers a challenge: for one domain, with the digest of the key authorization. */
export function makeChallengeCertificate(domain: string, digest: Buffer): Pem {
  const identifier = writeDer(derTag.octetString, digest);
  return certify([domain], newKey(), wall(), [
    subjectAltName([domain], []),
    extension('1.3.6.1.5.5.7.1.31', true, identifier), // acmeIdentifier
  ]);
}

function certify(domains: readonly string[], key: KeyObject, now: number, extensions: readonly Buffer[]): Pem {
  const algorithm = writeDer(derTag.sequence, writeOid('1.2.840.10045.4.3.2')); // ecdsa-with-SHA256
  const name = distinguishedName(domains[0] ?? '');
  const from = now - 3_600_000; // clients' clocks may be slow
  const body = writeDer(
    derTag.sequence,
    writeDer(derTag.context(0), writeDer(0x02, Buffer.of(2))), // version 3
    writeDer(0x02, serialNumber()),
    algorithm,
    name,
    writeDer(derTag.sequence, time(from), time(from + validDays * day - 1000)),
    name,
    createPublicKey(key).export({ type: 'spki', format: 'der' }),
    writeDer(derTag.context(3), writeDer(derTag.sequence, ...extensions)),
  );
  const signature = sign('sha256', body, key);
  const der = writeDer(derTag.sequence, body, algorithm, writeDer(0x03, Buffer.of(0), signature));
  return {
    certificate: new X509Certificate(der).toString(),
    key: key.export({ type: 'pkcs8', format: 'pem' }).toString(),
  };
}

/** Where a certificate and its key are. */
export interface PairFiles {
  readonly certificate: string;
  readonly key: string;
}

/** Returns the default files of a host's certificate. */
export function filesOf(folder: string, host: string): PairFiles {
  return { certificate: join(folder, `${host}.crt`), key: join(folder, `${host}.key`) };
}

/** The folder of the certificates that the server makes or orders itself. */
export const certificatesIn = (data: string): string => join(data, 'certs');

/** A new key, from before its certificate is written until it takes the place of the old key. */
export const nextKeyOf = (key: string): string => `${key}.next`;

/**
 * Replaces a certificate, and its key if that is another one. The new key waits for `settleKey`: after a crash between the
 * two files the old certificate has its key.
 */
export async function writePair(files: PairFiles, { certificate, key }: Pem): Promise<void> {
  if ((await readIfExists(files.key)) !== key) await writeWhole(nextKeyOf(files.key), key);
  await writeWhole(files.certificate, certificate);
}

/** Puts a new key in its place if the certificate is for it: also after a crash between the two. */
export async function settleKey({ certificate, key }: PairFiles): Promise<void> {
  const [chain, next] = await Promise.all([readIfExists(certificate), readIfExists(nextKeyOf(key))]);
  if (chain === undefined || next === undefined) return;
  if (parse(chain)?.checkPrivateKey(createPrivateKey(next)) === true) await rename(nextKeyOf(key), key);
}

/**
 * Ensures that the folder has a certificate for the domains, the host first. Creates one if there is none, and renews
 * our own with the same key if it expires soon or lacks a domain; files of other origin are left alone. Returns whether
 * it created one. Rejects with file system errors.
 */
export async function ensureSelfSigned(folder: string, domains: readonly string[], now = wall()): Promise<boolean> {
  const files = filesOf(folder, domains[0]!);
  const [certificate, key] = await Promise.all([readIfExists(files.certificate), readIfExists(files.key)]);
  if (certificate !== undefined && !isDue(certificate, domains, now)) return false;
  const made = makeSelfSigned(domains, key === undefined ? newKey() : createPrivateKey(key), now);
  if (key === undefined) await writeWhole(files.key, made.key);
  // Another program may have written one meanwhile.
  if ((await readIfExists(files.certificate)) !== certificate) return false;
  await writeWhole(files.certificate, made.certificate);
  return true;
}

/** Whether it is our own certificate and needs renewal. */
function isDue(pem: string, domains: readonly string[], now: number): boolean {
  const certificate = parse(pem);
  if (certificate === undefined || !isSelfSigned(certificate)) return false;
  const names = xmppAddresses(certificate.raw);
  return (
    Date.parse(certificate.validTo) - now < renewDays * day || !domains.every((domain) => coversDomain(names, domain))
  );
}

function parse(pem: string): X509Certificate | undefined {
  try {
    return new X509Certificate(pem);
  } catch {
    return undefined;
  }
}

export function isSelfSigned(certificate: X509Certificate): boolean {
  return certificate.subject === certificate.issuer && certificate.verify(certificate.publicKey);
}

/** What the key of a server is for. */
const usages = (): readonly Buffer[] => [
  extension('2.5.29.19', true, writeDer(derTag.sequence)), // basicConstraints: not a CA
  extension('2.5.29.15', true, writeDer(0x03, Buffer.of(7, 0x80))), // keyUsage: digitalSignature
  // extKeyUsage: serverAuth, and clientAuth for connections to other servers
  extension(
    '2.5.29.37',
    false,
    writeDer(derTag.sequence, writeOid('1.3.6.1.5.5.7.3.1'), writeOid('1.3.6.1.5.5.7.3.2')),
  ),
];

/** Names of a certificate: domains, and XMPP addresses. */
export const subjectAltName = (domains: readonly string[], addresses: readonly string[]): Buffer =>
  extension('2.5.29.17', false, writeNames(domains, addresses));

function extension(oid: string, isCritical: boolean, value: Buffer): Buffer {
  const critical = isCritical ? [writeDer(0x01, Buffer.of(0xff))] : [];
  return writeDer(derTag.sequence, writeOid(oid), ...critical, writeDer(derTag.octetString, value));
}

/** RFC 5280 §4.1.2.2: positive, unique, at most 20 octets. */
function serialNumber(): Buffer {
  const bytes = randomBytes(16);
  bytes[0] = (bytes[0]! & 0x3f) | 0x40;
  return bytes;
}

/** Only a common name, for display: clients read the subjectAltName. At most 64 characters (X.520). */
function distinguishedName(text: string): Buffer {
  const value = writeDer(derTag.utf8String, Buffer.from([...text].slice(0, 64).join('')));
  return writeDer(derTag.sequence, writeDer(0x31, writeDer(derTag.sequence, writeOid('2.5.4.3'), value)));
}

/** RFC 5280 §4.1.2.5: UTCTime until 2049, then GeneralizedTime. */
function time(ms: number): Buffer {
  const text = `${new Date(ms).toISOString().slice(0, 19).replace(/[-:T]/g, '')}Z`;
  return text < '2050' ? writeDer(0x17, Buffer.from(text.slice(2))) : writeDer(0x18, Buffer.from(text));
}
