/**
 * What one account may cost the server, over all its connections: stanzas and bytes that come in, bytes of answers that go
 * out, and CPU time. Before the login all connections of a network address share one. A share that is used up slows its
 * streams down; it never ends them, and other shares go on.
 */

import { Recent } from '../storage/recent.js';
import { monotonic, wall } from './clock.js';
import { addressBlock } from './config/address.js';
import type { Config } from './config/schema.js';

type Rates = Config['limits']['rate_account'];

/** How long the streams of one share are served while others wait for their turn, in ms. */
export const turnMs = 2;
/** What all shares that did much lately do in one turn of the event loop before they wait for the next, in ms. */
const busyTurnMs = 4;
/** CPU time beyond which a share did much lately, in ms. */
const busyAboveMs = 10;
/** CPU time that counts no more for that, in ms a second. */
const restMs = 5;
/** How often a share is refilled, in ms. */
const refillMs = 50;
/** The longest piece of work that is counted in full, in ms: a clock that jumps is nobody's work. */
const longestWorkMs = 1000;
/** Bytes that were multiplied count no more at this rate, in bytes a second. */
const forgottenBytes = 262_144;
/** What was written counts no more at this rate, in bytes a second: so fast large writers go on where the disk gets full. */
const forgottenWrites = 16_384;
/** What was written counts up to so much: nobody pays later for what there was room for, in bytes. */
const mostWritten = 1_310_720;
/** How long who has to wait for room on the disk waits until that is looked at again, in ms. */
const longestWaitMs = 2000;
const dayMs = 86_400_000;
/** Unused shares that are remembered, so that nobody gets a full one by connecting again. */
const mostRemembered = 20_000;

/**
 * Shares that did much lately go on one after the other, one in each turn of the event loop, however many they are: whoever
 * does little waits for one of their stanzas at most. The event loop is one for the process, and so is this.
 */
class Lane {
  /** Ms of the present turn of the event loop. */
  #turn = 0;
  readonly #waiting = new Set<Share>();
  /** Whose turn it is. */
  #served: Share | undefined;
  #isDue = false;

  /** Whether the share has to wait for its turn. */
  isClosedTo(share: Share): boolean {
    return share !== this.#served && (this.#waiting.size > 0 || this.#turn >= busyTurnMs);
  }

