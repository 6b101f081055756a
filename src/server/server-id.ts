/** The id of a server: the same for all nodes of its cluster, and after a restart. It is in the storage, and goes with it. */
import { randomBytes } from 'node:crypto';
import type { Storage } from '../storage/contract.js';

const owner = 'id';

interface Kept {
  readonly id: string;
}

const check = (value: unknown): value is Kept =>
  typeof value === 'object' && value !== null && 'id' in value && typeof value.id === 'string' && value.id !== '';

/** Reads it from the storage; the first node makes it. Rejects with StorageError, also if it is damaged. */
export async function serverId(storage: Storage): Promise<string> {
  const store = storage.document<Kept>('server', { check, damaged: 'refuse' });
  for (;;) {
    const kept = await store.get(owner);
    if (kept !== undefined) return kept.id;
    await store.compareAndSet(owner, undefined, { id: randomBytes(16).toString('hex') });
  }
}
