/**
 * How a node gives slots to other members: surplus ones, so that all have even shares, and those it is asked for. See
 * node.ts for the whole of a move.
 */
import type { Storage } from '../../storage/contract.js';
import { within } from '../clock.js';
import { keyOf, type NodeName } from './frames.js';
import type { Link } from './link.js';
import { slotCount } from './slots.js';
import { acting, elsewhere, finishing, isLeaving, stopping } from './states.js';
import { type Changed, deal, isEven, type Member, type View, type ViewStore } from './view.js';

const { setTimeout } = globalThis;

/** Ms before another attempt. */
const retryPause = 100;
/** How long other nodes may take to confirm what was sent before, in ms: at first, and after some attempts. */
const patience = { first: 500, most: 16_000 };

/** What a home hands over: state of a slot, or of the node for all slots. */
export interface Handed {
  readonly slot: number | undefined;
  readonly state: string;
}

export interface GivingOptions {
  /** The node's own handle. */
  readonly storage: Storage;
  /** These slots are about to move: begin no more work of their addresses. Resolves when what has begun is done. */
  pausing(slots: ReadonlySet<number>): Promise<void>;
  /** Nothing begins for these slots any more, and what has begun is done: persists what is to be written later. */
  finishing(slots: ReadonlySet<number>): Promise<void>;
  /** Nothing is done for these slots any more, until `left` or `stayed`. Yields what their next homes need to know. */
  state(slots: ReadonlySet<number>): AsyncIterable<Handed>;
  /** These slots live at other members now. */
  left(homes: ReadonlyMap<number, Member>): void;
  /** These slots remain here after all. */
  stayed(slots: ReadonlySet<number>): void;
  /** Logs a condition that needs attention but is not fatal. */
  warn(message: string, error?: unknown): void;
}

export interface GivingParts {
  readonly name: NodeName;
  readonly options: GivingOptions;
  readonly views: ViewStore;
  /** By slot. */
  readonly states: Uint8Array;
  isOver(): boolean;
  view(): View;
  adopt(view: View): void;
  announceView(): void;
  link(member: Member): Link | undefined;
  /** Resolves when nothing is done for these slots. */
  idle(slots: ReadonlySet<number>): Promise<void>;
  /** Resolves when all members have announced this version. */
  at(version: number): Promise<void>;
  /** Resolves when everything sent before is confirmed. */
  allConfirmed(): Promise<void>;
  /** Goes on with what has been received for slots in a new state. */
  resumeInbox(): void;
  /** These slots remained here after all. */
  stayed(slots: ReadonlySet<number>): void;
  changed(): void;
  /** Resolves when the condition holds, or the node has stopped. */
  until(isTrue: () => boolean): Promise<void>;
}

export class Giving {
  readonly #parts: GivingParts;
  /** Slots to be given to a member, by its number. */
  readonly #requested = new Map<number, number>();
  #isBalancing = false;
  #isUnbalanced = false;
  #patience = patience.first;

  constructor(parts: GivingParts) {
    this.#parts = parts;
  }

