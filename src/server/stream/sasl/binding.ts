/** Channel bindings of a TLS connection: tls-exporter (RFC 9266) and tls-server-end-point (RFC 5929 §4). */
import { createHash, type X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import type { ChannelBindingType, SaslContext } from './mechanism.js';

/** The channel bindings of a stream. `channelBindingTypes`: the available ones, strongest first. */
export interface ChannelBindings extends Pick<SaslContext, 'channelBinding'> {
  readonly channelBindingTypes: readonly ChannelBindingType[];
}

export const noBindings: ChannelBindings = { channelBinding: () => undefined, channelBindingTypes: [] };

/**
 * The bindings of a connection after its handshake. `endPoint`: the hash (endPointHash) of our certificate on it.
 *
 * tls-exporter is available with TLS 1.3 only: older versions need the extended master secret (RFC 9266 §4.2), and Node
 * does not expose whether it was negotiated.
 */
export function tlsBindings(socket: TLSSocket, endPoint: Buffer | undefined): ChannelBindings {
  let exported: Buffer | undefined;
  const exports = socket.getProtocol() === 'TLSv1.3';
  return {
    channelBindingTypes: [
      ...(exports ? (['tls-exporter'] as const) : []),
      ...(endPoint !== undefined ? (['tls-server-end-point'] as const) : []),
    ],
    channelBinding: (type) => {
      if (type === 'tls-server-end-point') return endPoint;
      // RFC 9266 §2: 32 bytes, empty context. Not available once the socket is closed.
      if (exports && !socket.destroyed) {
        exported ??= socket.exportKeyingMaterial(32, 'EXPORTER-Channel-Binding', Buffer.alloc(0));
      }
      return exported;
    },
  };
}

/**
 * RFC 5929 §4.1: the certificate, hashed with the hash of its signature, but never MD5 or SHA-1. Returns undefined for
 * signatures without a separate hash (Ed25519), which have no such binding. Compute once per certificate.
 */
export function endPointHash(certificate: X509Certificate): Buffer | undefined {
  const der = certificate.raw;
  const hash = signatureHash(der);
  return hash === undefined ? undefined : createHash(hash).update(der).digest();
}

/** Object identifiers of signatures and hashes, in hexadecimal DER; MD5 and SHA-1 count as SHA-256 (RFC 5929 §4.1). */
const hashes: Readonly<Record<string, string>> = {
  '2a864886f70d010104': 'sha256', // md5WithRSAEncryption
  '2a864886f70d010105': 'sha256', // sha1WithRSAEncryption
  '2a864886f70d01010b': 'sha256',
  '2a864886f70d01010c': 'sha384',
  '2a864886f70d01010d': 'sha512',
  '2a864886f70d01010e': 'sha224',
  '2a8648ce3d0401': 'sha256', // ecdsa-with-SHA1
  '2a8648ce3d040301': 'sha224',
  '2a8648ce3d040302': 'sha256',
  '2a8648ce3d040303': 'sha384',
  '2a8648ce3d040304': 'sha512',
  '2b0e03021a': 'sha256', // SHA-1
  '608648016503040201': 'sha256',
  '608648016503040202': 'sha384',
  '608648016503040203': 'sha512',
  '608648016503040204': 'sha224',
};
const rsaPss = '2a864886f70d01010a';

/** The hash of `Certificate.signatureAlgorithm` (RFC 5280 §4.1.1.2), by OpenSSL's name. */
function signatureHash(der: Buffer): string | undefined {
  const [tbs, ...rest] = elements(elements(der)[0]?.content);
  const [oid, parameters] = tbs === undefined ? [] : elements(rest[0]?.content);
  const name = oid?.content.toString('hex');
  if (name === undefined) return undefined;
  if (name !== rsaPss) return hashes[name];
  // RFC 4055 §3.1: the hash is the parameter [0]; SHA-1 if omitted.
  const tagged = elements(parameters?.content).find(({ tag }) => tag === 0xa0);
  if (tagged === undefined) return 'sha256';
  const [hash] = elements(elements(tagged.content)[0]?.content);
  return hashes[hash?.content.toString('hex') ?? ''];
}

/** The DER elements in `bytes`. OpenSSL has parsed the certificate before, so it is well-formed. */
function elements(bytes: Buffer = Buffer.alloc(0)): { readonly tag: number; readonly content: Buffer }[] {
  const found: { tag: number; content: Buffer }[] = [];
  let at = 0;
  while (at + 2 <= bytes.length) {
    const tag = bytes[at]!;
    const short = bytes[at + 1]!;
    const lengthBytes = short < 0x80 ? 0 : short & 0x7f;
    if (lengthBytes > 4 || at + 2 + lengthBytes > bytes.length) break;
    const length = lengthBytes === 0 ? short : bytes.readUIntBE(at + 2, lengthBytes);
    const start = at + 2 + lengthBytes;
    found.push({ tag, content: bytes.subarray(start, start + length) });
    at = start + length;
  }
  return found;
}
