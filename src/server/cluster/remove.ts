/** Removes a member for the other ones, none of which runs. */
import type { Storage } from '../../storage/contract.js';
import { ViewStore, withoutMember } from './view.js';

/** Resolves with whether there was such a member. Rejects with StorageError. */
export async function removeMember(storage: Storage, id: string): Promise<boolean> {
  const views = new ViewStore(storage);
  const member = (await views.read()).members.find((one) => one.id === id);
  if (member === undefined) return false;
  await storage.fence(id, member.epoch);
  await views.change((view) =>
    view.members.some((one) => one.id === id && one.epoch === member.epoch) ? withoutMember(view, id) : undefined,
  );
  return true;
}
