/** When a certificate is renewed, and when a failed order is repeated. */
import { createHash, type X509Certificate } from 'node:crypto';
import { derTag, readDer, readOne } from '../der.js';
import { extensions } from '../names.js';

const minute = 60_000;
const day = 86_400_000;

/** The first pause after a failure. Let's Encrypt allows five failed validations of a domain an hour. */
const firstPause = 15 * minute;
const longestUsual = day;
/** What an authority may ask for. */
const longestAsked = 7 * day;
const spread = 1 / 4;
export const longestPause = longestAsked * (1 + spread);

/** Where in its window a certificate is renewed, from 0 to 1: the same at each start, and spread over all servers. */
function share({ raw }: X509Certificate): number {
  return createHash('sha256').update(raw).digest().readUInt32BE(0) / 2 ** 32;
}

/**
 * In ms since 1970: in the authority's window (RFC 9773 §4.2), or after two thirds of its life and up to a thirtieth
 * more. Not in its first day, or in the first tenth of a shorter life: an authority with a wrong clock must not have
 * certificates ordered without end.
 */
export function renewalTime(
  certificate: X509Certificate,
  window?: { readonly start: number; readonly end: number },
): number {
  const [from, to] = [Date.parse(certificate.validFrom), Date.parse(certificate.validTo)];
  if (window === undefined) return from + (to - from) * (2 / 3 + share(certificate) / 30);
  const earliest = from + Math.min(day, (to - from) / 10);
  return Math.max(earliest, window.start + share(certificate) * (window.end - window.start));
}

/** Ms until the next attempt after so many failures in a row. `asked`: seconds that the authority asked for. */
export function pauseAfter(failures: number, asked = 0, random = Math.random()): number {
  const usual = Math.min(longestUsual, firstPause * 2 ** Math.min(failures - 1, 20));
  return Math.max(usual, Math.min(asked * 1000, longestAsked)) * (1 + random * spread);
}

/** RFC 9773 §4.1. Returns undefined for a certificate without a key identifier of its issuer. */
export function certificateId({ raw }: X509Certificate): string | undefined {
  const issuer = extensions(raw).find(({ oid }) => oid === '2.5.29.35'); // authorityKeyIdentifier
  if (issuer === undefined) return undefined;
  const key = readDer(readOne(issuer.value, derTag.sequence)).find(({ tag }) => tag === derTag.implicit(0));
  const [tbs] = readDer(readOne(raw, derTag.sequence));
  const serial = readDer(tbs!.content).find(({ tag }) => tag === 0x02); // the first INTEGER
  if (key === undefined || serial === undefined) return undefined;
  return `${key.content.toString('base64url')}.${serial.content.toString('base64url')}`;
}
