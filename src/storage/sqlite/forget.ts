import type { Owners } from './owners.js';
import type { Lane, Queue } from './queue.js';

export interface Purge {
  forget(owner: string): Promise<void>;
  /** Completes deletions that a previous process did not finish. */
  purge(): Promise<void>;
}

/** Maximum entries removed per transaction: about a millisecond. */
const step = 500;

/**
 * Deletes owners with possibly too many entries for one transaction: the first removes the owner's name, which hides
 * the entries, further ones remove the rest. `remove` removes at most `limit` entries and returns how many.
 */
export function forgetInSteps<O extends { readonly id: number }>(
  queue: Queue,
  lane: Lane,
  owners: Owners<O>,
  remove: (id: number, limit: number) => number,
): Purge {
  const rest = async (id: number): Promise<void> => {
    const run = (): boolean => {
      if (remove(id, step) === step) return true;
      owners.release(id);
      return false;
    };
    while (await queue.write({ lane, kind: 'other', owner: '', bytes: 0, run }));
  };
  return {
    forget: async (name) => {
      const run = (): number | undefined => {
        const owner = owners.find(name);
        if (owner === undefined) return undefined;
        owners.detach(name, owner);
        if (remove(owner.id, step) === step) return owner.id;
        owners.release(owner.id);
        return undefined;
      };
      const left = await queue.write({ lane, kind: 'other', owner: name, bytes: 0, run });
      if (left !== undefined) await rest(left);
    },
    purge: async () => {
      for (const id of await queue.read(lane, () => owners.detached())) await rest(id);
    },
  };
}
