/**
 * Stanzas that the server itself sends to a session, paced by its client (docs/decisions/0009-pacing.md). A `Source`
 * generates stanzas one by one; it is asked for the next one while the session's link has room. Stanzas that must not
 * overtake a source are queued after it in the same lane.
 */

import { monotonic } from '../clock.js';
import { TurnQueue } from '../limits/turn-queue.js';
import type { Maybe } from '../maybe.js';
import { StanzaError } from '../stanza/errors.js';
import type { Stanza } from '../stanza/stanza.js';
import type { Link, Receipt, Sent } from './link.js';

/**
 * Yields stanzas in order; undefined after something that makes others send to the session, such as a probe; a number
 * when it holds that many characters in memory from now on. A synchronous source may yield a promise, which is awaited.
 * Its `finally` also runs if the session ends first.
 */
export type Source<R = void> = Generator<Step | Promise<unknown>, R, void> | AsyncGenerator<Step, R, void>;

type Step = Stanza | number | undefined;

export const isSource = (value: unknown): value is Source<unknown> =>
  typeof value === 'object' && value !== null && (Symbol.asyncIterator in value || Symbol.iterator in value);

export interface PourOptions<R = void> {
  /**
   * Sources in one lane run one after the other. The name is a bare address, whose stanzas to the session then wait for
   * the source, or any other string. Default: the lane of all answers.
   */
  readonly lane?: string;
  /** Stops the sources in the lane first. */
  readonly replaces?: boolean;
  /** Characters that the source holds in memory from the start. */
  readonly size?: number;
  /** The source has ended. */
  done?(result: R): Maybe<void>;
  /** The source threw. */
  failed(error: unknown): void;
  /** The source was stopped because the session or the process ends. */
  stopped?(): void;
}

/** A session as the outflow sees it. */
export interface Recipient {
  readonly link: Link;
  readonly connection: { answered(characters: number): void } | undefined;
  /** The budget of all clients; undefined for sessions that are not counted. */
  readonly ledger: { readonly isFull: boolean } | undefined;
  readonly hasRoom: boolean;
  /** Called when the outflow may have become unnecessary. */
  tidy(): void;
}

/** Most unfinished sources of one session. */
const mostSources = 512;
/** Most characters queued in one lane, and held by all sources of a session. */
const mostInLane = 2_097_152;
const mostHeld = 2_097_152;
/** Approximate memory of a source besides what it declares: request, generator, entry in the lane. In characters. */
const sourceOverhead = 3072;
/** Approximate memory of a stanza besides its content, in characters. */
export const stanzaOverhead = 256;
/**
 * How long the sources of one session, and of all in one turn of the event loop, run while others are waiting, in ms.
 */
const turnMs = 2;
const turnOfAllMs = 8;
/** Steps of one lane in a row, while others are waiting. */
const stepsOfLane = 8;

/** Sessions with something to send share each turn of the event loop. */
const turns: TurnQueue<Outflow> = new TurnQueue(turnOfAllMs, (outflow) => outflow.takeTurn());

class Pouring {
  /** Characters that it holds in memory. */
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
    /** Undefined once a later presence of the same address has replaced it. */
    public stanza: Stanza | undefined,
    readonly receipt: Receipt | undefined,
  ) {}
}

class Lane {
  #entries: (Pouring | Held)[] = [];
  #head = 0;
  #replaced = 0;
  /** The last replaceable presence of each address. */
  readonly #latest = new Map<string, Held>();
  bytes = 0;
  /** A source is generating its next stanza. */
  isBusy = false;

  get first(): Pouring | Held | undefined {
    return this.#entries[this.#head];
  }

