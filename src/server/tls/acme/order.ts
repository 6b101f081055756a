/** One order (RFC 8555 §7.4): from the names to the certificate chain. */
import type { KeyObject } from 'node:crypto';
import type { Proof, Responder } from './challenges.js';
import type { AcmeClient } from './client.js';
import { signingRequest } from './csr.js';
import { thumbprint } from './jose.js';
import {
  AcmeError,
  type Authorization,
  authorizationSchema,
  describeProblem,
  type Order,
  orderSchema,
  problemType,
  UnverifiedError,
} from './protocol.js';

export interface OrderOptions {
  /** As A-labels; with a wildcard only for DNS. */
  readonly domains: readonly string[];
  /** Of the certificate. */
  readonly key: KeyObject;
  /** Of the account. */
  readonly accountKey: KeyObject;
  readonly responder: Responder;
  /** The certificate that it renews (RFC 9773 §5). */
  readonly replaces?: string | undefined;
  /** A proof could not be withdrawn; the order goes on. */
  leftBehind(error: unknown): void;
}

/** Returns the chain in PEM. Rejects with UnverifiedError, AcmeError or what the network failed with. */
export async function obtain(client: AcmeClient, options: OrderOptions): Promise<string> {
  const { url, order } = await client.order(options.domains, options.replaces);
  if (order.status === 'pending') await prove(client, order, options);
  const ready = await client.settled(url, orderSchema, ['pending']);
  if (ready.status === 'ready')
    await client.send(ready.finalize, {
      csr: signingRequest(options.domains, options.key).toString('base64url'),
    });
  const done = await client.settled(url, orderSchema, ['pending', 'ready', 'processing']);
  if (done.status !== 'valid' || done.certificate === undefined) throw failure(done);
  return client.download(done.certificate);
}

function failure({ status, error }: Order): Error {
  if (error === undefined) return new Error(`the order is ${status}`);
  return new AcmeError(problemType(error), describeProblem(error));
}

interface Asked {
  readonly url: string;
  readonly challenge: string;
  readonly proof: Proof;
}

async function prove(client: AcmeClient, order: Order, options: OrderOptions): Promise<void> {
  const { responder, accountKey, leftBehind } = options;
  const print = thumbprint(accountKey);
  const asked: Asked[] = [];
  for (const url of order.authorizations) {
    const authorization = await client.read(url, authorizationSchema);
    const { value: domain } = authorization.identifier;
    if (authorization.status === 'valid') continue;
    const challenge = authorization.challenges.find(({ type }) => type === responder.type);
    if (challenge?.token === undefined) throw new Error(`the authority offers no ${responder.type} for ${domain}`);
    const { token } = challenge;
    asked.push({ url, challenge: challenge.url, proof: { domain, token, keyAuthorization: `${token}.${print}` } });
  }
  const proofs = asked.map(({ proof }) => proof);
  try {
    await responder.prepare(proofs);
    for (const { challenge } of asked) await client.send(challenge, {});
    const unverified: Authorization[] = [];
    for (const { url } of asked) {
      const settled = await client.settled(url, authorizationSchema, ['pending', 'processing']);
      if (settled.status !== 'valid') unverified.push(settled);
    }
    if (unverified.length > 0)
      throw new UnverifiedError(
        unverified.map(({ identifier }) => identifier.value),
        unverified.map(whyUnverified),
      );
  } finally {
    await responder.withdraw(proofs).catch(leftBehind);
  }
}

function whyUnverified({ identifier, status, challenges }: Authorization): string {
  const error = challenges.find((one) => one.error !== undefined)?.error;
  return `${identifier.value}: ${error === undefined ? status : describeProblem(error)}`;
}
