/**
 * What one account may cost the server over all its connections: incoming stanzas and bytes, bytes of answers, and CPU
 * time. Before login, all connections from a network address have one share. A used-up share pauses its streams; it
 * never closes them, and does not affect other shares.
 */

import { z } from 'zod';
import { Recent } from '../../storage/recent.js';
import { monotonic, wall } from '../clock.js';
import { addressBlock } from '../config/address.js';
import type { Config } from '../config/schema.js';
import { Bucket } from './bucket.js';
import { TurnQueue } from './turn-queue.js';

type Rates = Config['limits']['rate_account'];

/** How long streams of one share are served in a row while others are waiting, in ms. */
export const turnMs = 2;
/** How long all busy shares are served in one turn of the event loop, in ms. */
const busyTurnMs = 4;
/** A share with more recent CPU time counts as busy, in ms. */
const busyAboveMs = 10;
/** Decay of recent CPU time, in ms per second. */
const cpuDecayMs = 5;
/** Interval of refills, in ms. */
const refillMs = 50;
/** The longest work counted in full, in ms, in case the clock jumps. */
const longestWorkMs = 1000;
/** Decay of fan-out, in bytes per second. */
const fanOutDecay = 262_144;
/** Decay of recent writes, in bytes per second; so fast writers of large data continue when the disk is nearly full. */
const writeDecay = 16_384;
/**
 * Most recent writes that count, in bytes: nothing is held against an account that was written while there was space.
 */
const mostWritten = 1_310_720;
/** Longest time between checks for disk space by paused streams, in ms. */
const longestWaitMs = 2000;
const dayMs = 86_400_000;
/** Unused shares remembered, so that reconnecting does not give a full one. */
const mostRemembered = 20_000;

/**
 * Busy shares are served one per turn of the event loop, however many they are: others wait for at most one of their
 * stanzas. There is one event loop per process, and so one queue.
 */
const busy: TurnQueue<Share> = new TurnQueue(busyTurnMs, (share) => share.goOn(), 1);

/** What an account that moves to another node has used up, and what it has written. */
export const movedShare = z.object({
  stanzas: z.number(),
  bytes: z.number(),
  answerBytes: z.number(),
  cpuMs: z.number(),
  /** Recent writes and fan-out, in bytes. */
  written: z.number(),
  multiplied: z.number(),
  /** Bytes written, by day. */
  day: z.number(),
  today: z.number(),
  yesterday: z.number(),
});
type MovedShare = z.output<typeof movedShare>;

export class Share {
  readonly #stanzas: Bucket;
  readonly #bytes: Bucket;
  readonly #answerBytes: Bucket;
  readonly #cpuMs: Bucket;
  #refilled = monotonic();
  /** Time used in the current turn of the event loop, in ms. */
  #turn = 0;
  /** Recent CPU time, in ms. */
  #recentCpuMs = 0;
  /** Paused streams, in order; each is in it once. */
  readonly #queue: (() => void)[] = [];
  #timer: NodeJS.Timeout | undefined;
  /** Streams paused for disk space, in order. */
  readonly #writers: (() => void)[] = [];
  #writerTimer: NodeJS.Timeout | undefined;
  /** Streams that use it. */
  users = 0;
  /** Pending writes, and their bytes. */
  waiting = 0;
  waitingBytes = 0;
  /** Too many writes are pending (backlog.ts). */
  isHeld = false;
  /** Recent fan-out of its stanzas to queues of clients, in bytes (congestion.ts). */
  multiplied = 0;
  /** Recent writes of its stanzas, in bytes. */
  #written = 0;
  /** The day (UTC) of the counts below. */
  #day = 0;
  #writtenToday = 0;
  #writtenYesterday = 0;

  constructor(
    /** The table in `limits` with its rates. */
    readonly name: 'rate_account' | 'rate_address' | 'rate_component' | 'rate_server',
    readonly rates: () => Rates,
    readonly limitHit: (limit: string) => void,
    /** Bytes that it may have written recently (disk-space.ts). */
    readonly writable: () => number = () => Number.POSITIVE_INFINITY,
  ) {
    const { stanza_burst, byte_burst, answer_byte_burst, cpu_ms_burst } = rates();
    this.#stanzas = new Bucket(stanza_burst);
    this.#bytes = new Bucket(byte_burst);
    this.#answerBytes = new Bucket(answer_byte_burst);
    this.#cpuMs = new Bucket(cpu_ms_burst);
  }

  refill(now: number): void {
    const ms = now - this.#refilled;
    if (ms < refillMs) return;
    this.#refilled = now;
    const seconds = ms / 1000;
    const rates = this.rates();
    this.#stanzas.refill(seconds, rates.stanzas_per_second, rates.stanza_burst);
    this.#bytes.refill(seconds, rates.bytes_per_second, rates.byte_burst);
    this.#answerBytes.refill(seconds, rates.answer_bytes_per_second, rates.answer_byte_burst);
    this.#cpuMs.refill(seconds, rates.cpu_ms_per_second, rates.cpu_ms_burst);
    this.multiplied = Math.max(0, this.multiplied - seconds * fanOutDecay);
    this.#recentCpuMs = Math.max(0, this.#recentCpuMs - seconds * cpuDecayMs);
    this.#written = Math.max(0, this.#written - seconds * writeDecay);
  }

