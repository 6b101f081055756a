/** The server's storage: opened as configured, then measured for quotas and checked for damaged records. */
import { mkdir } from 'node:fs/promises';
import { checked, type DamagedRecord } from '../storage/checked.js';
import { type DocumentStore, type Storage, StorageError } from '../storage/contract.js';
import { Usages } from '../storage/usage.js';
import type { Config } from './config/schema.js';
import type { Logs } from './logging.js';
import type { Metrics } from './metrics.js';
import { type QuotaParts, quotaRules, type StoredQuota, storedQuota, warnOfQuota } from './quotas.js';
import { openReservedIds } from './reserved-ids.js';
import type { SessionDirectory } from './routing/directory.js';
import type { LocalHost } from './routing/host.js';
import { checkOf } from './stanza/stored.js';

export interface ServerStorageParts extends Pick<QuotaParts, 'config' | 'accounts' | 'limitHit'> {
  readonly logs: Logs;
  readonly metrics: Metrics;
  readonly directory: SessionDirectory;
  readonly hosts: ReadonlyMap<string, LocalHost>;
  /** The name of this node of a cluster. */
  readonly node: string | undefined;
}

export interface ServerStorage {
  readonly storage: Storage;
  readonly usages: Usages;
  /** Quotas of individual accounts. */
  readonly quotas: DocumentStore<StoredQuota>;
  /** Logs and counts a damaged record. */
  damaged(record: DamagedRecord): void;
  /**
   * Reserves stanza ids. Resolves with a function that ends the reservation, before the storage is closed. Rejects with
   * StorageError.
   */
  reserveIds(): Promise<() => Promise<void>>;
}

/** Creates the data folder. Rejects with StorageError. */
export async function createDataFolder({ data }: Config): Promise<void> {
  await mkdir(data, { recursive: true, mode: 0o700 }).catch((error: NodeJS.ErrnoException) => {
    const why =
      error.code === 'EEXIST' || error.code === 'ENOTDIR' ? 'is not a folder' : `cannot be created (${error.code})`;
    throw new StorageError('unavailable', `data ${data}: ${why}`, { cause: error });
  });
}

/** What the server uses of an opened storage. */
export function serverStorage(opened: Storage, parts: ServerStorageParts): ServerStorage {
  const { metrics, directory, hosts, node } = parts;
  const log = parts.logs.area('storage');
  const usages = new Usages(
    opened,
    quotaRules({
      config: parts.config,
      accounts: parts.accounts,
      limitHit: (limit) => parts.limitHit(limit),
      exceptions: () => quotas,
      warn: (owner, used, quota) => {
        log.warn({ owner, used, quota }, 'an account or room is near its storage quota');
        if (directory.of(owner).length > 0) warnOfQuota(owner, used, quota, (domain) => hosts.get(domain));
      },
      failed: (error) => log.error({ err: error }, 'could not measure the storage usage of an account'),
    }),
  );
  const damaged = (record: DamagedRecord): void => {
    metrics.recordDamaged(record.store);
    log.error(record, 'a stored record is damaged');
  };
  const storage = checked(usages.storage, damaged);
  const quotas = storage.document<StoredQuota>('quotas', { check: checkOf(storedQuota) });
  const reserveIds = () =>
    openReservedIds(storage, {
      node,
      ahead: (ms) =>
        log.warn(
          { seconds: Math.round(ms / 1000) },
          'the clock is earlier than stored timestamps: new ids run ahead until it catches up; check the system clock',
        ),
      failed: (error) => log.error({ err: error }, 'could not reserve stanza ids for the next start'),
    });
  return { storage, usages, quotas, damaged, reserveIds };
}
