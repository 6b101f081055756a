/**
 * What the server itself has to tell one session, at the pace of its client (docs/decisions/0009-pacing.md). A `Source` makes
 * stanzas one by one and is asked for the next one while the session's link has room. Stanzas that must not overtake a
 * source wait behind it in the same lane.
 */

import { monotonic } from '../clock.js';
import type { Maybe } from '../maybe.js';
import { StanzaError } from '../stanza/errors.js';
import type { Stanza } from '../stanza/stanza.js';
import type { Link, Receipt, Sent } from './link.js';

/**
 * Yields what is to be sent, in order; undefined after it did something that has others send to the session, such as a
 * probe; a number where it keeps so many characters in memory from now on. A synchronous one may yield a promise, which is
 * awaited. Its `finally` runs also where the session ends first.
 */
export type Source<R = void> = Generator<Step | Promise<unknown>, R, void> | AsyncGenerator<Step, R, void>;

type Step = Stanza | number | undefined;

export const isSource = (value: unknown): value is Source<unknown> =>
  typeof value === 'object' && value !== null && (Symbol.asyncIterator in value || Symbol.iterator in value);

export interface PourOptions<R = void> {
  /**
   * A bare address: what it says to the session while the source is unfinished waits behind the source. Or another name:
   * of the sources with one name one goes on at a time. Without it: the same as all answers.
   */
  readonly lane?: string;
  /** What is unfinished in the lane ends. */
  readonly replaces?: boolean;
  /** Characters that the source keeps in memory from the beginning. */
  readonly size?: number;
  /** It came to its end. */
  done?(result: R): Maybe<void>;
  /** It threw. */
  failed(error: unknown): void;
  /** It was stopped: the session ended, or the process ends. */
  stopped?(): void;
}

/** A session, as far as what pours into it knows it. */
export interface Recipient {
  readonly link: Link;
  readonly connection: { answered(characters: number): void } | undefined;
  /** What waits for all clients; undefined for sessions that nobody counts. */
  readonly ledger: { readonly isFull: boolean } | undefined;
  readonly hasRoom: boolean;
  /** The outflow is perhaps not needed any more. */
  tidy(): void;
}

/** Sources of one session that have not ended. */
const mostSources = 512;
/** Characters that wait in one lane, and that all sources of a session keep. */
const mostInLane = 2_097_152;
const mostKept = 2_097_152;
/** What a source takes in memory besides what it says it keeps, about: its request, its generator, its place in the lane. */
const sourceOverhead = 3072;
/** What a stanza takes in memory besides its content, about. */
export const stanzaOverhead = 256;
/** How long one session's sources are asked while others wait, and those of all in one turn of the event loop, in ms. */
const turnMs = 2;
const turnOfAllMs = 8;
/** Of one lane at once, while others wait. */
const stepsOfLane = 8;

/** The sessions that have something to send share each turn of the event loop; those it is too short for wait, in order. */
class Turns {
  #usedMs = 0;
  #waiting: Outflow[] = [];
  #isArranged = false;

  get isOver(): boolean {
    return this.#usedMs >= turnOfAllMs;
  }

  worked(ms: number): void {
    this.#usedMs += ms;
    this.#arrange();
  }

  /** Goes on in a later turn, after those who wait already. Called once for each. */
  wait(outflow: Outflow): void {
    this.#waiting.push(outflow);
    this.#arrange();
  }

  #arrange(): void {
    if (this.#isArranged) return;
    this.#isArranged = true;
    setImmediate(() => {
      this.#isArranged = false;
      this.#usedMs = 0;
      const waiting = this.#waiting;
      this.#waiting = [];
      let served = 0;
      while (served < waiting.length && !this.isOver) waiting[served++]!.takeTurn();
      if (served < waiting.length) this.#waiting = [...waiting.slice(served), ...this.#waiting];
      if (this.#waiting.length > 0) this.#arrange();
    });
  }
}

const turns = new Turns();

class Pouring {
  /** Characters that it keeps in memory. */
  size: number;

