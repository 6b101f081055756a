/** Properties of a TLS connection with another server. */
import type { X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import { isVerified } from '../transport/tls.js';
import type { Transport } from '../transport/transport.js';
import { type CertificateNames, coversServer, xmppAddresses } from './names.js';

/** Read once for each: on the side that opened it, Node hands out the certificate of a connection only once. */
const known = new WeakMap<TLSSocket, CertificateNames>();

/**
 * Whether the peer proved a domain by its certificate (RFC 6120 §13.7.1.2): within its time, for the domain, its chain
 * ending in an authority that is trusted. A certificate that is for servers alone (extended key usage) proves nothing
 * about who opened a connection, since OpenSSL asks one for clients there: dialback does that.
 */
export function certifiesServer(transport: Transport, domain: string): boolean {
  const names = verifiedNames(transport);
  return names !== undefined && coversServer(names, domain);
}

/** The names in the peer's certificate. Returns undefined if it is not verified, or there is none. */
export function verifiedNames({ tls, relayedPeer }: Transport): CertificateNames | undefined {
  if (relayedPeer !== undefined) return relayedPeer.names;
  if (tls === undefined || !isVerified(tls)) return undefined;
  return known.get(tls) ?? peerCertificate(tls)?.names;
}

/**
 * The peer's certificate, verified or not. Returns undefined if there is none. To be called at most once for each
 * connection, and before `certifiesServer`.
 */
export function peerCertificate(
  tls: TLSSocket,
): { readonly certificate: X509Certificate; readonly names: CertificateNames } | undefined {
  const certificate = tls.getPeerX509Certificate();
  if (certificate === undefined) return undefined;
  const names = xmppAddresses(certificate.raw);
  known.set(tls, names);
  return { certificate, names };
}
