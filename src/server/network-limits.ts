/**
 * Connections and their rate by network address (an IPv4 address, an IPv6 /64), bounded for the whole cluster.
 *
 * Half of each limit is divided among the nodes: within its share a node accepts connections without asking. The other
 * half is lent by the home of the address (`networkJid`): a connection beyond the share waits until the home has
 * answered. So usual clients cause no question, and the sum never exceeds the limit. If the home does not answer, the
 * node decides by what it has itself, as a single server does.
 *
 * What a node has borrowed is reported in full each time, so that a lost answer or a new home is corrected by the next
 * question.
 */
import { z } from 'zod';
import { Recent } from '../storage/recent.js';
import { monotonic } from './clock.js';
import { addressBlock } from './config/address.js';
import { Rates } from './limits/rates.js';
import type { Maybe } from './maybe.js';
import { defineQuestion } from './module/index.js';
import type { Answerer } from './routing/hooks.js';

const minute = 60_000;
/** Address blocks that are remembered. */
const mostBlocks = 100_000;
/** How long a connection waits for the answer of the home, in ms. */
const patience = 2000;
/** What is not needed any more is returned once it is so much, or all. */
const returned = 8;

const count = z.int().min(0);

export const networkShare = defineQuestion({
  name: 'network.share',
  given: z.object({
    block: z.string(),
    /** The process that asks. */
    by: z.string(),
    /** Places that it uses beyond its share, and that it would like to use. */
    held: count,
    wanted: count,
    /** New connections beyond its share of the rate. */
    arrivals: count,
  }),
  /** `places`: how many it may use. */
  answer: z.object({ places: count, arrivals: count, isFull: z.boolean() }),
});
type Given = z.output<typeof networkShare.given>;
type Answer = z.output<typeof networkShare.answer>;

/** The limit that refuses a connection. */
export type NetworkLimit = 'connections_per_address' | 'connections_per_minute';

export interface NetworkLimitsParts {
  limits(): { readonly connections_per_address: number; readonly connections_per_minute: number };
  /** Whether connections of many clients come from this address. */
  isShared(address: string): boolean;
  /** Undefined without a cluster. */
  cluster(): Membered | undefined;
  /** Asks at the home of the block. */
  ask(given: Given): Maybe<Answer>;
  /** The home could not be asked. */
  failed(error: unknown): void;
}

interface Membered {
  /** How many nodes there are, this one included. */
  readonly nodeCount: number;
  /** The name of this process. */
  readonly nodeName: string;
  isMember(name: string): boolean;
}

interface Waiting {
  /** The rate of this node has room for it. */
  readonly isInRate: boolean;
  readonly answer: (limit: NetworkLimit | undefined) => void;
}

interface Tally {
  /** Open connections at this node. */
  count: number;
  /** Places lent by the home. */
  borrowed: number;
  waiting: Waiting[];
  isAsking: boolean;
  /** The home had nothing more to lend. */
  isFull: boolean;
}

export class NetworkLimits {
  /** Answers the other nodes. */
  readonly answerer: Answerer = {
    question: networkShare as never,
    handler: ((given: Given) => this.lend(given)) as never,
  };
  readonly #parts: NetworkLimitsParts;
  /** By block; an entry for each that has connections here. */
  readonly #tallies = new Map<string, Tally>();
  #rates = new Rates(Number.POSITIVE_INFINITY, minute);
  /** At a home: the rate of what it lends, and places lent, by block and process. */
  #lentRates = new Rates(Number.POSITIVE_INFINITY, minute);
  readonly #lent = new Recent<Map<string, number>>(mostBlocks);

  constructor(parts: NetworkLimitsParts) {
    this.#parts = parts;
  }

