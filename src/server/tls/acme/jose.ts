/** Signed requests of ACME (RFC 8555 §6.2): JWS (RFC 7515) by an ECDSA key on P-256. */
import { createHash, createHmac, createPublicKey, type KeyObject, sign } from 'node:crypto';

export interface Jws {
  readonly protected: string;
  readonly payload: string;
  readonly signature: string;
}

/** The public half of the account's key, with its members in the order of RFC 7638 §3.2. */
export interface Jwk {
  readonly crv: string;
  readonly kty: string;
  readonly x: string;
  readonly y: string;
}

export const base64url = (value: string | Buffer): string => Buffer.from(value as string).toString('base64url');

export function jwkOf(key: KeyObject): Jwk {
  const { crv = '', kty = '', x = '', y = '' } = createPublicKey(key).export({ format: 'jwk' });
  return { crv, kty, x, y };
}

/** RFC 7638. */
export const thumbprint = (key: KeyObject): string =>
  createHash('sha256')
    .update(JSON.stringify(jwkOf(key)))
    .digest('base64url');

/** Without `payload` it is a POST-as-GET (RFC 8555 §6.3). */
export function signed(key: KeyObject, header: Readonly<Record<string, unknown>>, payload: unknown): Jws {
  const parts = partsOf({ alg: 'ES256', ...header }, payload);
  const signature = sign('sha256', Buffer.from(`${parts.protected}.${parts.payload}`), {
    key,
    dsaEncoding: 'ieee-p1363', // RFC 7518 §3.4
  });
  return { ...parts, signature: base64url(signature) };
}

/** RFC 8555 §7.3.4: the account's key, authenticated by a key that the authority gave out beforehand. */
export function boundKey(account: KeyObject, keyId: string, secret: string, url: string): Jws {
  const parts = partsOf({ alg: 'HS256', kid: keyId, url }, jwkOf(account));
  const mac = createHmac('sha256', Buffer.from(secret, 'base64url')).update(`${parts.protected}.${parts.payload}`);
  return { ...parts, signature: mac.digest('base64url') };
}

function partsOf(header: Readonly<Record<string, unknown>>, payload: unknown): Omit<Jws, 'signature'> {
  return {
    protected: base64url(JSON.stringify(header)),
    payload: payload === undefined ? '' : base64url(JSON.stringify(payload)),
  };
}
