/** RFC 8292: Voluntary Application Server Identification (VAPID) for Web Push. */
import { createECDH, createPrivateKey, type KeyObject, randomBytes } from 'node:crypto';
import { z } from 'zod';
import { wall } from '../../server/clock.js';
import { jwt } from '../../server/outbound/jws.js';
import { Recent } from '../../storage/recent.js';

/** The keys of the gateway, made at its first start. Base64url. */
export interface StoredKeys {
  readonly privateKey: string;
  readonly publicKey: string;
  /** The key of the names of nodes. */
  readonly nodes: string;
}

const bytes = (length: number) => z.string().refine((text) => Buffer.from(text, 'base64url').length === length);
export const storedKeys = z.object({ privateKey: bytes(32), publicKey: bytes(65), nodes: bytes(32) });

export function newKeys(): StoredKeys {
  const ecdh = createECDH('prime256v1');
  ecdh.generateKeys();
  // It has no leading zeros.
  const privateKey = Buffer.concat([Buffer.alloc(32), ecdh.getPrivateKey()]).subarray(-32);
  return {
    privateKey: privateKey.toString('base64url'),
    publicKey: ecdh.getPublicKey('base64url'),
    nodes: randomBytes(32).toString('base64url'),
  };
}

/** §2: at most 24 hours. In ms. */
const validMs = 12 * 3_600_000;
const renewMs = 6 * 3_600_000;
const remembered = 1000;

export class Vapid {
  readonly #key: KeyObject;
  readonly #tokens = new Recent<{ readonly at: number; readonly token: string }>(remembered);

  constructor(
    readonly keys: StoredKeys,
    /** Where the operators of services can reach ours: a mailto: or https: address. */
    readonly contact: string,
  ) {
    const point = Buffer.from(keys.publicKey, 'base64url');
    this.#key = createPrivateKey({
      format: 'jwk',
      key: {
        kty: 'EC',
        crv: 'P-256',
        d: keys.privateKey,
        x: point.subarray(1, 33).toString('base64url'),
        y: point.subarray(33).toString('base64url'),
      },
    });
  }

  /** The Authorization header for a server (§3). A token is used for some hours. */
  header(origin: string): string {
    const now = wall();
    const known = this.#tokens.get(origin);
    const isUsable = known !== undefined && Math.abs(now - known.at) < renewMs;
    const token = isUsable ? known.token : this.#token(origin, now);
    if (!isUsable) this.#tokens.set(origin, { at: now, token });
    return `vapid t=${token}, k=${this.keys.publicKey}`;
  }

  #token(aud: string, now: number): string {
    return jwt(this.#key, {}, { aud, exp: Math.floor((now + validMs) / 1000), sub: this.contact });
  }
}
