/**
 * The view: who is in the cluster, and at which member each slot lives. One document of the main store, changed by
 * compare-and-set alone, so that all changes are one sequence of versions; no clock has a say in it.
 */
import { z } from 'zod';
import type { DocumentStore, Storage } from '../../storage/contract.js';
import { slotCount } from './slots.js';

/** Members at most, and the numbers that they have (in stanza ids). */
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
  /** Of the program. */
  version: z.string(),
  /** It gives its slots away, and gets none. */
  isLeaving: z.boolean(),
});
export type Member = Readonly<z.output<typeof member>>;

const schema = z
  .object({
    version: z.int().positive(),
    members: z.array(member).max(mostMembers),
    /** The number of the member of each slot; empty where nobody is there. */
    slots: z.array(z.int()),
    /** The id of the one member that is handing over, so that no two wait for each other. */
    handingOver: z.string().nullable(),
  })
  .refine(({ members, slots }) => {
    const numbers = new Set(members.map(({ number }) => number));
    const isWhole = members.length === 0 ? slots.length === 0 : slots.length === slotCount;
    return isWhole && numbers.size === members.length && slots.every((number) => numbers.has(number));
  });

export interface View {
  readonly version: number;
  readonly members: readonly Member[];
  readonly slots: readonly number[];
  readonly handingOver: string | null;
}

/** What a change makes of a view. */
export type Changed = Omit<View, 'version'>;

export const emptyView: View = { version: 0, members: [], slots: [], handingOver: null };

/** All numbers are taken. */
export class ClusterFull extends Error {
  override readonly name = 'ClusterFull';
}

/** The document. `change` and `read` reject with StorageError, also where it is damaged: nothing may stand in for it. */
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
   * Puts what `next` makes of the present view in its place, under the version after; asks again where somebody else was
   * quicker. Resolves with the view that then holds: the present one, where `next` returns undefined.
   */
  async change(next: (view: View) => Changed | undefined): Promise<View> {
    for (;;) {
      const present = await this.#store.get('view');
      const changed = next(present ?? emptyView);
      if (changed === undefined) return present ?? emptyView;
      const written = { ...changed, version: (present?.version ?? 0) + 1 };
      if (await this.#store.compareAndSet('view', present, written)) return written;
    }
  }
}

/** With a member, new or started anew: the slots of its epoch before stay its own. Throws ClusterFull. */
export function withMember(view: View, joining: Omit<Member, 'number' | 'isLeaving'>): Changed {
  const before = view.members.find(({ id }) => id === joining.id);
  const number = before?.number ?? freeNumber(view);
  const members = [...view.members.filter((one) => one !== before), { ...joining, number, isLeaving: false }];
  const slots = view.slots.length === 0 ? new Array<number>(slotCount).fill(number) : view.slots;
  return { members, slots, handingOver: giverOf(view, joining.id) };
}

/** Without a member: what it had is dealt to the others. */
export function withoutMember(view: View, id: string): Changed {
  const members = view.members.filter((one) => one.id !== id);
  return { members, slots: deal({ members, slots: view.slots }), handingOver: giverOf(view, id) };
}

/** Who hands over still, where `id` is gone or has started anew. */
const giverOf = ({ handingOver }: View, id: string): string | null => (handingOver === id ? null : handingOver);

function freeNumber({ members }: View): number {
  const taken = new Set(members.map(({ number }) => number));
  for (let number = 0; number < mostMembers; number++) if (!taken.has(number)) return number;
  throw new ClusterFull(`a cluster has at most ${mostMembers} members`);
}

/**
 * The slots as they should be: each member that stays has its even share, and no slot moves that need not. The same for
 * everybody who asks of the same view. While all are leaving, nothing moves.
 */
export function deal({ members, slots }: Pick<View, 'members' | 'slots'>): readonly number[] {
  const staying = members.filter(({ isLeaving }) => !isLeaving).map(({ number }) => number);
  const sharing = staying.length > 0 ? staying : members.map(({ number }) => number);
  if (sharing.length === 0) return [];
  const counts = new Map<number, number>();
  for (const number of slots) counts.set(number, (counts.get(number) ?? 0) + 1);
  // Those who have most keep the slots that do not divide evenly.
  sharing.sort((a, b) => (counts.get(b) ?? 0) - (counts.get(a) ?? 0) || a - b);
  const least = Math.floor(slotCount / sharing.length);
  const more = slotCount % sharing.length;
  const shares = new Map(sharing.map((number, at) => [number, at < more ? least + 1 : least]));
  const dealt = [...slots];
  const free: number[] = [];
  const kept = new Map<number, number>();
  for (let slot = 0; slot < slotCount; slot++) {
    const number = dealt[slot]!;
    const has = kept.get(number) ?? 0;
    if (has < (shares.get(number) ?? 0)) kept.set(number, has + 1);
    else free.push(slot);
  }
  for (const number of sharing) {
    for (let has = kept.get(number) ?? 0; has < shares.get(number)!; has++) dealt[free.pop()!] = number;
  }
  return dealt;
}
