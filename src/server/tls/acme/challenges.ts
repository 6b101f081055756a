/**
 * Proofs that a domain leads to this server (RFC 8555 §8, RFC 8737): by HTTP on port 80, by TLS on port 443, or by a DNS
 * record that a program of the administrator sets. Only tokens of open orders are answered.
 */
import { createHash } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { createSecureContext, type SecureContext } from 'node:tls';
import { isDeepStrictEqual } from 'node:util';
import type { Hello } from '../../transport/client-hello.js';
import { makeChallengeCertificate } from '../self-signed.js';
import type { ChallengeType } from './protocol.js';

/** RFC 8737 §4. */
export const acmeProtocol = 'acme-tls/1';

export interface Proof {
  /** The domain as A-labels, without a wildcard. */
  readonly domain: string;
  readonly token: string;
  /** RFC 8555 §8.1. */
  readonly keyAuthorization: string;
}

/** The proofs that an order of a host needs at present. */
export interface ShownProofs {
  readonly type?: ChallengeType | undefined;
  readonly proofs: readonly Proof[];
}

/** How one type of challenge is answered. */
export interface Responder {
  readonly type: ChallengeType;
  /** Resolves once the authority may look. */
  prepare(proofs: readonly Proof[]): Promise<void>;
  withdraw(proofs: readonly Proof[]): Promise<void>;
}

/** An answer of the HTTP server. */
export interface ProofAnswer {
  readonly headers: { readonly 'content-type': string };
  readonly body: string;
}

export interface DnsOptions {
  readonly hook: readonly string[];
  readonly hookSeconds: number;
  readonly waitSeconds: number;
  readonly signal: AbortSignal;
}

const prefix = '/.well-known/acme-challenge/';

const digestOf = (proof: Proof): Buffer => createHash('sha256').update(proof.keyAuthorization).digest();

export class Challenges {
  /** By token. */
  readonly #answers = new Map<string, string>();
  /** By domain: its authority asks for one at a time. */
  readonly #contexts = new Map<string, SecureContext>();
  /** By host: of orders that any node of the cluster has open. */
  readonly #shown = new Map<string, ShownProofs>();

  /** RFC 8555 §8.3. Returns undefined for other requests and for unknown tokens. */
  answer(method: string | undefined, path: string): ProofAnswer | undefined {
    if (this.#answers.size === 0 || !path.startsWith(prefix)) return undefined;
    const found = this.#answers.get(path.slice(prefix.length));
    if (found === undefined || (method !== 'GET' && method !== 'HEAD')) return undefined;
    return { headers: { 'content-type': 'application/octet-stream' }, body: found };
  }

  /** RFC 8737 §3: the certificate for a validation connection. Returns undefined for other connections. */
  contextFor(hello: Hello): SecureContext | undefined {
    if (hello === 'unreadable' || hello.isAcme !== true) return undefined;
    return this.#contexts.get(hello.servername?.toLowerCase() ?? '');
  }

  responder(type: ChallengeType, dns: DnsOptions): Responder {
    if (type === 'dns-01') return dnsResponder(dns);
    return {
      type,
      prepare: async (proofs) => this.#open({ type, proofs }),
      withdraw: async (proofs) => this.#close({ type, proofs }),
    };
  }

  /** Answers for the open order of a host, if there is one, and no longer for the one before. */
  show(host: string, order: ShownProofs | undefined): void {
    const before = this.#shown.get(host);
    if (isDeepStrictEqual(before, order)) return;
    if (before !== undefined) this.#close(before);
    this.#shown.delete(host);
    if (order === undefined) return;
    this.#shown.set(host, order);
    this.#open(order);
  }

  #open({ type, proofs }: ShownProofs): void {
    for (const proof of proofs) {
      if (type === 'http-01') this.#answers.set(proof.token, proof.keyAuthorization);
      if (type !== 'tls-alpn-01') continue;
      const { certificate: cert, key } = makeChallengeCertificate(proof.domain, digestOf(proof));
      this.#contexts.set(proof.domain, createSecureContext({ cert, key }));
    }
  }

  #close({ type, proofs }: ShownProofs): void {
    for (const { domain, token } of proofs) {
      if (type === 'http-01') this.#answers.delete(token);
      if (type === 'tls-alpn-01') this.#contexts.delete(domain);
    }
  }
}

/** RFC 8555 §8.4. A domain and its wildcard have two values at the same name. */
function dnsResponder({ hook, hookSeconds, waitSeconds, signal }: DnsOptions): Responder {
  const run = async (action: string, proof: Proof, until: AbortSignal) => {
    const { runHook } = await import('./hook.js');
    const record = [`_acme-challenge.${proof.domain}`, digestOf(proof).toString('base64url')];
    await runHook([...hook, action, ...record], hookSeconds, until);
  };
  return {
    type: 'dns-01',
    prepare: async (proofs) => {
      for (const proof of proofs) await run('add', proof, signal);
      await pause(waitSeconds * 1000, undefined, { signal, ref: false });
    },
    withdraw: async (proofs) => {
      // A server that stops does not wait long for what only tidies up.
      const until = signal.aborted ? AbortSignal.timeout(2000) : signal;
      for (const proof of proofs) await run('remove', proof, until);
    },
  };
}
