/** The secret of dialback keys (XEP-0220) that the nodes of a cluster share: any node may be asked about a key. */
import { randomBytes } from 'node:crypto';
import type { Storage } from '../../../storage/contract.js';

const owner = 'dialback';

interface Kept {
  readonly secret: string;
}

const check = (value: unknown): value is Kept =>
  typeof value === 'object' && value !== null && 'secret' in value && typeof value.secret === 'string';

/** Reads it from the storage; the first node makes it. Rejects with StorageError, also if it is damaged. */
export async function sharedSecret(storage: Storage): Promise<string> {
  const store = storage.document<Kept>('federation', { check, damaged: 'refuse' });
  for (;;) {
    const kept = await store.get(owner);
    if (kept !== undefined) return kept.secret;
    await store.compareAndSet(owner, undefined, { secret: randomBytes(32).toString('hex') });
  }
}