  constructor(
    readonly source: Source<unknown>,
    readonly options: PourOptions<never>,
  ) {
    this.size = sourceOverhead + (options.size ?? 0);
  }
}

class Held {
  constructor(
    /** undefined: a later presence of the same address replaces it. */
    public stanza: Stanza | undefined,
    readonly receipt: Receipt | undefined,
  ) {}
}

class Lane {
  #entries: (Pouring | Held)[] = [];
  #head = 0;
  #replaced = 0;
  /** The last presence of each address, where a later one may replace it. */
  readonly #latest = new Map<string, Held>();
  bytes = 0;
  /** A source is working on its next stanza. */
  isBusy = false;

  get first(): Pouring | Held | undefined {
    return this.#entries[this.#head];
  }

  *entries(): Iterable<Pouring | Held> {
    for (let at = this.#head; at < this.#entries.length; at++) yield this.#entries[at]!;
  }

  /** Takes out all sources except the first if it is at work. */
  takeSources(isFirstAtWork: boolean): Pouring[] {
    const taken: Pouring[] = [];
    this.#entries = [...this.entries()].filter((entry, at) => {
      if (!(entry instanceof Pouring) || (at === 0 && isFirstAtWork)) return true;
      taken.push(entry);
      return false;
    });
    this.#head = 0;
    return taken;
  }

  add(pouring: Pouring): void {
    this.#entries.push(pouring);
  }

  /** Returns by how many characters the lane grew; below zero: it shrank. */
  hold(stanza: Stanza, receipt: Receipt | undefined): number {
    const from = stanza.from!.full;
    const held = new Held(stanza, receipt);
    let change = sizeOf(stanza);
    const before = this.#latest.get(from);
    // What somebody says is read beside the presence that they had.
    if (stanza.name !== 'presence') this.#latest.delete(from);
    else if (isReplaceable(stanza)) {
      if (before?.stanza !== undefined) {
        change -= sizeOf(before.stanza);
        before.stanza = undefined;
        this.#replaced++;
      }
      this.#latest.set(from, held);
    }
    this.#entries.push(held);
    this.bytes += change;
    if (this.#replaced > 64 && this.#replaced * 2 > this.#entries.length) this.#compact();
    return change;
  }

  #compact(): void {
    this.#entries = [...this.entries()].filter((entry) => entry instanceof Pouring || entry.stanza !== undefined);
    this.#head = 0;
    this.#replaced = 0;
  }

