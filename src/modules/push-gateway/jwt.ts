/** RFC 7519: signed tokens by which push services know who sends. */
import { type KeyObject, sign } from 'node:crypto';

const encoded = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');

/** ES256 for a key on P-256, RS256 for one of RSA (RFC 7518 §3). */
export function jwt(key: KeyObject, header: object, claims: object): string {
  const alg = key.asymmetricKeyType === 'rsa' ? 'RS256' : 'ES256';
  const text = `${encoded({ typ: 'JWT', alg, ...header })}.${encoded(claims)}`;
  const signature = sign('sha256', Buffer.from(text), { key, dsaEncoding: 'ieee-p1363' });
  return `${text}.${signature.toString('base64url')}`;
}
