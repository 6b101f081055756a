/**
 * Orders of certificates in a cluster. A certificate is ordered at the home of the host's address. What the other nodes
 * need is in the storage: the account, what failed, the certificate with its key, and the proofs of the open order, for
 * which the authority may ask any node. Each node also has the certificate in files, as a single server has.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import type { Logger } from 'pino';
import { z } from 'zod';
import type { DocumentStore, Storage } from '../../../storage/contract.js';
import { Recent } from '../../../storage/recent.js';
import { monotonic, poll } from '../../clock.js';
import { type Config, orderedHosts } from '../../config/schema.js';
import { defineQuestion } from '../../module/index.js';
import { type Answerer, answererOf } from '../../routing/hooks.js';
import type { LocalHost } from '../../routing/host.js';
import { randomId } from '../../stanza/ids.js';
import { checkOf } from '../../stanza/stored.js';
import { readIfExists } from '../files.js';
import { certificatesIn, filesOf, type Pem, writePair } from '../self-signed.js';
import type { Challenges, Responder } from './challenges.js';
import { challengeTypes } from './protocol.js';
import { StoredRecords } from './records.js';
import type { AcmeStatus } from './status.js';

const pairSchema = z.object({ certificate: z.string(), key: z.string() });
const proofSchema = z.object({ domain: z.string(), token: z.string(), keyAuthorization: z.string() });

/** Of one host, while a node orders. */
const openOrder = z.object({
  /** The process that orders. */
  by: z.string(),
  type: z.enum(challengeTypes).optional(),
  proofs: z.array(proofSchema).readonly(),
});
type OpenOrder = z.output<typeof openOrder>;

/** Another node has changed what is stored about a host. Answered once this node uses it. */
const looking = defineQuestion({
  name: 'acme.look',
  given: z.object({ host: z.string() }),
  answer: z.null(),
});

const renewal = z.object({ isDone: z.boolean(), error: z.string().nullable() });
type Renewal = z.output<typeof renewal>;

/** Orders a certificate at its home. Asked with the same id until it is done: an order takes longer than a question may. */
const renewing = defineQuestion({
  name: 'acme.renew',
  given: z.object({ id: z.string(), host: z.string(), newKey: z.boolean() }),
  answer: renewal,
});

const describing = defineQuestion({
  name: 'acme.status',
  given: z.object({ host: z.string() }),
  // Written by a node of the same program.
  answer: z.custom<AcmeStatus | null>(),
});

/** How long `renewing` waits for the order before it is answered, in ms. */
const longestAnswer = 10_000;
/** How long an order waits for nodes that join or are drained, in ms. */
const longestJoin = 5000;
/** Requested orders whose results are remembered. */
const mostRenewals = 100;

type SharedHost = Pick<LocalHost, 'jid' | 'askHome' | 'askNodes'>;

export interface SharedOrdersParts {
  readonly storage: Storage;
  readonly challenges: Challenges;
  readonly log: Logger;
  /** The name of this process, which no other has. */
  readonly self: string;
  isMember(process: string): boolean;
  /** Whether all members can be asked: none has just joined. Rejects with StorageError. */
  knowsAll(): Promise<boolean>;
  config(): Config;
  host(domain: string): SharedHost | undefined;
  /** Whether the address of a host lives at this node. */
  isHome(host: SharedHost): boolean;
  /** Runs `write`, which replaces files, and puts them to use. */
  replace(write: () => Promise<void>): Promise<void>;
}

/** What other nodes may ask. */
interface Orders {
  readonly status: readonly AcmeStatus[];
  renewHere(host: string, withNewKey: boolean): Promise<void>;
}

