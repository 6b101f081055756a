/**
 * What other homes hand over to this node, until it acts for the slots. It counts only if the hand-over was completed:
 * the node that sent it gives up the slots by a view, and is a member of that view. A node that was expelled in between
 * may have gone on with the slots after it sent this.
 */

interface Sent {
  readonly introduction: string;
  readonly bySlot: Map<number, string[]>;
}

export class HandedOver {
  /** By the node that sent it. */
  readonly #sent = new Map<string, Sent>();
  /** For slots that this node has gained. */
  readonly #gained = new Map<number, string[]>();
  #introductions: string[] = [];

  /** `isFirst`: of a hand-over, about the node that sends it. */
  received(node: string, slot: number, isFirst: boolean, state: string): void {
    if (isFirst) {
      this.#sent.set(node, { introduction: state, bySlot: new Map() });
      return;
    }
    const bySlot = this.#sent.get(node)?.bySlot;
    const states = bySlot?.get(slot);
    if (states === undefined) bySlot?.set(slot, [state]);
    else states.push(state);
  }

  /** This node has gained slots from the node, which has completed its hand-over. */
  completed(node: string, slots: Iterable<number>): void {
    const sent = this.#sent.get(node);
    this.#sent.delete(node);
    if (sent === undefined) return;
    this.#introductions.push(sent.introduction);
    for (const slot of slots) {
      const states = sent.bySlot.get(slot);
      if (states !== undefined) this.#gained.set(slot, states);
    }
  }

  /** Nothing that the node handed over will be used. */
  drop(isMember: (node: string) => boolean): void {
    for (const node of [...this.#sent.keys()]) if (!isMember(node)) this.#sent.delete(node);
  }

  /** Removes and returns what belongs to these slots: first what concerns all slots of a node. */
  take(slots: ReadonlySet<number>): string[] {
    const taken = this.#introductions.splice(0);
    for (const slot of slots) {
      taken.push(...(this.#gained.get(slot) ?? []));
      this.#gained.delete(slot);
    }
    return taken;
  }
}