  /** Hands over surplus slots until the distribution is balanced. Never rejects. */
  async balance(): Promise<void> {
    this.#isUnbalanced = true;
    if (this.#isBalancing) return;
    this.#isBalancing = true;
    while (this.#isUnbalanced) {
      this.#isUnbalanced = false;
      await this.#handOver();
    }
    this.#isBalancing = false;
    this.#parts.changed();
  }

  /** The members that slots of this node should go to, by slot. */
  #targets(): Map<number, Member> {
    const targets = new Map<number, Member>();
    const own = this.#ownIn(this.#parts.view());
    if (this.#parts.isOver() || own === undefined || this.#parts.view().members.length < 2) return targets;
    const byNumber = new Map(this.#parts.view().members.map((member) => [member.number, member]));
    const dealt = isEven(this.#parts.view()) ? this.#parts.view().slots : deal(this.#parts.view());
    for (let slot = 0; slot < slotCount; slot++) {
      if (this.#parts.states[slot] !== acting) continue;
      const member = byNumber.get(this.#requested.get(slot) ?? dealt[slot]!);
      if (member !== undefined && member !== own) targets.set(slot, member);
    }
    return targets;
  }

  async #handOver(): Promise<void> {
    if (this.#targets().size === 0 && this.#parts.view().handingOver !== this.#parts.name.id) return;
    let slots: ReadonlySet<number> = new Set();
    try {
      const claimed = await this.#parts.views.change((view) =>
        this.#ownIn(view) !== undefined && view.handingOver === null
          ? { ...view, handingOver: this.#parts.name.id }
          : undefined,
      );
      this.#parts.adopt(claimed);
      // Another member is handing over; it announces a view when it is done.
      if (this.#parts.isOver() || claimed.handingOver !== this.#parts.name.id) return;
      const targets = this.#targets();
      slots = new Set(targets.keys());
      // Work of these addresses may need these addresses: it is finished before they stop.
      await this.#parts.options.pausing(slots);
      this.#enter(finishing, slots);
      await this.#parts.options.pausing(slots);
      await this.#parts.idle(slots);
      // Messages sent for these addresses must arrive before those that their new homes send. Until they are handled,
      // questions to these addresses are answered: the handling may depend on them.
      this.#parts.resumeInbox();
      const confirmed = this.#confirmed(claimed.version);
      if (!(await within(confirmed, this.#patience))) {
        // A confirmation may wait for these addresses in turn, as that of a private message in a room for its reader: they
        // go on until it has come.
        this.#patience = Math.min(2 * this.#patience, patience.most);
        this.#isUnbalanced = true;
        this.#parts.stayed(slots);
        let isConfirmed = false;
        const ended = (): void => {
          isConfirmed = true;
          this.#parts.changed();
        };
        confirmed.then(ended, ended);
        await this.#parts.until(() => isConfirmed);
        return;
      }
      this.#patience = patience.first;
      await this.#parts.options.finishing(slots);
      this.#enter(stopping, slots);
      await this.#parts.idle(slots);
      await this.#sendState(slots, targets);
      await Promise.all([...new Set(targets.values())].map((member) => this.#parts.link(member)?.statesConfirmed()));
      await this.#parts.options.storage.flush();
      if (this.#parts.isOver()) return;
      this.#parts.adopt(await this.#parts.views.change((view) => this.#handedOver(view, targets)));
      this.#parts.announceView();
    } catch (error) {
      if (this.#parts.isOver()) return;
      this.#parts.options.warn('handing over slots failed', error);
      // The change may have been made: nobody acts for the slots until this node knows.
      await this.#readAgain();
      this.#isUnbalanced = true;
    }
    const staying = new Set([...slots].filter((slot) => isLeaving(this.#parts.states[slot])));
    if (staying.size > 0 && !this.#parts.isOver()) this.#parts.stayed(staying);
  }

  /** Resolves when other nodes have confirmed everything that was sent to them before. */
  async #confirmed(version: number): Promise<void> {
    // Whoever has not seen the last view has still to take what was handed over with it, and to send on what waited.
    await this.#parts.at(version);
    await this.#parts.allConfirmed();
  }

  /** Throws if the node has stopped meanwhile. */
  #enter(state: number, slots: ReadonlySet<number>): void {
    if (this.#parts.isOver()) throw new Error('the node has stopped');
    for (const slot of slots) this.#parts.states[slot] = state;
  }

  /** Each target gets at least one message, which replaces what it has from an earlier attempt. */
  async #sendState(slots: ReadonlySet<number>, targets: ReadonlyMap<number, Member>): Promise<void> {
    const linkTo = (slot: number): Link | undefined => {
      const member = targets.get(slot);
      return member && this.#parts.link(member);
    };
    const links = new Set([...slots].map(linkTo));
    for await (const { slot, state } of this.#parts.options.state(slots)) {
      if (slot === undefined) for (const link of links) await link?.state(0, true, state);
      else await linkTo(slot)?.state(slot, false, state);
    }
  }

  async #readAgain(): Promise<void> {
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, retryPause));
      if (this.#parts.isOver()) return;
      try {
        this.#parts.adopt(await this.#parts.views.read());
        return;
      } catch (error) {
        this.#parts.options.warn('reading the view of the cluster failed', error);
      }
    }
  }

  /**
   * Gives slots of this node to another member. Resolves when none of them is here. If the shares of the members are too
   * uneven then, slots move again.
   */
  async give(slots: Iterable<number>, to: string): Promise<void> {
    const member = this.#parts.view().members.find(({ id }) => id === to);
    if (member === undefined) throw new Error(`no member of the cluster has the id ${to}`);
    const given = [...slots].filter(
      (slot) => member.id !== this.#parts.name.id && this.#parts.states[slot] !== elsewhere,
    );
    for (const slot of given) this.#requested.set(slot, member.number);
    void this.balance();
    await this.#parts.until(() => given.every((slot) => !this.#requested.has(slot)));
  }

  /** The slot is at another member now. */
  gave(slot: number): void {
    this.#requested.delete(slot);
  }

  /** Nobody can have what was requested by members that are gone. */
  viewed({ members }: View): void {
    for (const [slot, number] of this.#requested)
      if (!members.some((member) => member.number === number)) this.#requested.delete(slot);
  }

  #ownIn({ members }: View): Member | undefined {
    return members.find((one) => keyOf(one) === keyOf(this.#parts.name));
  }

  /**
   * The view that assigns these slots to the members that have their state. Slots for members that are gone or
   * leaving stay. Returns undefined if this node is not a member.
   */
  #handedOver(view: View, targets: ReadonlyMap<number, Member>): Changed | undefined {
    const own = this.#ownIn(view);
    if (own === undefined) return undefined;
    const members = new Set(view.members.filter(({ isLeaving }) => !isLeaving).map(keyOf));
    const slots = view.slots.map((number, slot) => {
      const target = targets.get(slot);
      return number === own.number && target !== undefined && members.has(keyOf(target)) ? target.number : number;
    });
    return { ...view, slots, handingOver: null };
  }
}
