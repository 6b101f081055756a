/**
 * Opens streams to other servers, in turn, and has them all until they end. A stop ends the attempts to open one at once,
 * whatever they wait for, so that none leaves a connection behind.
 */
import { setMaxListeners } from 'node:events';
import { monotonic } from '../../clock.js';
import type { Turns } from '../../limits/turns.js';
import { StanzaError, StreamError } from '../../stanza/errors.js';
import type { Transport } from '../../transport/transport.js';
import type { Step } from './domains.js';
import { type Attempt, type OutgoingParts, OutgoingStream, type Pair, type Task } from './outgoing.js';
import { denied } from './policy.js';
import { type Place, UnresolvedError } from './resolve.js';

/** A connection, and the places that were not tried before it succeeded. */
export interface Dialed {
  readonly transport: Transport;
  readonly rest: readonly Place[];
}

export interface OpeningsParts extends Omit<OutgoingParts, 'closed'> {
  /** When streams are opened. */
  readonly turns: Turns;
  /**
   * Connects to the server of a domain, or to one of some of its places. Resolves with the connection and the places
   * after it. Rejects with UnresolvedError, or an error of the system; soon after the signal has aborted.
   */
  dial(pair: Pair, signal: AbortSignal, places?: readonly Place[]): Promise<Dialed>;
}

/** A stream that is wanted. */
export interface Opening {
  readonly pair: Pair;
  readonly task: Task;
  /** There is a connection. */
  connected?(stream: OutgoingStream): void;
  /** There is none, because of this step. The task ends. */
  failed?(step: Step): void;
}

export class Openings {
  readonly #parts: OpeningsParts;
  readonly #streams = new Set<OutgoingStream>();
  /** Ends the attempts to open a stream that wait for their turn. */
  readonly #waiting = new Set<() => void>();
  /** Ends the attempts to connect. */
  readonly #stop = new AbortController();

  constructor(parts: OpeningsParts) {
    this.#parts = parts;
    // One for each attempt.
    setMaxListeners(0, this.#stop.signal);
  }

  /** The number of streams, including those that are closing. */
  get streams(): number {
    return this.#streams.size;
  }

  /** No stream is opened any more. */
  get isClosed(): boolean {
    return this.#stop.signal.aborted;
  }

  /** Opens a stream when it is the holder's turn. */
  open(holder: string, opening: Opening): void {
    const end = () => {
      withdraw();
      this.#waiting.delete(end);
      lose(opening);
    };
    this.#waiting.add(end);
    const withdraw = this.#parts.turns.take(holder, (settled) => {
      this.#waiting.delete(end);
      void this.#open(opening, { since: monotonic(), settled });
    });
  }

  /**
   * Opens a stream. If TLS fails at one place of the domain, the others are tried. If all fail, the task ends. Never
   * rejects.
   */
  async #open(opening: Opening, attempt: Attempt, places?: readonly Place[]): Promise<void> {
    const { policy, log } = this.#parts;
    const { pair, task } = opening;
    // It may have been allowed when the stanza was queued, or before a pause.
    if (policy.denies(pair.from, pair.to)) {
      attempt.settled();
      task.ended(denied(), 'lost');
      return;
    }
    let dialed: Dialed;
    try {
      dialed = await this.#parts.dial(pair, this.#stop.signal, places);
    } catch (error) {
      attempt.settled();
      if (this.isClosed) {
        lose(opening);
        return;
      }
      log.info({ domain: pair.to, err: error }, 'connection to another server failed');
      opening.failed?.(error instanceof UnresolvedError ? 'dns' : 'connection');
      const isNone = error instanceof UnresolvedError && error.reason !== 'unknown';
      task.ended(new StanzaError(isNone ? 'remote-server-not-found' : 'remote-server-timeout'), 'lost');
      return;
    }
    const { transport, rest } = dialed;
    if (this.isClosed) {
      transport.destroy();
      attempt.settled();
      lose(opening);
      return;
    }
    const closed = (stream: OutgoingStream) => void this.#streams.delete(stream);
    const another = rest.length === 0 ? undefined : () => void this.#open(opening, attempt, rest);
    const stream = new OutgoingStream(transport, { ...this.#parts, closed }, pair, task, attempt, another);
    this.#streams.add(stream);
    opening.connected?.(stream);
  }

  /** Called once a second. `now` is in ms of the monotonic clock. */
  sweep(now: number): void {
    for (const stream of this.#streams) stream.sweep(now);
  }

  /** Takes no more stanzas over bidirectional streams. Resolves once those received are handled. */
  async stopTaking(): Promise<void> {
    await Promise.all([...this.#streams].map((stream) => stream.stopTaking()));
  }

  /** Closes all streams, and opens none any more. */
  close(): void {
    this.#stop.abort();
    for (const end of this.#waiting) end();
    for (const stream of this.#streams) stream.close(new StreamError('system-shutdown'));
  }

  /** Drops the remaining connections. */
  abandon(): void {
    for (const { xml } of this.#streams) xml.abandon();
  }
}

const lose = ({ task }: Opening): void => task.ended(new StanzaError('remote-server-timeout'), 'lost');
