/**
 * How nodes prove to each other that they belong to the cluster: by a secret that all of them know, or by certificates of
 * an authority that signs for nobody else. A secret is the pre-shared key of TLS 1.3 (RFC 8446 §4.2.11), with a
 * Diffie-Hellman exchange: both sides prove it in the handshake, and who learns it later reads nothing recorded before.
 */
import { createHash, hkdfSync } from 'node:crypto';
import type { ConnectionOptions, TLSSocket, TlsOptions } from 'node:tls';

/** `secrets`: the first is used to connect, all are accepted, so that a secret can be replaced node by node. */
export type Proof =
  | { readonly secrets: readonly string[] }
  | {
      /** PEM. `authorities`: of the other nodes' certificates. */
      readonly certificate: string;
      readonly key: string;
      readonly authorities: string;
    };

/** Characters of a secret. A shorter one could be guessed from one recorded handshake. */
export const shortestSecret = 32;

const common = { minVersion: 'TLSv1.3', maxVersion: 'TLSv1.3' } as const;

interface Key {
  /** Tells a node with another secret from one that is no node. */
  readonly identity: string;
  readonly psk: Buffer;
}

function keyOf(secret: string): Key {
  if (secret.length < shortestSecret)
    throw new RangeError(`the secret of a cluster has at least ${shortestSecret} characters`);
  const psk = Buffer.from(hkdfSync('sha256', secret, '', 'waxwing links between nodes', 32));
  const identity = `waxwing ${createHash('sha256').update(psk).digest('hex').slice(0, 16)}`;
  return { identity, psk };
}

export interface ProofOptions {
  readonly accepting: TlsOptions;
  readonly dialling: ConnectionOptions;
  /** Why the other side of an accepted connection is not of the cluster, if so. */
  refusal(socket: TLSSocket): string | undefined;
}

/** TLS options of both ends. Throws RangeError if a secret is too short. */
export function tlsOf(proof: Proof): ProofOptions {
  if ('secrets' in proof) {
    const keys = proof.secrets.map(keyOf);
    const [first] = keys;
    if (first === undefined) throw new RangeError('a cluster needs a secret');
    // A pre-shared key of 256 bits goes with the suites of SHA-256 (RFC 8446 §4.2.11).
    const suites = { ...common, ciphers: 'TLS_AES_128_GCM_SHA256' };
    return {
      accepting: {
        ...suites,
        pskCallback: (_, identity) => keys.find((key) => key.identity === identity)?.psk ?? null,
      },
      dialling: {
        ...suites,
        pskCallback: () => first,
        // Called only if the other side has a certificate instead of the secret.
        checkServerIdentity: () => new Error('the other side does not prove the secret of the cluster'),
      },
      // Without a certificate of its own it completes no handshake but with the secret.
      refusal: () => undefined,
    };
  }
  const { certificate: cert, key, authorities: ca } = proof;
  const pem = { ...common, cert, key, ca };
  return {
    // Refused by `refusal`, so that it can be reported.
    accepting: { ...pem, requestCert: true, rejectUnauthorized: false },
    dialling: { ...pem, rejectUnauthorized: true },
    refusal: ({ authorized, authorizationError }) =>
      authorized ? undefined : `without a certificate of the cluster (${authorizationError})`,
  };
}