export class SharedOrders {
  readonly records: StoredRecords;
  readonly #parts: SharedOrdersParts;
  /** By host. */
  readonly #certificates: DocumentStore<Pem>;
  readonly #orders: DocumentStore<OpenOrder>;
  /** Hosts about which the other nodes have to be told when the order ends. */
  readonly #changed = new Set<string>();
  /** By the id of the question. */
  readonly #renewals = new Recent<Promise<Renewal>>(mostRenewals);
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;
  #close = (): void => {};
  /** Rejects then. */
  readonly #closed = new Promise<never>((_, reject) => {
    this.#close = () => reject(new Error('the server is shutting down'));
  });
  /** Looks do not overlap: an older one would write over a newer one. */
  #looked: Promise<void> = Promise.resolve();

  constructor(parts: SharedOrdersParts) {
    this.#parts = parts;
    this.#closed.catch(() => {}); // for those that wait for something
    this.records = new StoredRecords(parts.storage);
    const check = checkOf(pairSchema);
    this.#certificates = parts.storage.document('acme_certificates', {
      check: (value, host) => check(value, host) && isPair(value as Pem),
    });
    this.#orders = parts.storage.document('acme_orders', { check: checkOf(openOrder) });
  }

  /** Answers the other nodes. */
  answerers(orders: Orders): readonly Answerer[] {
    return [
      answererOf(looking, async ({ host }) => {
        if (this.#hosts.includes(host)) await this.look([host]);
        return null;
      }),
      answererOf(renewing, ({ id, host, newKey }) => this.#renewed(id, () => orders.renewHere(host, newKey))),
      answererOf(describing, ({ host }) => orders.status.find((one) => one.host === host) ?? null),
    ];
  }

  isHome(host: string): boolean {
    const local = this.#parts.host(host);
    return local !== undefined && this.#parts.isHome(local);
  }

  get #hosts(): readonly string[] {
    return orderedHosts(this.#parts.config());
  }

  // --- what is stored ---------------------------------------------------------------------------------------------

  /** Takes what is stored about hosts: answers their proofs, and uses their certificates. Rejects with StorageError. */
  look(hosts = this.#hosts): Promise<void> {
    const looked = this.#looked.then(() => this.#look(hosts));
    this.#looked = looked.catch(() => {}); // whoever called gets the error
    return looked;
  }

  async #look(hosts: readonly string[]): Promise<void> {
    const [orders, certificates] = await Promise.all([this.#orders.getMany(hosts), this.#certificates.getMany(hosts)]);
    for (const host of hosts) this.#parts.challenges.show(host, orders.get(host));
    for (const host of hosts) await this.#use(host, certificates.get(host));
  }

  /** A failure concerns the certificate alone, and not the proofs: it is logged. */
  async #use(host: string, pair: Pem | undefined): Promise<void> {
    if (pair === undefined) return;
    const files = filesOf(certificatesIn(this.#parts.config().data), host);
    try {
      const [certificate, key] = await Promise.all([readIfExists(files.certificate), readIfExists(files.key)]);
      if (certificate === pair.certificate && key === pair.key) return;
      await this.#parts.replace(() => writePair(files, pair));
    } catch (error) {
      this.#parts.log.error({ err: error, host }, 'could not take over the certificate that another node has ordered');
    }
  }

  /** Looks now and then: a node that has nothing to do in the cluster is not asked. */
  start(): void {
    if (this.#isClosed) return;
    const ms = this.#parts.config().tls.reload_check_seconds * 1000;
    this.#timer = setTimeout(() => void this.#lookAgain(), ms).unref();
  }

  /** Never rejects. */
  async #lookAgain(): Promise<void> {
    try {
      await this.look();
    } catch (error) {
      this.#parts.log.warn({ err: error }, 'could not look for certificates of other nodes');
    }
    this.start();
  }

  /** Waits for no other node any more. Orders of this one can still be ended. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#close();
    clearTimeout(this.#timer);
    await this.#looked;
  }

  // --- orders of this node ----------------------------------------------------------------------------------------

  /** Opens an order. Returns false if another node has one open for the host. Rejects with StorageError. */
  async begin(host: string): Promise<boolean> {
    const { self, isMember } = this.#parts;
    for (;;) {
      const found = await this.#orders.get(host);
      // What a process that is gone has left behind is replaced.
      if (found !== undefined && found.by !== self && isMember(found.by)) return false;
      if (await this.#orders.compareAndSet(host, found, { by: self, proofs: [] })) break;
    }
    // Another node may have ordered one before.
    await this.look([host]);
    return true;
  }

  /** Shows proofs at all nodes, until the order ends. */
  responder(host: string, type: 'http-01' | 'tls-alpn-01'): Responder {
    return {
      type,
      prepare: async (proofs) => {
        await this.#orders.set(host, { by: this.#parts.self, type, proofs });
        this.#changed.add(host);
        // What a node that has just joined has looked for may be older, and it cannot be asked yet.
        await poll(() => this.#isClosed || this.#parts.knowsAll(), monotonic() + longestJoin);
        // A node that is about to be expelled does not answer, and is not asked again.
        await this.#tell(host).catch(() => this.#tell(host));
      },
      withdraw: async () => {},
    };
  }

  /** Stores a new certificate, which this node uses at once, and the others when the order ends. */
  async publish(host: string, pair: Pem): Promise<void> {
    await this.#certificates.set(host, pair);
    this.#changed.add(host);
    await this.look([host]);
  }

  /** Stores the certificate that this node has in its files, if none is stored: from before it joined the cluster. */
  async offer(host: string): Promise<void> {
    if ((await this.#certificates.get(host)) !== undefined) return;
    const files = filesOf(certificatesIn(this.#parts.config().data), host);
    const [certificate, key] = await Promise.all([readIfExists(files.certificate), readIfExists(files.key)]);
    if (certificate === undefined || key === undefined || !isPair({ certificate, key })) return;
    await this.publish(host, { certificate, key });
  }

  /** Ends the order. Resolves once all nodes that answer use the new certificate. Never rejects. */
  async end(host: string): Promise<void> {
    const { self, log } = this.#parts;
    try {
      const found = await this.#orders.get(host);
      if (found?.by === self) await this.#orders.compareAndSet(host, found, undefined);
      // Otherwise the others look by themselves, sooner or later.
      if (this.#changed.delete(host) && !this.#isClosed) await this.#tell(host);
    } catch (error) {
      log.warn({ err: error, host }, 'not every node knows yet that an order of a certificate has ended');
    }
  }

  /** All nodes look, this one as well. Rejects if one of them does not answer. */
  async #tell(host: string): Promise<void> {
    await Promise.race([this.#parts.host(host)!.askNodes(looking, { host }), this.#closed]);
  }

  // --- orders of other nodes --------------------------------------------------------------------------------------

  /** Orders a certificate at its home. Rejects with the cause if that fails. */
  async renew(host: string, newKey: boolean): Promise<void> {
    const local = this.#parts.host(host);
    if (local === undefined) throw new Error(`${host} is not a host of the server`);
    const id = randomId();
    for (;;) {
      const answer = local.askHome(renewing, local.jid, { id, host, newKey });
      const { isDone, error } = await Promise.race([answer, this.#closed]);
      if (error !== null) throw new Error(error);
      if (isDone) return;
    }
  }

  #renewed(id: string, renew: () => Promise<void>): Promise<Renewal> {
    let result = this.#renewals.get(id);
    if (result === undefined) {
      result = renew().then(
        () => ({ isDone: true, error: null }),
        (error: Error) => ({ isDone: true, error: error.message }),
      );
      this.#renewals.set(id, result);
    }
    return Promise.race([result, pause(longestAnswer, { isDone: false, error: null }, { ref: false })]);
  }

  /** What the homes know of their hosts; what this node knows, of those that do not answer. */
  statuses(known: readonly AcmeStatus[]): Promise<readonly AcmeStatus[]> {
    return Promise.all(
      known.map(async (own) => {
        const local = this.#parts.host(own.host);
        if (local === undefined) return own;
        try {
          return (await local.askHome(describing, local.jid, { host: own.host })) ?? own;
        } catch {
          return own;
        }
      }),
    );
  }
}

/** Whether it is a certificate and its key. */
function isPair({ certificate, key }: Pem): boolean {
  try {
    return new X509Certificate(certificate).checkPrivateKey(createPrivateKey(key));
  } catch {
    return false;
  }
}
