/**
 * The view: the members of the cluster and the member at which each slot lives. It is one document of the main store
 * that is only changed by compare-and-set, so its versions form one sequence, independent of clocks.
 */
import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { DocumentStore, Storage } from '../../storage/contract.js';
import { slotCount } from './slots.js';

/** Maximum number of members, and of member numbers (part of stanza ids). */
const mostMembers = 1024;

const member = z.object({
  id: z.string().min(1).max(255),
  /** 0 to 1023. */
  number: z
    .int()
    .min(0)
    .max(mostMembers - 1),
  /** New at each start. */
  epoch: z.int().positive(),
  /** Where links reach it. */
  address: z.string(),
  /** Version of the program. */
  version: z.string(),
  /** It hands over its slots and gets no new ones. */
  isLeaving: z.boolean(),
});
export type Member = Readonly<z.output<typeof member>>;

const schema = z
  .object({
    /** Made with the first view. */
    cluster: z.string(),
    version: z.int().positive(),
    members: z.array(member).max(mostMembers),
    /** The member number of each slot; empty if there are no members. */
    slots: z.array(z.int()),
    /** The id of the one member that may hand over slots, so that no two wait for each other. */
    handingOver: z.string().nullable(),
    /** Nodes that are gone may have made ids with times before this. */
    idsFrom: z.number().optional(),
  })
  .refine(({ members, slots }) => {
    const numbers = new Set(members.map(({ number }) => number));
    const isWhole = members.length === 0 ? slots.length === 0 : slots.length === slotCount;
    return isWhole && numbers.size === members.length && slots.every((number) => numbers.has(number));
  });

export interface View {
  /** The cluster's id; empty before there is a view. */
  readonly cluster: string;
  readonly version: number;
  readonly members: readonly Member[];
  readonly slots: readonly number[];
  readonly handingOver: string | null;
  readonly idsFrom?: number | undefined;
}

/** The fields that a change sets. */
export type Changed = Omit<View, 'version' | 'cluster'>;

export const emptyView: View = { cluster: '', version: 0, members: [], slots: [], handingOver: null };

/** All member numbers are in use. */
export class ClusterFull extends Error {
  override readonly name = 'ClusterFull';
}

/**
 * The stored view. `change` and `read` reject with StorageError, also if it is damaged: it cannot be replaced by a
 * default.
 */
export class ViewStore {
  readonly #store: DocumentStore<View>;

  constructor(storage: Storage) {
    const check = (value: unknown) => schema.safeParse(value).success;
    this.#store = storage.document<View>('cluster', { check, damaged: 'refuse' });
  }