  worked(ms: number): void {
    this.#turn += ms;
    if (this.#turn >= busyTurnMs) this.#arrange();
  }

  wait(share: Share): void {
    this.#waiting.add(share);
    this.#arrange();
  }

  #arrange(): void {
    if (this.#isDue) return;
    this.#isDue = true;
    setImmediate(this.#next);
  }

  readonly #next = (): void => {
    this.#isDue = false;
    this.#turn = 0;
    for (const share of this.#waiting) {
      this.#waiting.delete(share);
      // Served meanwhile, as its own turn ended.
      if (!share.hasWaiting) continue;
      this.#served = share;
      share.goOn();
      this.#served = undefined;
      break;
    }
    if (this.#waiting.size > 0) this.#arrange();
  };
}

const lane = new Lane();

/** Seconds until nothing is owed any more. What has no limit owes nothing. */
const owed = (left: number, rate: number): number => (left < 0 ? -left / rate : 0);

export class Share {
  #stanzas: number;
  #bytes: number;
  #answerBytes: number;
  #cpuMs: number;
  #refilled = monotonic();
  /** Ms of the present turn of the event loop. */
  #turn = 0;
  /** CPU time of late, in ms. */
  #lately = 0;
  /** Streams that wait, in order; each is there once. */
  readonly #queue: (() => void)[] = [];
  #timer: NodeJS.Timeout | undefined;
  /** Streams whose stanzas wait for room on the disk, in order. */
  readonly #writers: (() => void)[] = [];
  #writerTimer: NodeJS.Timeout | undefined;
  /** Streams that use it. */
  users = 0;
  /** Writes that wait for the disk, and bytes of them. */
  waiting = 0;
  waitingBytes = 0;
  /** Too much of that waits (stream/backlog.ts). */
  isHeld = false;
  /** Bytes that its stanzas of late put into the queues of clients (stream/congestion.ts). */
  multiplied = 0;
  /** What its stanzas stored lately, in bytes. */
  #written = 0;
  /** The same by day (UTC). */
  #day = 0;
  #writtenToday = 0;
  #writtenYesterday = 0;

  constructor(
    /** The table of `limits` that sets its rates. */
    readonly name: 'rate_account' | 'rate_address' | 'rate_component',
    readonly rates: () => Rates,
    readonly limitHit: (limit: string) => void,
    /** Bytes that it may have written lately (disk-space.ts). */
    readonly writable: () => number = () => Number.POSITIVE_INFINITY,
  ) {
    const { stanza_burst, byte_burst, answer_byte_burst, cpu_ms_burst } = rates();
    this.#stanzas = stanza_burst;
    this.#bytes = byte_burst;
    this.#answerBytes = answer_byte_burst;
    this.#cpuMs = cpu_ms_burst;
  }

  refill(now: number): void {
    const ms = now - this.#refilled;
    if (ms < refillMs) return;
    this.#refilled = now;
    const seconds = ms / 1000;
    const rates = this.rates();
    this.#stanzas = Math.min(rates.stanza_burst, this.#stanzas + seconds * rates.stanzas_per_second);
    this.#bytes = Math.min(rates.byte_burst, this.#bytes + seconds * rates.bytes_per_second);
    this.#answerBytes = Math.min(rates.answer_byte_burst, this.#answerBytes + seconds * rates.answer_bytes_per_second);
    this.#cpuMs = Math.min(rates.cpu_ms_burst, this.#cpuMs + seconds * rates.cpu_ms_per_second);
    this.multiplied = Math.max(0, this.multiplied - seconds * forgottenBytes);
    this.#lately = Math.max(0, this.#lately - seconds * restMs);
    this.#written = Math.max(0, this.#written - seconds * forgottenWrites);
  }

  /** Something was read. */
  received(now: number, bytes: number): void {
    this.refill(now);
    this.#bytes -= bytes;
  }

  takeStanza(): void {
    this.#stanzas--;
  }

  /** So much was written because it was asked for. */
  answered(bytes: number): void {
    this.#answerBytes -= bytes;
  }

  /** One of its stanzas stores so many bytes. */
  wrote(bytes: number): void {
    this.#written = Math.min(mostWritten, this.#written + bytes);
    this.#toDay();
    this.#writtenToday += bytes;
  }

  #toDay(): void {
    const day = Math.floor(wall() / dayMs);
    if (day === this.#day) return;
    this.#writtenYesterday = day === this.#day + 1 ? this.#writtenToday : 0;
    this.#writtenToday = 0;
    this.#day = day;
  }

  /** Bytes that its stanzas stored, by days of UTC. */
  get written(): { readonly today: number; readonly yesterday: number } {
    this.#toDay();
    return { today: this.#writtenToday, yesterday: this.#writtenYesterday };
  }

  /** Its streams had the CPU for so long. */
  worked(ms: number): void {
    const counted = Math.min(ms, longestWorkMs);
    this.#cpuMs -= counted;
    // Where that is unlimited, so is this.
    if (this.#cpuMs !== Number.POSITIVE_INFINITY) this.#lately += counted;
    if (this.#isBusy) lane.worked(ms);
    if (this.#turn < turnMs && this.#turn + ms >= turnMs) setImmediate(this.#nextTurn);
    this.#turn += ms;
  }

  /** It did much lately. */
  get #isBusy(): boolean {
    return this.#lately > busyAboveMs;
  }

  /** Whether its streams have to wait. */
  get isSpent(): boolean {
    return this.#turn >= turnMs || (this.#isBusy && lane.isClosedTo(this)) || this.isHalted;
  }

  /** Whether they have to wait for longer than their next turn. */
  get isHalted(): boolean {
    return this.isHeld || this.#isEmpty;
  }

  get #isEmpty(): boolean {
    return this.#bytes < 0 || this.#stanzas < 0 || this.#answerBytes < 0 || this.#cpuMs < 0;
  }

  /** Calls `go` once there is something to spend again, after those who wait already. */
  wait(go: () => void): void {
    this.#queue.push(go);
    this.#arrange();
  }

  /** The backlog of the disk holds it no longer. */
  release(): void {
    this.isHeld = false;
    if (this.#queue.length > 0) setImmediate(this.#serve);
  }

  /** Of those that wait, each gets its turn as long as there is something to spend. */
  #serve = (): void => {
    this.refill(monotonic());
    while (this.#queue.length > 0 && !this.isSpent) {
      this.#queue.shift()!();
      // What it does behind a promise has to be known first.
      if (this.#isBusy) break;
    }
    if (this.#queue.length > 0) this.#arrange();
  };

  #nextTurn = (): void => {
    this.#turn = 0;
    this.goOn();
  };

  get hasWaiting(): boolean {
    return this.#queue.length > 0;
  }

  /** A reason to wait is over. */
  goOn(): void {
    if (this.hasWaiting) this.#serve();
  }

  /** Sees to it that those who wait are served. Its own turn ends by itself, and the backlog calls `release`. */
  #arrange(): void {
    if (!this.isHalted) {
      if (this.#turn < turnMs) lane.wait(this);
      return;
    }
    if (!this.#isEmpty || this.#timer !== undefined) return;
    const rates = this.rates();
    const debts = [
      ['stanzas_per_second', owed(this.#stanzas, rates.stanzas_per_second)],
      ['bytes_per_second', owed(this.#bytes, rates.bytes_per_second)],
      ['answer_bytes_per_second', owed(this.#answerBytes, rates.answer_bytes_per_second)],
      ['cpu_ms_per_second', owed(this.#cpuMs, rates.cpu_ms_per_second)],
    ] as const;
    const [limit, seconds] = debts.reduce((one, other) => (other[1] > one[1] ? other : one));
    this.limitHit(`${this.name}.${limit}`);
    this.#timer = setTimeout(
      () => {
        this.#timer = undefined;
        this.#serve();
      },
      Math.max(seconds * 1000, refillMs),
    ).unref();
  }

  /** Whether it wrote too much lately for the room that is left on the disk: what may be stored has to wait. */
  get isOutOfRoom(): boolean {
    return this.#written > this.writable();
  }

  /** Calls `go` once it may write again, after those who wait already. */
  waitForRoom(go: () => void): void {
    this.limitHit('storage.low_space_bytes');
    this.#writers.push(go);
    this.#arrangeWriters();
  }

  #arrangeWriters(): void {
    if (this.#writerTimer !== undefined) return;
    const ms = ((this.#written - this.writable()) / forgottenWrites) * 1000;
    this.#writerTimer = setTimeout(
      () => {
        this.#writerTimer = undefined;
        this.refill(monotonic());
        while (this.#writers.length > 0 && !this.isOutOfRoom) this.#writers.shift()!();
        if (this.#writers.length > 0) this.#arrangeWriters();
      },
      Math.min(Math.max(ms, refillMs), longestWaitMs),
    ).unref();
  }
}

/** The shares of all who are connected, and of those who were lately. */
export class Shares {
  readonly #used = new Map<string, Share>();
  readonly #unused = new Recent<Share>(mostRemembered);
  readonly #keys = new Map<Share, string>();

  constructor(
    readonly limits: () => Config['limits'],
    readonly limitHit: (limit: string) => void,
    /** Whether connections of many people come from an address: a proxy's. */
    readonly bringsEverybody: (address: string) => boolean,
    /** Bytes that an account may have written lately. */
    readonly writable: () => number = () => Number.POSITIVE_INFINITY,
  ) {}

  /** Shares that are in use. */
  get size(): number {
    return this.#used.size;
  }

  /** For a connection before its login. Given back by `leave`, as all. */
  ofAddress(address: string): Share {
    const make = () => new Share('rate_address', () => this.limits().rate_address, this.limitHit);
    return this.bringsEverybody(address) ? make() : this.#enter(`net:${addressBlock(address)}`, make);
  }

  ofAccount(bare: string): Share {
    return this.#enter(
      bare,
      () => new Share('rate_account', () => this.limits().rate_account, this.limitHit, this.writable),
    );
  }

  /** For an external component (XEP-0114), by its domain. */
  ofComponent(domain: string): Share {
    return this.#enter(
      `component:${domain}`,
      () => new Share('rate_component', () => this.limits().rate_component, this.limitHit, this.writable),
    );
  }

  /** For an anonymous account (XEP-0175): another one is to be had at any time, so that those of an address count as one. */
  ofAnonymous(bare: string, address: string): Share {
    return this.ofAccount(this.bringsEverybody(address) ? bare : `anonymous:${addressBlock(address)}`);
  }

  /** Bytes that the stanzas of an account stored since the server started, as far as is remembered. */
  writtenBy(bare: string): Share['written'] {
    return (this.#used.get(bare) ?? this.#unused.get(bare))?.written ?? { today: 0, yesterday: 0 };
  }

  #enter(key: string, make: () => Share): Share {
    let share = this.#used.get(key);
    if (share === undefined) {
      share = this.#unused.get(key) ?? make();
      this.#unused.delete(key);
      this.#used.set(key, share);
      this.#keys.set(share, key);
    }
    share.users++;
    return share;
  }

  /** A stream uses it no longer. */
  leave(share: Share): void {
    const key = this.#keys.get(share);
    if (key === undefined || --share.users > 0) return;
    this.#keys.delete(share);
    this.#used.delete(key);
    this.#unused.set(key, share);
  }
}

// What is done behind a promise that needs nothing from outside goes on in the same turn of the event loop, and belongs to
// the stream that waited for it: it costs from where the work before it ended. A promise that takes longer is a wait.
let turn = 0;
let isTurnNoted = false;
/** Until when all work is charged, in ms. */
let charged = 0;

const endTurn = (): void => {
  isTurnNoted = false;
  turn++;
};

/** The present turn of the event loop, for work that goes on behind a promise. */
export function presentTurn(): number {
  if (!isTurnNoted) {
    isTurnNoted = true;
    setImmediate(endTurn);
  }
  return turn;
}

export const isPresentTurn = (one: number): boolean => one === turn;

/** Work from `since` on has come to an end, or a pause. Returns what nobody was charged for, in ms. */
export function charge(since: number, now: number): number {
  const ms = now - Math.max(since, charged);
  charged = now;
  return ms;
}