  /** The first entry is done. */
  shift(): void {
    const entry = this.#entries[this.#head++];
    if (this.#head > 64 && this.#head * 2 > this.#entries.length) {
      this.#entries = this.#entries.slice(this.#head);
      this.#head = 0;
    }
    if (!(entry instanceof Held) || entry.stanza === undefined) return;
    this.bytes -= sizeOf(entry.stanza);
    const from = entry.stanza.from!.full;
    if (this.#latest.get(from) === entry) this.#latest.delete(from);
  }
}

/**
 * Characters, which take one or two bytes of memory each: every copy of a stanza shares its content, so counting the
 * bytes of all copies would cost more than it tells.
 */
export const sizeOf = (stanza: Stanza): number => stanza.content.length + stanzaOverhead;

/**
 * Whether a later presence of the same address says all that matters. XEP-0045 §7.1: the client's own presence in a room
 * has codes that it must not miss.
 */
export const isReplaceable = ({ name, type, content }: Stanza): boolean =>
  name === 'presence' && (type === undefined || type === 'unavailable') && !/code=["']110["']/.test(content);

/** Thrown where a session has so much to be told that nothing more can be asked for. */
const full = (): StanzaError =>
  new StanzaError('resource-constraint', 'Too many answers wait for you to read them.', { type: 'wait' });

export class Outflow {
  /** Those without a name share one. */
  readonly #lanes = new Map<string, Lane>();
  #sources = 0;
  /** Characters of what waits, and of what sources keep. */
  size = 0;
  /** The lane whose source is asked at this moment: what it has others send is not to wait behind it. */
  #asked: Lane | undefined;
  #isPumping = false;
  #isDue = false;
  #isOver = false;

  constructor(
    readonly session: Recipient,
    /** It holds so many characters more, or fewer. */
    readonly holds: (change: number) => void,
    /** More waits for the client than one lane may hold. */
    readonly overflowed: () => void,
  ) {}

  get isEmpty(): boolean {
    return this.#lanes.size === 0;
  }

  /** Throws StanzaError('resource-constraint') where so many further sources of this size in all are not taken. */
  demandRoom(size = 0, sources = 1): void {
    if (this.#sources + sources > mostSources) throw full();
    if (this.#sources > 0 && (this.size + size > mostKept || this.session.ledger?.isFull === true)) throw full();
  }

  /**
   * Resolves once the source has ended or waits for the client; returns undefined if that is at once. Throws as
   * `demandRoom` unless it replaces what is in its lane, which bounds it already. Never rejects.
   */
  pour<R>(source: Source<R>, options: PourOptions<R>): void | Promise<void> {
    if (options.replaces !== true) this.demandRoom(options.size);
    const pouring = new Pouring(source, options as PourOptions<never>);
    const lane = this.#lane(options.lane ?? '');
    if (options.replaces === true) this.#clear(lane);
    lane.add(pouring);
    this.#sources++;
    this.#grow(pouring.size);
    this.pump();
    if (!lane.isBusy || lane.first !== pouring) return undefined;
    return new Promise((resolve) => this.#idle.push(resolve));
  }

  /** Ends the sources of a lane. One that is at work leaves it after its present step. */
  #clear(lane: Lane): void {
    const isAtWork = lane.isBusy || lane === this.#asked;
    for (const entry of lane.takeSources(isAtWork)) {
      stop(entry);
      this.#sources--;
      this.#grow(-entry.size);
    }
    if (lane.first instanceof Pouring) stop(lane.first);
  }

  #grow(change: number): void {
    this.size += change;
    this.holds(change);
  }

  /** Who waits until no source is at work, or all of those that are have to wait for the client. */
  #idle: (() => void)[] = [];

  #lane(name: string): Lane {
    let lane = this.#lanes.get(name);
    if (lane === undefined) this.#lanes.set(name, (lane = new Lane()));
    return lane;
  }

  /** Takes what must not overtake a source, or what waits behind it. */
  takes(stanza: Stanza, receipt: Receipt | undefined): boolean {
    const { from } = stanza;
    const lane = from === undefined ? undefined : this.#lanes.get(from.bare);
    if (lane === undefined || lane === this.#asked || this.#isOver) return false;
    this.#grow(lane.hold(stanza, receipt));
    if (lane.bytes > mostInLane) this.overflowed();
    return true;
  }

  /** Goes on: the client took something. */
  pump(): void {
    if (this.#isPumping || this.#isOver) return;
    this.#isPumping = true;
    try {
      this.#run();
    } finally {
      this.#isPumping = false;
    }
    if (this.#idle.length > 0 && !(this.session.hasRoom && this.#isWorking)) {
      const idle = this.#idle;
      this.#idle = [];
      for (const resolve of idle) resolve();
    }
  }

  get #isWorking(): boolean {
    for (const { isBusy } of this.#lanes.values()) if (isBusy) return true;
    return false;
  }

  #run(): void {
    if (turns.isOver) {
      this.#goOnLater();
      return;
    }
    const began = monotonic();
    this.#takeSteps(began);
    turns.worked(monotonic() - began);
  }

  /** Some steps of each lane in turn, as long as there is room. */
  #takeSteps(began: number): void {
    let steps = 0;
    for (let isMoving = true; isMoving; ) {
      isMoving = false;
      for (const [name, lane] of this.#lanes) {
        if (lane.isBusy) continue;
        if (lane.first === undefined) {
          this.#lanes.delete(name);
          continue;
        }
        for (let left = stepsOfLane; left > 0 && !lane.isBusy && lane.first !== undefined; left--) {
          if (!this.session.hasRoom || this.#isOver) return;
          this.#step(lane, lane.first);
          isMoving = true;
          if ((++steps & 15) === 0 && monotonic() - began >= turnMs) {
            this.#goOnLater();
            return;
          }
        }
      }
    }
  }

  #goOnLater(): void {
    if (this.#isDue) return;
    this.#isDue = true;
    turns.wait(this);
  }

  /** The turn that it waited for. */
  takeTurn(): void {
    this.#isDue = false;
    this.pump();
    this.session.tidy();
  }

  #step(lane: Lane, entry: Pouring | Held): void {
    if (entry instanceof Held) {
      lane.shift();
      if (entry.stanza === undefined) return;
      this.#grow(-sizeOf(entry.stanza));
      this.session.link.send(entry.stanza, entry.receipt);
      return;
    }
    try {
      this.#asked = lane;
      const next = entry.source.next();
      this.#asked = undefined;
      if (next instanceof Promise) this.#await(lane, entry, next);
      else this.#got(lane, entry, next);
    } catch (error) {
      this.#asked = undefined;
      this.#ended(lane, entry);
      entry.options.failed(error);
    }
  }

  #await(lane: Lane, entry: Pouring, work: Promise<IteratorResult<Step, unknown> | undefined>): void {
    lane.isBusy = true;
    const goOn = () => {
      this.pump();
      this.session.tidy();
    };
    work
      .then(
        (next) => {
          lane.isBusy = false;
          if (this.#isOver) return;
          if (next !== undefined) this.#got(lane, entry, next);
        },
        (error: unknown) => {
          lane.isBusy = false;
          if (this.#isOver) return;
          this.#ended(lane, entry);
          entry.options.failed(error);
        },
      )
      .catch((error: unknown) => entry.options.failed(error))
      .then(goOn, goOn);
  }

  #got(lane: Lane, entry: Pouring, next: IteratorResult<Step | Promise<unknown>, unknown>): void {
    if (next.done === true) {
      this.#ended(lane, entry);
      const finishing = entry.options.done?.(next.value as never);
      finishing?.catch((error: unknown) => entry.options.failed(error));
      return;
    }
    const { value } = next;
    if (value instanceof Promise) {
      const waited = value.then(() => undefined);
      this.#await(lane, entry, waited);
    } else if (typeof value === 'number') {
      const size = sourceOverhead + value;
      this.#grow(size - entry.size);
      entry.size = size;
    } else if (value !== undefined) {
      if (entry.options.lane === undefined) this.session.connection?.answered(sizeOf(value));
      this.session.link.send(value);
    }
  }

  #ended(lane: Lane, entry: Pouring): void {
    if (this.#isOver) return;
    lane.shift();
    this.#sources--;
    this.#grow(-entry.size);
  }

  /**
   * Ends all sources, which say what is to be said for them; what waited behind them goes the way of what waits for an
   * acknowledgement. For the end of the session or of the process.
   */
  stop(): Sent[] {
    this.#isOver = true;
    const waiting: Sent[] = [];
    for (const lane of this.#lanes.values()) {
      for (const entry of lane.entries()) {
        if (entry instanceof Pouring) {
          this.#grow(-entry.size);
          // One that is at work ends behind its present step, and is not heard any more.
          stop(entry);
          entry.options.stopped?.();
        } else if (entry.stanza !== undefined) {
          this.#grow(-sizeOf(entry.stanza));
          waiting.push({ stanza: entry.stanza, receipt: entry.receipt });
        }
      }
    }
    this.#lanes.clear();
    const idle = this.#idle;
    this.#idle = [];
    for (const resolve of idle) resolve();
    return waiting;
  }
}

/** Ends a source; what it does at its end may fail. */
function stop({ source, options }: Pouring): void {
  const stopping: unknown = source.return(undefined as never);
  if (stopping instanceof Promise) stopping.catch((error: unknown) => options.failed(error));
}