  *entries(): Iterable<Pouring | Held> {
    for (let at = this.#head; at < this.#entries.length; at++) yield this.#entries[at]!;
  }

  /** Removes all sources, except the first if it is running. */
  takeSources(isFirstAtWork: boolean): Pouring[] {
    const removed: Pouring[] = [];
    this.#entries = [...this.entries()].filter((entry, at) => {
      if (!(entry instanceof Pouring) || (at === 0 && isFirstAtWork)) return true;
      removed.push(entry);
      return false;
    });
    this.#head = 0;
    return removed;
  }

  add(pouring: Pouring): void {
    this.#entries.push(pouring);
  }

  /** Returns by how many characters the lane grew; negative if it shrank. */
  hold(stanza: Stanza, receipt: Receipt | undefined): number {
    const from = stanza.from!.full;
    const held = new Held(stanza, receipt);
    let change = sizeOf(stanza);
    const before = this.#latest.get(from);
    // Other stanzas must be read with the presence before them.
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
 * Characters, of one or two bytes each. All copies of a stanza share its content, so exact bytes are not worth
 * counting.
 */
export const sizeOf = (stanza: Stanza): number => stanza.content.length + stanzaOverhead;

/**
 * Whether a later presence of the same address makes this one irrelevant. XEP-0045 §7.1: the client's own presence in a
 * room has codes that it must not miss.
 */
export const isReplaceable = ({ name, type, content }: Stanza): boolean =>
  name === 'presence' && (type === undefined || type === 'unavailable') && !/code=["']110["']/.test(content);

/** The session has too many pending answers. */
const full = (): StanzaError =>
  new StanzaError('resource-constraint', 'Too many answers are pending. Read them first, then try again.', {
    type: 'wait',
  });

export class Outflow {
  /** Sources without a lane share one. */
  readonly #lanes = new Map<string, Lane>();
  #sources = 0;
  /** Characters queued, and held by sources. */
  size = 0;
  /** The lane whose source is running: stanzas it makes others send must not wait for it. */
  #asked: Lane | undefined;
  #isPumping = false;
  #isOver = false;

  constructor(
    readonly session: Recipient,
    /** Called with the change of the held characters. */
    readonly holds: (change: number) => void,
    /** Called when a lane is over its limit. */
    readonly overflowed: () => void,
  ) {}

  get isEmpty(): boolean {
    return this.#lanes.size === 0;
  }

  /**
   * Throws StanzaError('resource-constraint') if `sources` more sources of `size` characters in total would not fit.
   */
  demandRoom(size = 0, sources = 1): void {
    if (this.#sources + sources > mostSources) throw full();
    if (this.#sources > 0 && (this.size + size > mostHeld || this.session.ledger?.isFull === true)) throw full();
  }

  /**
   * Starts a source. Resolves once it has ended or waits for the client; returns undefined if that is at once. Throws
   * as `demandRoom`, unless it replaces the sources of its lane. Never rejects.
   */
  pour<R>(source: Source<R>, options: PourOptions<R>): Maybe<void> {
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

  /** Stops the sources of a lane. A running one leaves it after its current step. */
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

  /** Called once no source is running, or all running ones wait for the client. */
  #idle: (() => void)[] = [];

  #lane(name: string): Lane {
    let lane = this.#lanes.get(name);
    if (lane === undefined) this.#lanes.set(name, (lane = new Lane()));
    return lane;
  }

  /** Takes a stanza that must wait for a source or for stanzas queued after one. Returns whether it did. */
  takes(stanza: Stanza, receipt: Receipt | undefined): boolean {
    const { from } = stanza;
    const lane = from === undefined ? undefined : this.#lanes.get(from.bare);
    if (lane === undefined || lane === this.#asked || this.#isOver) return false;
    this.#grow(lane.hold(stanza, receipt));
    if (lane.bytes > mostInLane) this.overflowed();
    return true;
  }

  /** Goes on: the client has read something. */
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
      turns.wait(this);
      return;
    }
    const began = monotonic();
    this.#takeSteps(began);
    turns.worked(monotonic() - began);
  }

  /** Runs some steps of each lane in turn, while there is room. */
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
            turns.wait(this);
            return;
          }
        }
      }
    }
  }

  /** Called by `turns`. */
  takeTurn(): boolean {
    this.pump();
    this.session.tidy();
    return true;
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
   * Stops all sources, which then send their own errors; returns the stanzas queued after them, to be handled as
   * unacknowledged. Called at the end of the session or process.
   */
  stop(): Sent[] {
    this.#isOver = true;
    const waiting: Sent[] = [];
    for (const lane of this.#lanes.values()) {
      for (const entry of lane.entries()) {
        if (entry instanceof Pouring) {
          this.#grow(-entry.size);
          // A running one ends after its current step, whose result is discarded.
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

/** Stops a source; its `finally` may fail. */
function stop({ source, options }: Pouring): void {
  const stopping: unknown = source.return(undefined as never);
  if (stopping instanceof Promise) stopping.catch((error: unknown) => options.failed(error));
}