  /** Bytes were read. */
  received(now: number, bytes: number): void {
    this.refill(now);
    this.#bytes.take(bytes);
  }

  takeStanza(): void {
    this.#stanzas.take(1);
  }

  /** Counts bytes of answers. */
  answered(bytes: number): void {
    this.#answerBytes.take(bytes);
  }

  /** Counts bytes that one of its stanzas stores. */
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

  describe(): MovedShare {
    this.refill(monotonic());
    const rates = this.rates();
    return {
      stanzas: this.#stanzas.used(rates.stanza_burst),
      bytes: this.#bytes.used(rates.byte_burst),
      answerBytes: this.#answerBytes.used(rates.answer_byte_burst),
      cpuMs: this.#cpuMs.used(rates.cpu_ms_burst),
      written: this.#written,
      multiplied: this.multiplied,
      day: this.#day,
      today: this.#writtenToday,
      yesterday: this.#writtenYesterday,
    };
  }

  /** Goes on with a new share as it was described at another node. */
  restore(moved: MovedShare): void {
    this.#stanzas.take(moved.stanzas);
    this.#bytes.take(moved.bytes);
    this.#answerBytes.take(moved.answerBytes);
    this.#cpuMs.take(moved.cpuMs);
    this.#written = moved.written;
    this.multiplied = moved.multiplied;
    this.#day = moved.day;
    this.#writtenToday = moved.today;
    this.#writtenYesterday = moved.yesterday;
  }

