/**
 * The names in a certificate (RFC 5280 §4.2.1.6, RFC 6120 §13.7.1, RFC 9525). They are read from its structure, never
 * from a textual form that a name could imitate.
 */
import { isIP } from 'node:net';
import { domainToASCII } from 'node:url';
import { DerError, derTag, readDer, readOid, readOne, writeDer, writeOid } from './der.js';

/** RFC 6120 §13.7.1.4: a JID in a certificate. */
const xmppAddr = '1.3.6.1.5.5.7.8.5';
/** RFC 4985 §2: a service of a domain. */
const dnsSrv = '1.3.6.1.5.5.7.8.7';
const subjectAltName = '2.5.29.17';

export interface CertificateNames {
  /** id-on-xmppAddr: JIDs of users and servers, as in the certificate. */
  readonly xmppAddr: readonly string[];
  /** dNSName: domains as A-labels, possibly with a wildcard. */
  readonly dns: readonly string[];
  /** SRVName: services of domains, `_service.domain` with A-labels. */
  readonly srv: readonly string[];
}

const noNames: CertificateNames = { xmppAddr: [], dns: [], srv: [] };

/** Reads the names in the subjectAltName of a DER certificate. An unreadable certificate has no names. */
export function xmppAddresses(certificate: Buffer): CertificateNames {
  try {
    const found = extensions(certificate).filter(({ oid }) => oid === subjectAltName);
    // RFC 5280 §4.2: no duplicate extensions
    return found.length === 1 ? readNames(found[0]!.value) : noNames;
  } catch (error) {
    if (error instanceof DerError || error instanceof TypeError) return noNames;
    throw error;
  }
}

function readNames(extension: Buffer): CertificateNames {
  const names = { xmppAddr: [] as string[], dns: [] as string[], srv: [] as string[] };
  for (const { tag, content } of readDer(readOne(extension, derTag.sequence))) {
    if (tag === derTag.implicit(2)) {
      names.dns.push(readIa5(content));
    } else if (tag === derTag.context(0)) {
      const [type, value] = readDer(content);
      if (type?.tag !== derTag.oid || value?.tag !== derTag.context(0)) throw new DerError('invalid otherName');
      const oid = readOid(type.content);
      if (oid === xmppAddr) names.xmppAddr.push(readUtf8(readOne(value.content, derTag.utf8String)));
      else if (oid === dnsSrv) names.srv.push(readIa5(readOne(value.content, derTag.ia5String)));
    }
  }
  return names;
}

/** Refuses a NUL, at which another parser might end the name. */
function readIa5(content: Buffer): string {
  if (!content.every((byte) => byte > 0x20 && byte < 0x7f)) throw new DerError('invalid domain name');
  return content.toString('latin1');
}

/** Throws TypeError for invalid UTF-8. */
function readUtf8(content: Buffer): string {
  const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(content);
  if (text.includes('\0')) throw new DerError('a name contains NUL');
  return text;
}

/** Throws DerError if the certificate cannot be read. */
export function extensions(certificate: Buffer): { readonly oid: string; readonly value: Buffer }[] {
  // Certificate ::= SEQUENCE { tbsCertificate, … }, TBSCertificate ::= SEQUENCE { …, extensions [3] }
  const tbs = readDer(readOne(certificate, derTag.sequence))[0];
  if (tbs?.tag !== derTag.sequence) throw new DerError('not a certificate');
  const list = readDer(tbs.content).filter(({ tag }) => tag === derTag.context(3));
  if (list.length === 0) return [];
  return readDer(readOne(list[0]!.content, derTag.sequence)).map((extension) => {
    const parts = readDer(extension.content);
    const value = parts.at(-1); // an optional critical flag may come between
    if (parts[0]?.tag !== derTag.oid || value?.tag !== derTag.octetString) throw new DerError('invalid extension');
    return { oid: readOid(parts[0].content), value: value.content };
  });
}

/** Builds the subjectAltName of a self-signed certificate: domains, and XMPP addresses. */
export function writeNames(domains: readonly string[], addresses: readonly string[]): Buffer {
  return writeDer(
    derTag.sequence,
    ...domains.map((domain) => writeDer(derTag.implicit(2), Buffer.from(domainToASCII(domain), 'latin1'))),
    ...addresses.map((address) =>
      writeDer(
        derTag.context(0),
        writeOid(xmppAddr),
        writeDer(derTag.context(0), writeDer(derTag.utf8String, Buffer.from(address))),
      ),
    ),
  );
}

/**
 * Whether the names prove the domain (RFC 6125 §6.4: a wildcard matches one whole label, and never a top-level domain).
 */
export function coversDomain(names: CertificateNames, domain: string): boolean {
  if (names.xmppAddr.includes(domain)) return true;
  const wanted = domainToASCII(domain);
  // RFC 9525 §6.3: a dNSName does not match an IP address.
  if (wanted === '' || isIP(wanted) !== 0) return false;
  const parent = wanted.slice(wanted.indexOf('.') + 1);
  return names.dns.some((name) => {
    const plain = name.toLowerCase();
    return plain === wanted || (plain.startsWith('*.') && parent.includes('.') && plain.slice(2) === parent);
  });
}

/**
 * Whether the names prove the domain for server-to-server streams (RFC 6120 §13.7.1.2): as a domain, or for that
 * service only.
 */
export function coversServer(names: CertificateNames, domain: string): boolean {
  if (coversDomain(names, domain)) return true;
  const ascii = domainToASCII(domain);
  // The address may contain A-labels or capitals.
  if (ascii !== '' && names.xmppAddr.some((address) => domainToASCII(address) === ascii)) return true;
  return ascii !== '' && names.srv.some((name) => name.toLowerCase() === `_xmpp-server.${ascii}`);
}
