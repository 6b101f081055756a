/** Reports the certificate of another server to administrators: its contents, and failed checks. */
import type { X509Certificate } from 'node:crypto';
import { verifyErrorOf } from '../transport/tls.js';
import type { Transport } from '../transport/transport.js';
import { type CertificateNames, coversServer } from './names.js';
import { peerCertificate } from './server.js';

export interface PeerCertificate {
  readonly subject: string;
  readonly issuer: string;
  /** Domains, XMPP addresses and services that it names. */
  readonly names: readonly string[];
  /** ISO 8601. */
  readonly notBefore: string;
  readonly notAfter: string;
  /** The checks that fail. */
  readonly problems: readonly CertificateProblem[];
}

export interface CertificateProblem {
  readonly check: 'time' | 'name' | 'authority';
  /** Completes a sentence that begins with "the certificate". */
  readonly what: string;
}

/** Names that are listed. */
const mostNames = 50;

/** Returns undefined if the peer has no certificate. `now` is in ms since 1970. */
export function inspectPeer({ tls }: Transport, domain: string, now: number): PeerCertificate | undefined {
  const peer = tls && peerCertificate(tls);
  if (tls === undefined || peer === undefined) return undefined;
  const { certificate, names } = peer;
  const [from, to] = [Date.parse(certificate.validFrom), Date.parse(certificate.validTo)];
  const expired: CertificateProblem[] = to < now ? [{ check: 'time', what: `expired on ${dateOf(to)}` }] : [];
  const early: CertificateProblem[] =
    from > now ? [{ check: 'time', what: `is not valid before ${dateOf(from)}` }] : [];
  const all = listed(names);
  const wrongName: CertificateProblem[] = coversServer(names, domain)
    ? []
    : [{ check: 'name', what: `is not for ${domain}, only for ${all.slice(0, 5).join(', ') || 'no domain at all'}` }];
  return {
    subject: oneLine(certificate.subject),
    issuer: oneLine(certificate.issuer),
    names: all.slice(0, mostNames),
    notBefore: new Date(from).toISOString(),
    notAfter: new Date(to).toISOString(),
    problems: [
      ...expired,
      ...early,
      ...wrongName,
      ...chainProblem(certificate, verifyErrorOf(tls), to < now || from > now),
    ],
  };
}

/** Explains what OpenSSL found; it reports one problem only. */
function chainProblem(
  certificate: X509Certificate,
  code: string | undefined,
  isOutOfTime: boolean,
): CertificateProblem[] {
  const authority = (what: string): CertificateProblem[] => [{ check: 'authority', what }];
  switch (code) {
    case undefined:
      return [];
    case 'DEPTH_ZERO_SELF_SIGNED_CERT':
      return authority('is self-signed');
    case 'SELF_SIGNED_CERT_IN_CHAIN':
      return authority('is of an authority that this server does not trust');
    case 'UNABLE_TO_GET_ISSUER_CERT':
    case 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY':
    case 'UNABLE_TO_VERIFY_LEAF_SIGNATURE':
      return authority(
        `is issued by ${oneLine(certificate.issuer)}, which this server does not know; the intermediate certificates may be missing`,
      );
    case 'CERT_HAS_EXPIRED':
    case 'CERT_NOT_YET_VALID':
      // Of the certificate itself this is reported already, and hides what else is wrong with the chain.
      return isOutOfTime ? [] : authority('has an expired certificate in its chain');
    default:
      return authority(`was not accepted (${code})`);
  }
}

const listed = ({ dns, xmppAddr, srv }: CertificateNames): string[] => [...new Set([...dns, ...xmppAddr, ...srv])];
const oneLine = (name: string | undefined): string => (name ?? '').split('\n').join(', ');
const dateOf = (ms: number): string => new Date(ms).toISOString().slice(0, 10);
