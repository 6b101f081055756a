/** Signatures by which services of others know who asks: JWS (RFC 7515) and JWT (RFC 7519). */
import { type KeyObject, sign } from 'node:crypto';

export interface Jws {
  readonly protected: string;
  readonly payload: string;
  readonly signature: string;
}

type Members = Readonly<Record<string, unknown>>;

const encoded = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');

/** What is signed. Without a payload it is empty. */
export const unsigned = (header: Members, payload: unknown): Omit<Jws, 'signature'> => ({
  protected: encoded(header),
  payload: payload === undefined ? '' : encoded(payload),
});

/** ES256 for a key on P-256, RS256 for one of RSA (RFC 7518 §3). */
export function signed(key: KeyObject, header: Members, payload: unknown): Jws {
  const alg = key.asymmetricKeyType === 'rsa' ? 'RS256' : 'ES256';
  const parts = unsigned({ alg, ...header }, payload);
  const text = Buffer.from(`${parts.protected}.${parts.payload}`);
  // RFC 7518 §3.4
  return { ...parts, signature: sign('sha256', text, { key, dsaEncoding: 'ieee-p1363' }).toString('base64url') };
}

export function jwt(key: KeyObject, header: Members, claims: Members): string {
  const { protected: head, payload, signature } = signed(key, { typ: 'JWT', ...header }, claims);
  return `${head}.${payload}.${signature}`;
}