  /** Counts a connection; call `leave` when it ends. Resolves with the limit that refuses it, if one does. */
  enter(address: string): Maybe<NetworkLimit | undefined> {
    const block = addressBlock(address);
    const tally = this.#tallyOf(block);
    if (this.#parts.isShared(address)) {
      tally.count++;
      return undefined;
    }
    const { connections_per_address: most } = this.#parts.limits();
    if (tally.count + tally.waiting.length >= most) return this.#refused(block, tally);
    const isInRate = this.#ratesHere().take(block);
    const isInShare = tally.waiting.length === 0 && tally.count < this.#share(most) + tally.borrowed;
    if (isInShare && isInRate) {
      tally.count++;
      return undefined;
    }
    if (this.#nodes === 1) {
      this.#drop(block, tally);
      return 'connections_per_minute';
    }
    const entered = new Promise<NetworkLimit | undefined>((answer) => tally.waiting.push({ isInRate, answer }));
    if (!tally.isAsking) void this.#ask(block, tally);
    return entered;
  }

  /** The same for a session that cannot wait: beyond the share it is reported instead. */
  enterNow(address: string): NetworkLimit | undefined {
    const block = addressBlock(address);
    const tally = this.#tallyOf(block);
    if (!this.#parts.isShared(address)) {
      const { connections_per_address: most } = this.#parts.limits();
      const isInShare = tally.count < this.#share(most) + tally.borrowed;
      if (tally.count >= most || (!isInShare && tally.isFull)) return this.#refused(block, tally);
      if (!this.#ratesHere().take(block)) {
        this.#drop(block, tally);
        return 'connections_per_minute';
      }
      tally.count++;
      if (!isInShare) void this.#report(block, tally);
    } else tally.count++;
    return undefined;
  }

  /** A counted connection has ended. */
  leave(address: string): void {
    const block = addressBlock(address);
    const tally = this.#tallies.get(block);
    if (tally === undefined) return;
    tally.count--;
    tally.isFull = false;
    const excess = tally.borrowed - this.#needed(tally);
    if (excess >= returned || (excess > 0 && excess === tally.borrowed)) void this.#report(block, tally);
    this.#drop(block, tally);
  }

  /** Nodes have come or gone: the new homes of addresses learn what is borrowed. Never rejects. */
  async viewed(): Promise<void> {
    for (const [block, tally] of [...this.#tallies]) if (tally.borrowed > 0) await this.#report(block, tally);
  }

  /** At the home of a block. */
  lend({ block, by, held, wanted, arrivals }: Given): Answer {
    const { connections_per_address: most } = this.#parts.limits();
    const lent = this.#lent.get(block) ?? new Map<string, number>();
    const cluster = this.#parts.cluster();
    let others = 0;
    for (const [name, places] of lent) {
      if (cluster?.isMember(name) === false) lent.delete(name);
      else if (name !== by) others += places;
    }
    const pool = most === Number.POSITIVE_INFINITY ? most : most - this.#nodes * this.#share(most);
    const free = pool - others;
    // What it uses cannot be refused any more.
    const places = Math.max(held, Math.min(wanted, free));
    if (places > 0) lent.set(by, places);
    else lent.delete(by);
    if (lent.size > 0) this.#lent.set(block, lent);
    else this.#lent.delete(block);
    const rates = this.#lentRatesHere();
    let allowed = 0;
    while (allowed < arrivals && rates.take(block)) allowed++;
    return { places, arrivals: allowed, isFull: places >= free };
  }

  // --- at the node of a connection --------------------------------------------------------------------------------

  get #nodes(): number {
    return this.#parts.cluster()?.nodeCount ?? 1;
  }

  /** The part of a limit that each node has for itself; all of it on a single node. */
  #share(most: number): number {
    const nodes = this.#nodes;
    return nodes === 1 || most === Number.POSITIVE_INFINITY ? most : Math.floor(most / (2 * nodes));
  }

  #needed({ count }: Tally): number {
    return Math.max(0, count - this.#share(this.#parts.limits().connections_per_address));
  }

