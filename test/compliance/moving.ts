/**
 * `WAXWING_MOVING=SEED` runs dialogues on two nodes and moves the addresses of the scenario from one to the other between
 * any two lines: what a client sends, or waits for.
 */
import { Jid } from '../../src/server/address/jid.js';
import type { Server } from '../../src/server/index.js';
import { mulberry32 } from '../../src/storage/wrappers.js';

export const movingSeed = process.env.WAXWING_MOVING === undefined ? undefined : Number(process.env.WAXWING_MOVING);

/** Addresses in what clients say: rooms and accounts that have no client. */
const addresses = /\b[\w.-]{1,60}@(?:[\w-]+\.)*(?:localhost|elsewhere\.example)\b/g;
/** Most addresses of one scenario that move. */
const mostAddresses = 40;
/** After so many moves of a scenario, later ones become rarer: a dialogue of a thousand lines is not about each of them. */
const manyMoves = 20;

export class Mover {
  readonly #random: () => number;
  readonly #nodes: () => readonly Server[];
  /** Whether an address has a client that has not bound its resource: it cannot move. */
  readonly #isFixed: (bare: string) => boolean;
  readonly #moving = new Set<string>();
  #move: Promise<void> | undefined;
  #moves = 0;

  constructor(
    seed: number,
    nodes: () => readonly Server[],
    isFixed: (bare: string) => boolean,
    /** For transcripts. */
    readonly log: (text: string) => void,
  ) {
    this.#random = mulberry32(seed);
    this.#nodes = nodes;
    this.#isFixed = isFixed;
  }

  /** Addresses of the scenario. */
  note(text: string): void {
    for (const [address] of text.matchAll(addresses)) {
      const jid = Jid.tryParse(address);
      if (jid?.local !== undefined && this.#moving.size < mostAddresses) this.#moving.add(jid.bare);
    }
  }

  forget(): void {
    this.#moving.clear();
    this.#moves = 0;
  }

  /** Between two lines: moves some addresses. Half of the moves go on while the dialogue does. */
  async step(): Promise<void> {
    await this.#move;
    // The nodes have stopped, or are starting.
    if (!this.#nodes().every(({ node }) => node!.view.members.length === this.#nodes().length)) return;
    const share = this.#moves < manyMoves ? 0.4 : (0.4 * manyMoves) / this.#moves;
    const bares = [...this.#moving].filter((bare) => !this.#isFixed(bare) && this.#random() < share);
    if (bares.length === 0) return;
    this.#moves++;
    this.#move = this.#swap(bares);
    if (this.#random() < 0.5) await this.#move;
  }

  /** Resolves when nothing moves. */
  async rest(): Promise<void> {
    await this.#move;
    await this.#atRest();
  }

  async #swap(bares: readonly string[]): Promise<void> {
    this.log(`moves ${bares.join(', ')}`);
    const nodes = this.#nodes();
    const jids = bares.map((bare) => Jid.parse(bare));
    const gifts = nodes.map((server, at) => {
      const node = server.node!;
      const other = nodes[(at + 1) % nodes.length]!.node!;
      return { node, slots: jids.map((jid) => node.slotOf(jid)).filter((slot) => node.acts(slot)), to: other.name.id };
    });
    for (const { node, slots, to } of gifts) if (slots.length > 0) await node.give(slots, to);
    await this.#atRest();
    this.log('moved');
  }

  async #atRest(): Promise<void> {
    while (!this.#nodes().every(({ node }) => node!.isAtRest)) await new Promise((resolve) => setImmediate(resolve));
  }
}
