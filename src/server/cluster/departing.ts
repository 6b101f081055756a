/** How members go: in order, after handing everything over, or expelled by the others. See node.ts for the moves. */
import { type Storage, StorageError } from '../../storage/contract.js';
import { keyOf, type NodeName } from './frames.js';
import type { Link } from './link.js';
import { type Changed, type Member, type View, type ViewStore, withoutMember } from './view.js';

const { setTimeout } = globalThis;

/** Ms that a leaving node waits for the others to learn of it. */
const longestFarewell = 1000;

export interface DepartingParts {
  readonly name: NodeName;
  readonly options: {
    /** The node's own handle. */
    readonly storage: Storage;
    idsReserved?(): Promise<number>;
    warn(message: string, error?: unknown): void;
  };
  readonly views: ViewStore;
  isOver(): boolean;
  view(): View;
  adopt(view: View): void;
  announceView(): void;
  links(): Iterable<Link>;
  /** Whether any slot is at this node, or comes to it. */
  hasSlots(): boolean;
  /** Whether everything sent to this node is at its new homes, and all members have announced this version. */
  hasPassedOn(version: number): boolean;
  /** Resolves when everything sent before is confirmed. */
  allConfirmed(): Promise<void>;
  end(isExpelled?: boolean): void;
  /** Resolves when the condition holds, or the node has stopped. */
  until(isTrue: () => boolean): Promise<void>;
}

export class Departing {
  readonly #parts: DepartingParts;
  readonly #expelling = new Set<string>();
  /** Members that are about to be expelled because they are unreachable. */
  readonly #unreachable = new Set<string>();
  /** What was logged about members, by what and whom. */
  readonly #warned = new Map<string, string>();
  /** This node has removed itself from the view. */
  hasLeft = false;

  constructor(parts: DepartingParts) {
    this.#parts = parts;
  }

  /** Whether a member is to hand over its slots and get none. Resolves when it is written. Rejects with StorageError. */
  async mark(id: string, isLeaving: boolean): Promise<void> {
    this.#parts.adopt(
      await this.#parts.views.change((view) => {
        const member = view.members.find((one) => one.id === id);
        if (member === undefined || member.isLeaving === isLeaving) return undefined;
        return { ...view, members: view.members.map((one) => (one === member ? { ...one, isLeaving } : one)) };
      }),
    );
    this.#parts.announceView();
  }

  /**
   * Hands all slots over. Resolves when none is here, or all members are leaving: then nobody can take them. Rejects with
   * StorageError.
   */
  async drain(): Promise<void> {
    if (this.#parts.isOver() || this.#ownIn(this.#parts.view()) === undefined) return;
    await this.mark(this.#parts.name.id, true);
    await this.#parts.until(() => this.#isAlone || !this.#parts.hasSlots());
  }

  get #isAlone(): boolean {
    return this.#parts.view().members.every(({ isLeaving }) => isLeaving);
  }

  /** Hands everything over and leaves. The last member leaves an empty view. Rejects with StorageError. */
  async leave(): Promise<void> {
    if (this.#parts.isOver() || this.#ownIn(this.#parts.view()) === undefined) return this.#parts.end(false);
    await this.drain();
    if (!this.#isAlone) {
      // Wait until everything sent to this node has been taken back and everything it holds has been delivered.
      const { version } = this.#parts.view();
      await this.#parts.until(() => this.#parts.hasPassedOn(version));
      await this.#parts.allConfirmed();
    }
    if (this.#parts.isOver()) return;
    // A view without this node is not one that expels it.
    this.hasLeft = true;
    const left = await this.#parts.views.change((view) =>
      this.#ownIn(view) === undefined ? undefined : withoutMember(view, this.#parts.name.id),
    );
    for (const link of this.#parts.links()) link.at(left.version);
    await Promise.race([
      this.#parts.allConfirmed(),
      new Promise((resolve) => setTimeout(resolve, longestFarewell).unref()),
    ]);
    this.#parts.end(false);
  }

  /**
   * Expels an unreachable member: it is fenced, so that none of its later writes becomes durable, and its slots go to
   * the others. Rejects with StorageError; 'fenced' if others have expelled this node.
   */
  async expel(id: string): Promise<void> {
    const member = this.#parts.view().members.find((one) => one.id === id);
    if (member === undefined || id === this.#parts.name.id || this.#expelling.has(id)) return;
    this.#expelling.add(id);
    try {
      await this.#parts.options.storage.fence(id, member.epoch);
      const reserved = (await this.#parts.options.idsReserved?.()) ?? 0;
      const isMember = (view: View): boolean => view.members.some((one) => keyOf(one) === keyOf(member));
      const without = (view: View): Changed => ({
        ...withoutMember(view, id),
        idsFrom: Math.max(view.idsFrom ?? 0, reserved),
      });
      this.#parts.adopt(await this.#parts.views.change((view) => (isMember(view) ? without(view) : undefined)));
      this.#parts.announceView();
    } catch (error) {
      if (error instanceof StorageError && error.failure === 'fenced') this.#parts.end();
      throw error;
    } finally {
      this.#expelling.delete(id);
    }
  }

  /** Asks all members for a sign of life, at a fixed interval, and expels those silent for so many intervals. */
  tick(longestSilence: number): void {
    for (const link of this.#parts.links()) {
      link.tick();
      if (link.silence > longestSilence) this.expelUnreachable(link.peer.id, 'is unreachable');
    }
  }

  /** Expels a member unless it has left, as this node may not know yet. */
  expelUnreachable(id: string, why: string): void {
    const member = this.#parts.view().members.find((one) => one.id === id);
    if (member === undefined || this.#unreachable.has(id) || this.#parts.isOver() || this.hasLeft) return;
    this.#unreachable.add(id);
    void this.#expelUnlessLeft(member, why);
  }

  /** Never rejects. Called again and again while it fails: logs each member and each cause once. */
  async #expelUnlessLeft(member: Member, why: string): Promise<void> {
    const { id } = member;
    const { views, adopt, isOver } = this.#parts;
    try {
      const newest = await views.read();
      if (isOver() || this.hasLeft) return;
      if (!newest.members.some((one) => keyOf(one) === keyOf(member))) return adopt(newest);
      this.#warnOnce(member, `node ${id} ${why}: it will be expelled`);
      await this.expel(id);
    } catch (error) {
      this.#warnOnce(member, `expelling node ${id} failed`, error);
    } finally {
      this.#unreachable.delete(id);
    }
  }

  #warnOnce(member: Member, message: string, error?: unknown): void {
    const key = `${keyOf(member)} ${error === undefined ? message : error}`;
    const { members } = this.#parts.view();
    for (const [warned, of] of this.#warned) if (!members.some((one) => keyOf(one) === of)) this.#warned.delete(warned);
    if (this.#warned.has(key)) return;
    this.#warned.set(key, keyOf(member));
    this.#parts.options.warn(message, error);
  }

  #ownIn({ members }: View): Member | undefined {
    return members.find((one) => keyOf(one) === keyOf(this.#parts.name));
  }
}
