/** One authority with our account: orders certificates, and checks them before they are used. */
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { wall } from '../../clock.js';
import type { Config } from '../../config/schema.js';
import { coversDomain, xmppAddresses } from '../names.js';
import { isSelfSigned } from '../self-signed.js';
import type { Challenges, Responder } from './challenges.js';
import { AcmeClient } from './client.js';
import { type OrderOptions, obtain } from './order.js';
import { AcmeError } from './protocol.js';
import type { Records } from './records.js';
import { certificateId } from './renewal.js';

export interface AuthorityOptions {
  readonly config: Config['tls']['acme'];
  readonly records: Records;
  readonly challenges: Challenges;
  readonly version: string;
  readonly signal: AbortSignal;
  readonly leftBehind: OrderOptions['leftBehind'];
}

export interface Wanted {
  /** As A-labels. */
  readonly domains: readonly string[];
  /** PEM. */
  readonly key: string;
  readonly replaces?: X509Certificate | undefined;
  /** Instead of this process: all nodes of the cluster. */
  readonly responder?: Responder | undefined;
}

export class Authority {
  readonly #options: AuthorityOptions;
  #opened: Promise<{ readonly client: AcmeClient; readonly key: KeyObject }> | undefined;
  #ca: Promise<string[] | undefined> | undefined;

  constructor(options: AuthorityOptions) {
    this.#options = options;
  }

  /** Returns a checked chain in PEM. Rejects with UnverifiedError, AcmeError, RecordError or errors of the network. */
  async certify({ domains, key, replaces, responder }: Wanted): Promise<string> {
    const { config, challenges, signal, leftBehind } = this.#options;
    const dns = {
      hook: config.dns_hook,
      hookSeconds: config.dns_hook_seconds,
      waitSeconds: config.dns_wait_seconds,
      signal,
    };
    const secret = createPrivateKey(key);
    const { client, key: accountKey } = await this.#account();
    const chain = await obtain(client, {
      domains,
      key: secret,
      accountKey,
      responder: responder ?? challenges.responder(config.challenge, dns),
      replaces: replaces && certificateId(replaces),
      leftBehind,
    });
    demandUsable(chain, secret, domains);
    return chain;
  }

  async revoke(certificate: X509Certificate, reason?: number): Promise<void> {
    await (await this.#account()).client.revoke(certificate.raw, reason);
  }

  /** When the authority would renew a certificate (RFC 9773). Needs no account. */
  async renewalWindow(certificate: X509Certificate) {
    const id = certificateId(certificate);
    if (id === undefined) return undefined;
    const { key } = await this.#options.records.account(this.#options.config.directory);
    return (await this.#client(key)).renewalWindow(id);
  }

  /** The account, registered. A failure is not remembered. */
  #account() {
    this.#opened ??= this.#register().catch((error: unknown) => {
      this.#opened = undefined;
      throw error;
    });
    return this.#opened;
  }

  async #register() {
    const { config, records } = this.#options;
    const { account, key } = await records.account(config.directory);
    const { contact, eab_key_id: eabKeyId, eab_key: secret } = config;
    const eab = eabKeyId === '' ? undefined : { keyId: eabKeyId, secret };
    const client = await this.#client(key, account.url);
    const isKnown =
      account.url !== undefined && account.eabKeyId === eabKeyId && (await this.#isAlive(client, contact));
    if (!isKnown) await client.register({ contact, eab });
    await records.setAccount({ ...account, url: client.account, contact: [...contact], eabKeyId });
    return { client, key };
  }

  /** Whether the authority still knows the account; sets its contact. */
  async #isAlive(client: AcmeClient, contact: readonly string[]): Promise<boolean> {
    try {
      await client.setContact(contact);
      return true;
    } catch (error) {
      if (error instanceof AcmeError && error.type === 'accountDoesNotExist') return false;
      throw error;
    }
  }

  async #client(key: KeyObject, account?: string): Promise<AcmeClient> {
    const { config, version, signal } = this.#options;
    const { directory, authorities } = config;
    this.#ca ??=
      authorities.length === 0
        ? Promise.resolve(undefined)
        : Promise.all(authorities.map((file) => readFile(file, 'utf8')));
    return new AcmeClient({ directory, ca: await this.#ca, userAgent: `Waxwing/${version}`, key, signal }, account);
  }
}

/** Throws unless the chain is for the key and the domains, currently valid, and in order. */
export function demandUsable(chain: string, key: KeyObject, domains: readonly string[], now = wall()): void {
  const certificates = certificatesIn(chain);
  const [leaf] = certificates;
  if (leaf === undefined) throw new Error('the authority sent no certificate');
  if (!leaf.checkPrivateKey(key)) throw new Error('the authority sent a certificate for another key');
  if (isSelfSigned(leaf)) throw new Error('the authority sent a self-signed certificate');
  const names = xmppAddresses(leaf.raw);
  const missing = domains.filter((domain) =>
    domain.startsWith('*.') ? !names.dns.some((name) => name.toLowerCase() === domain) : !coversDomain(names, domain),
  );
  if (missing.length > 0) throw new Error(`the authority sent a certificate without ${missing.join(', ')}`);
  if (Date.parse(leaf.validFrom) > now) throw new Error('the new certificate is not valid yet; check the system clock');
  if (Date.parse(leaf.validTo) <= now) throw new Error('the new certificate has expired; check the system clock');
  certificates.forEach((certificate, at) => {
    const issuer = certificates[at + 1];
    if (issuer !== undefined && !(certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey)))
      throw new Error('the authority sent certificates that do not form a chain');
  });
}

/** Throws if one of them cannot be read. */
function certificatesIn(pem: string): X509Certificate[] {
  const found = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  return found.map((one) => new X509Certificate(one));
}