  /** Bytes stored by its stanzas, by day (UTC). */
  get written(): { readonly today: number; readonly yesterday: number } {
    this.#toDay();
    return { today: this.#writtenToday, yesterday: this.#writtenYesterday };
  }

  /** Counts CPU time of its streams. */
  worked(ms: number): void {
    const counted = Math.min(ms, longestWorkMs);
    this.#cpuMs.take(counted);
    // If that is unlimited, so is this.
    if (this.#cpuMs.left !== Number.POSITIVE_INFINITY) this.#recentCpuMs += counted;
    if (this.#isBusy) busy.worked(ms);
    if (this.#turn < turnMs && this.#turn + ms >= turnMs) setImmediate(this.#nextTurn);
    this.#turn += ms;
  }

  /** It used much CPU time recently. */
  get #isBusy(): boolean {
    return this.#recentCpuMs > busyAboveMs;
  }

  /** Whether its streams must pause. */
  get isSpent(): boolean {
    return this.#turn >= turnMs || (this.#isBusy && busy.isClosedTo(this)) || this.isHalted;
  }

  /** Whether they must pause for longer than until their next turn. */
  get isHalted(): boolean {
    return this.isHeld || this.#isEmpty;
  }

  get #isEmpty(): boolean {
    return (
      this.#bytes.isOverdrawn || this.#stanzas.isOverdrawn || this.#answerBytes.isOverdrawn || this.#cpuMs.isOverdrawn
    );
  }

  /** Calls `go` once the share has budget again, after those already waiting. */
  wait(go: () => void): void {
    this.#queue.push(go);
    this.#arrange();
  }

  /** Its pending writes are below the limit again. */
  release(): void {
    this.isHeld = false;
    if (this.#queue.length > 0) setImmediate(this.#serve);
  }

  /** Serves the waiting streams in order while there is budget. */
  #serve = (): void => {
    this.refill(monotonic());
    while (this.#queue.length > 0 && !this.isSpent) {
      this.#queue.shift()!();
      // Its asynchronous work must be counted first.
      if (this.#isBusy) break;
    }
    if (this.#queue.length > 0) this.#arrange();
  };

  #nextTurn = (): void => {
    this.#turn = 0;
    this.goOn();
  };

  /** A reason to wait is over. Returns false if no stream is waiting. */
  goOn(): boolean {
    if (this.#queue.length === 0) return false;
    this.#serve();
    return true;
  }

  /** Schedules the waiting streams. An account's own turn ends without a call; the backlog calls `release`. */
  #arrange(): void {
    if (!this.isHalted) {
      if (this.#turn < turnMs) busy.wait(this);
      return;
    }
    if (!this.#isEmpty || this.#timer !== undefined) return;
    const rates = this.rates();
    const debts = [
      ['stanzas_per_second', this.#stanzas.owes(rates.stanzas_per_second)],
      ['bytes_per_second', this.#bytes.owes(rates.bytes_per_second)],
      ['answer_bytes_per_second', this.#answerBytes.owes(rates.answer_bytes_per_second)],
      ['cpu_ms_per_second', this.#cpuMs.owes(rates.cpu_ms_per_second)],
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

  /** Whether it wrote too much recently for the free disk space: stanzas that may be stored must wait. */
  get isOutOfRoom(): boolean {
    return this.#written > this.writable();
  }

  /** Calls `go` once it may write again, after those already waiting. */
  waitForRoom(go: () => void): void {
    this.limitHit('storage.low_space_bytes');
    this.#writers.push(go);
    this.#arrangeWriters();
  }

  #arrangeWriters(): void {
    if (this.#writerTimer !== undefined) return;
    const ms = ((this.#written - this.writable()) / writeDecay) * 1000;
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

/** Whether a key is the address of an account. No local part of an address has a colon. */
const isAccount = (key: string): boolean => /^[^:]*@/.test(key);

/** The shares of all connected clients, and recent ones. */
export class Shares {
  readonly #used = new Map<string, Share>();
  readonly #unused = new Recent<Share>(mostRemembered);
  readonly #keys = new Map<Share, string>();

  constructor(
    readonly limits: () => Config['limits'],
    readonly limitHit: (limit: string) => void,
    /** Whether an address is a proxy's, with connections of many clients. */
    readonly isSharedAddress: (address: string) => boolean,
    /** Bytes that an account may have written recently. */
    readonly writable: () => number = () => Number.POSITIVE_INFINITY,
  ) {}

  /** Shares in use. */
  get size(): number {
    return this.#used.size;
  }

  /** For a connection before login. Release every share with `leave`. */
  ofAddress(address: string): Share {
    const make = () => new Share('rate_address', () => this.limits().rate_address, this.limitHit);
    return this.isSharedAddress(address) ? make() : this.#enter(`net:${addressBlock(address)}`, make);
  }

  ofAccount(bare: string): Share {
    return this.#enter(bare, this.#newAccount);
  }

  readonly #newAccount = (): Share =>
    new Share('rate_account', () => this.limits().rate_account, this.limitHit, this.writable);

  /** For an external component (XEP-0114), by its domain. */
  ofComponent(domain: string): Share {
    return this.#enter(
      `component:${domain}`,
      () => new Share('rate_component', () => this.limits().rate_component, this.limitHit, this.writable),
    );
  }

  /** For a domain of another server that has proved it, or by the name of a rule for several, with rates of its own. */
  ofServer(name: string, rates: () => Rates = () => this.limits().rate_server): Share {
    return this.#enter(`server:${name}`, () => new Share('rate_server', rates, this.limitHit, this.writable));
  }

  /** For anonymous accounts (XEP-0175), which are free to create: those from one address have one share. */
  ofAnonymous(bare: string, address: string): Share {
    return this.ofAccount(this.isSharedAddress(address) ? bare : `anonymous:${addressBlock(address)}`);
  }

  /** Bytes stored by stanzas of an account since the server started, as far as remembered. */
  writtenBy(bare: string): Share['written'] {
    return (this.#used.get(bare) ?? this.#unused.get(bare))?.written ?? { today: 0, yesterday: 0 };
  }

  // --- moves ----------------------------------------------------------------------------------------------------------

  /** What these accounts have used up. */
  *describe(concerns: (bare: string) => boolean): Iterable<readonly [bare: string, moved: MovedShare]> {
    for (const shares of [this.#used, this.#unused])
      for (const [key, share] of shares.entries()) {
        if (!isAccount(key) || !concerns(key)) continue;
        const moved = share.describe();
        const { day, ...counts } = moved;
        if (Object.values(counts).some((count) => count > 0)) yield [key, moved];
      }
  }

  /** These accounts have moved to another node, or from one. Their streams here keep the shares until they have left. */
  moved(concerns: (bare: string) => boolean): void {
    const matches = (key: string) => isAccount(key) && concerns(key);
    this.#unused.deleteIf(matches);
    for (const [key, share] of this.#used)
      if (matches(key)) {
        this.#used.delete(key);
        this.#keys.delete(share);
      }
  }

  /** An account has moved to this node. */
  restore(bare: string, moved: MovedShare): void {
    const share = this.#newAccount();
    share.restore(moved);
    this.#unused.set(bare, share);
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

  /** A stream no longer uses the share. */
  leave(share: Share): void {
    const key = this.#keys.get(share);
    if (key === undefined || --share.users > 0) return;
    this.#keys.delete(share);
    this.#used.delete(key);
    this.#unused.set(key, share);
  }
}

// An awaited promise that depends on nothing external resolves in the same turn of the event loop: its work is charged
// to the stream, from where the previous work ended. A promise that takes longer is a wait.
let turn = 0;
let isTurnNoted = false;
/** All work until this time has been charged, in ms. */
let charged = 0;

const endTurn = (): void => {
  isTurnNoted = false;
  turn++;
};

/** The current turn of the event loop, for work that continues after a promise. */
export function presentTurn(): number {
  if (!isTurnNoted) {
    isTurnNoted = true;
    setImmediate(endTurn);
  }
  return turn;
}

export const isPresentTurn = (one: number): boolean => one === turn;

/** Charges the work from `since` to `now`. Returns the part that was not charged yet, in ms. */
export function charge(since: number, now: number): number {
  const ms = now - Math.max(since, charged);
  charged = now;
  return ms;
}