  #tallyOf(block: string): Tally {
    let tally = this.#tallies.get(block);
    if (tally === undefined) {
      tally = { count: 0, borrowed: 0, waiting: [], isAsking: false, isFull: false };
      this.#tallies.set(block, tally);
    }
    return tally;
  }

  #refused(block: string, tally: Tally): NetworkLimit {
    this.#drop(block, tally);
    return 'connections_per_address';
  }

  /** Forgets a block without connections. */
  #drop(block: string, { count, borrowed, waiting, isAsking }: Tally): void {
    if (count === 0 && borrowed === 0 && waiting.length === 0 && !isAsking) this.#tallies.delete(block);
  }

  /** Asks for all that wait, one question at a time. Never rejects. */
  async #ask(block: string, tally: Tally): Promise<void> {
    tally.isAsking = true;
    while (tally.waiting.length > 0) {
      const asking = tally.waiting.splice(0);
      const share = this.#share(this.#parts.limits().connections_per_address);
      const answer = await this.#question(block, tally, {
        wanted: Math.max(tally.borrowed, tally.count + asking.length - share),
        arrivals: asking.filter(({ isInRate }) => !isInRate).length,
      });
      let arrivals = answer?.arrivals ?? Number.POSITIVE_INFINITY;
      for (const { isInRate, answer: tell } of asking) {
        const most = this.#parts.limits().connections_per_address;
        if (tally.count >= (answer === undefined ? most : share + tally.borrowed)) tell('connections_per_address');
        else if (!isInRate && arrivals-- <= 0) tell('connections_per_minute');
        else {
          tally.count++;
          tell(undefined);
        }
      }
    }
    tally.isAsking = false;
    // Not all that was lent may have been used.
    if (tally.borrowed > this.#needed(tally)) await this.#report(block, tally);
    this.#drop(block, tally);
  }

  /** Reports what is borrowed, and returns what is not needed. Never rejects. */
  async #report(block: string, tally: Tally): Promise<void> {
    if (tally.isAsking) return;
    tally.isAsking = true;
    let before: number;
    do {
      before = this.#needed(tally);
      tally.borrowed = before;
      await this.#question(block, tally, { wanted: before, arrivals: 0 });
    } while (this.#needed(tally) < before);
    tally.isAsking = false;
    if (tally.waiting.length > 0) await this.#ask(block, tally);
    this.#drop(block, tally);
  }

  /** Returns undefined if the home does not answer. */
  async #question(
    block: string,
    tally: Tally,
    { wanted, arrivals }: Pick<Given, 'wanted' | 'arrivals'>,
  ): Promise<Answer | undefined> {
    const cluster = this.#parts.cluster();
    if (cluster === undefined) return undefined;
    const held = this.#needed(tally);
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<undefined>((resolve) => {
      timer = setTimeout(() => resolve(undefined), patience).unref();
    });
    try {
      const answer = await Promise.race([
        this.#parts.ask({ block, by: cluster.nodeName, held, wanted: Math.max(held, wanted), arrivals }),
        late,
      ]);
      if (answer !== undefined) {
        tally.borrowed = Math.max(answer.places, this.#needed(tally));
        tally.isFull = answer.isFull;
      }
      return answer;
    } catch (error) {
      this.#parts.failed(error);
      return undefined;
    } finally {
      clearTimeout(timer);
    }
  }

  // --- rates --------------------------------------------------------------------------------------------------------

  /** The share of this node. */
  #ratesHere(): Rates {
    return (this.#rates = this.#current(this.#rates, (most) => this.#share(most)));
  }

  /** What the homes lend. */
  #lentRatesHere(): Rates {
    return (this.#lentRates = this.#current(this.#lentRates, (most) => most - this.#nodes * this.#share(most)));
  }

  /** The rates, or new ones if the limits or the number of nodes have changed. */
  #current(rates: Rates, partOf: (most: number) => number): Rates {
    const { connections_per_address, connections_per_minute } = this.#parts.limits();
    // A full set of connections may arrive at once, as after a restart, but not a full minute's worth.
    const atOnce = Math.min(connections_per_minute, connections_per_address);
    const window = atOnce === Number.POSITIVE_INFINITY ? minute : (minute * atOnce) / connections_per_minute;
    const part = atOnce === Number.POSITIVE_INFINITY ? atOnce : partOf(atOnce);
    return rates.limit === part && rates.window === window ? rates : new Rates(part, window, mostBlocks, monotonic);
  }
}
