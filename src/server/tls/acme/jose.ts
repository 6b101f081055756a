/** The keys of ACME accounts (RFC 8555 §6.2): ECDSA on P-256. */
import { createHash, createHmac, createPublicKey, type KeyObject } from 'node:crypto';
import { type Jws, unsigned } from '../../outbound/jws.js';

/** The public half of the account's key, with its members in the order of RFC 7638 §3.2. */
export interface Jwk {
  readonly crv: string;
  readonly kty: string;
  readonly x: string;
  readonly y: string;
}

export function jwkOf(key: KeyObject): Jwk {
  const { crv = '', kty = '', x = '', y = '' } = createPublicKey(key).export({ format: 'jwk' });
  return { crv, kty, x, y };
}

/** RFC 7638. */
export const thumbprint = (key: KeyObject): string =>
  createHash('sha256')
    .update(JSON.stringify(jwkOf(key)))
    .digest('base64url');

/** RFC 8555 §7.3.4: the account's key, authenticated by a key that the authority gave out beforehand. */
export function boundKey(account: KeyObject, keyId: string, secret: string, url: string): Jws {
  const parts = unsigned({ alg: 'HS256', kid: keyId, url }, jwkOf(account));
  const mac = createHmac('sha256', Buffer.from(secret, 'base64url')).update(`${parts.protected}.${parts.payload}`);
  return { ...parts, signature: mac.digest('base64url') };
}