  async read(): Promise<View> {
    return (await this.#store.get('view')) ?? emptyView;
  }

  /**
   * Replaces the current view with the result of `next` under the next version; retries if another node was faster.
   * Resolves with the resulting view, which is the current one if `next` returns undefined.
   */
  async change(next: (view: View) => Changed | undefined): Promise<View> {
    for (;;) {
      const current = await this.#store.get('view');
      const changed = next(current ?? emptyView);
      if (changed === undefined) return current ?? emptyView;
      const cluster = current?.cluster ?? randomUUID();
      const written = { ...changed, cluster, version: (current?.version ?? 0) + 1 };
      if (await this.#store.compareAndSet('view', current, written)) return written;
    }
  }
}

/** Adds a member, or restarts one: it keeps the slots of its previous epoch. Throws ClusterFull. */
export function withMember(view: View, joining: Omit<Member, 'number' | 'isLeaving'>): Changed {
  const before = view.members.find(({ id }) => id === joining.id);
  const number = before?.number ?? freeNumber(view);
  const members = [...view.members.filter((one) => one !== before), { ...joining, number, isLeaving: false }];
  const slots = view.slots.length === 0 ? new Array<number>(slotCount).fill(number) : view.slots;
  return { ...view, members, slots, handingOver: giverOf(view, joining.id) };
}

/** Removes a member and deals its slots to the others. */
export function withoutMember(view: View, id: string): Changed {
  const members = view.members.filter((one) => one.id !== id);
  const dealt = deal({ members, slots: view.slots });
  // Other members hand over their slots themselves.
  const isKept = new Set(members.map(({ number }) => number));
  const slots = members.length === 0 ? [] : view.slots.map((number, at) => (isKept.has(number) ? number : dealt[at]!));
  return { ...view, members, slots, handingOver: giverOf(view, id) };
}

/** The member that is still handing over; null if it is `id`, which is gone or has restarted. */
const giverOf = ({ handingOver }: View, id: string): string | null => (handingOver === id ? null : handingOver);

function freeNumber({ members }: View): number {
  const taken = new Set(members.map(({ number }) => number));
  for (let number = 0; number < mostMembers; number++) if (!taken.has(number)) return number;
  throw new ClusterFull(`a cluster can have at most ${mostMembers} members`);
}

/** A slot that lives at another member than before. `was` is undefined if it had no home. */
export interface Move {
  readonly slot: number;
  readonly was: Member | undefined;
  readonly is: Member;
}

/** What has moved between two views; a restarted member counts as another one. `view` has members. */
export function movesBetween(before: View, view: View): Move[] {
  const homes = (one: View): ((slot: number) => Member | undefined) => {
    const byNumber = new Map(one.members.map((member) => [member.number, member]));
    return (slot) => byNumber.get(one.slots[slot] ?? -1);
  };
  const [wasHome, isHome] = [homes(before), homes(view)];
  const moves: Move[] = [];
  for (let slot = 0; slot < slotCount; slot++) {
    const [was, is] = [wasHome(slot), isHome(slot)!];
    if (was?.id !== is.id || was.epoch !== is.epoch) moves.push({ slot, was, is });
  }
  return moves;
}

/** A member may have this part of its share more or less before slots move. */
const tolerance = 1 / 16;

/** Whether the shares of the members differ by so little that moving slots is not worth it. */
export function isEven({ members, slots }: Pick<View, 'members' | 'slots'>): boolean {
  const counts = new Map(members.map(({ number }) => [number, 0]));
  for (const number of slots) counts.set(number, counts.get(number)! + 1);
  const staying = members.filter(({ isLeaving }) => !isLeaving);
  const share = slotCount / Math.max(1, staying.length);
  const isClose = (count: number): boolean => Math.abs(count - share) < 1 + share * tolerance;
  return members.every(({ number, isLeaving }) =>
    isLeaving ? counts.get(number) === 0 : isClose(counts.get(number)!),
  );
}

/**
 * The balanced distribution of slots: each staying member gets an equal share, and as few slots as possible move.
 * Deterministic for a given view. If all members are leaving, nothing moves.
 */
export function deal({ members, slots }: Pick<View, 'members' | 'slots'>): readonly number[] {
  const staying = members.filter(({ isLeaving }) => !isLeaving).map(({ number }) => number);
  const sharing = staying.length > 0 ? staying : members.map(({ number }) => number);
  if (sharing.length === 0) return [];
  const counts = new Map<number, number>();
  for (const number of slots) counts.set(number, (counts.get(number) ?? 0) + 1);
  // The members with the most slots keep the remainder.
  sharing.sort((a, b) => (counts.get(b) ?? 0) - (counts.get(a) ?? 0) || a - b);
  const least = Math.floor(slotCount / sharing.length);
  const more = slotCount % sharing.length;
  const shares = new Map(sharing.map((number, at) => [number, at < more ? least + 1 : least]));
  const dealt = [...slots];
  const free: number[] = [];
  const assigned = new Map<number, number>();
  for (let slot = 0; slot < slotCount; slot++) {
    const number = dealt[slot]!;
    const has = assigned.get(number) ?? 0;
    if (has < (shares.get(number) ?? 0)) assigned.set(number, has + 1);
    else free.push(slot);
  }
  for (const number of sharing) {
    for (let has = assigned.get(number) ?? 0; has < shares.get(number)!; has++) dealt[free.pop()!] = number;
  }
  return dealt;
}
