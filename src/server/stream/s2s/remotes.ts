/**
 * Other servers as destinations: one stream for each pair of a domain of ours and one of theirs, opened when there is
 * something to send. What waits for a stream is bounded for each pair and in all, and refused when the stream cannot be
 * had; then the pair rests for a while that grows with each failure (back-off), and stanzas are refused at once.
 */
import { Recent } from '../../../storage/recent.js';
import type { Jid } from '../../address/jid.js';
import { monotonic } from '../../clock.js';
import { Outbox, type OutboxBudget } from '../../routing/outbox.js';
import type { Origin } from '../../routing/passage.js';
import type { Destination } from '../../routing/router.js';
import { StanzaError, StreamError } from '../../stanza/errors.js';
import type { Stanza } from '../../stanza/stanza.js';
import type { Transport } from '../../transport/transport.js';
import { Delivery } from './delivery.js';
import type { DialbackClaim, DialbackKeys } from './dialback.js';
import { type OutgoingParts, OutgoingStream, type Pair, type Task } from './outgoing.js';
import { UnresolvedError } from './resolve.js';
import { type Verdict, Verification } from './verification.js';

export interface RemotesParts extends Omit<OutgoingParts, 'closed'> {
  readonly keys: DialbackKeys;
  /** Connects to the server of a domain. Rejects with UnresolvedError, or an error of the system. */
  dial(pair: Pair): Promise<Transport>;
  /** Tells the sender of a stanza why it is refused. Never throws. */
  refuse(stanza: Stanza, error: StanzaError): void;
}

/** The first rest after a failure and the longest, in ms; half of it is left to chance. */
const firstRest = 4000;
const longestRest = 300_000;
/** Pairs that rest; those that are forgotten are tried again. */
const mostResting = 10_000;
/** Questions about dialback keys that wait for an answer. */
const mostVerifications = 100;

interface Rest {
  readonly failures: number;
  readonly until: number;
  readonly reason: StanzaError;
}

interface Route {
  readonly pair: Pair;
  readonly outbox: Outbox;
  /** The connection that takes stanzas. Undefined until there is one. */
  open: { readonly stream: OutgoingStream; readonly delivery: Delivery } | undefined;
}

export class Remotes implements Destination {
  readonly #parts: RemotesParts;
  readonly #routes = new Map<string, Route>();
  readonly #resting = new Recent<Rest>(mostResting);
  readonly #streams = new Set<OutgoingStream>();
  readonly #budget: OutboxBudget;
  #verifications = 0;
  #isClosed = false;

  constructor(parts: RemotesParts) {
    this.#parts = parts;
    this.#budget = { most: () => parts.config().s2s.queue_bytes, used: 0 };
  }

  /** Streams that are open, or being closed. */
  get streams(): number {
    return this.#streams.size;
  }

  /** Bytes (about) that wait for a stream. */
  get waitingBytes(): number {
    return this.#budget.used;
  }

  // --- Destination ------------------------------------------------------------------------------------------------

  receive(stanza: Stanza, origin: Origin): void {
    const { from, to } = stanza;
    if (from === undefined || to === undefined) throw new Error('a stanza for another server lacks an address');
    this.#routeFor({ from: from.domain, to: to.domain }).outbox.receive(stanza, origin);
  }

  room(to: Jid): Promise<void> | undefined {
    for (const { pair, outbox } of this.#routes.values()) {
      const waiting = pair.to === to.domain ? outbox.room() : undefined;
      if (waiting !== undefined) return waiting;
    }
    return undefined;
  }

  /** Throws StanzaError while it rests, or where there are too many. */
  #routeFor(pair: Pair): Route {
    const key = keyOf(pair);
    const known = this.#routes.get(key);
    if (known !== undefined) return known;
    const rest = this.#resting.get(key);
    if (rest !== undefined && monotonic() < rest.until) throw rest.reason;
    const { s2s } = this.#parts.config();
    if (this.#isClosed || this.#routes.size >= s2s.streams) {
      this.#parts.limitHit('s2s.streams');
      throw new StanzaError('resource-constraint', 'There are too many streams to other servers.', { type: 'wait' });
    }
    const route: Route = { pair, open: undefined, outbox: this.#outbox(() => this.#send(route)) };
    this.#routes.set(key, route);
    void this.#connect(route);
    return route;
  }

  #outbox(filled: () => void): Outbox {
    const { limitHit, refuse } = this.#parts;
    return new Outbox({
      bounds: () => {
        const { queue_stanzas_per_domain, queue_bytes_per_domain } = this.#parts.config().s2s;
        return { stanzas: queue_stanzas_per_domain, bytes: queue_bytes_per_domain };
      },
      budget: this.#budget,
      limitHit: () => limitHit('s2s.queue_bytes'),
      refuse,
      filled,
    });
  }

  #send({ open }: Route): void {
    open?.delivery.send(open.stream);
  }

  // --- streams ----------------------------------------------------------------------------------------------------

  /** Never rejects. */
  async #connect(route: Route): Promise<void> {
    const delivery = new Delivery({
      outbox: route.outbox,
      keys: this.#parts.keys,
      now: monotonic,
      opened: (stream) => {
        route.open = { stream, delivery };
        this.#resting.delete(keyOf(route.pair));
      },
      ended: (reason) => this.#ended(route, reason),
    });
    await this.#open(route.pair, delivery);
  }

  /** Opens a stream for a task; the task is told if there is none. Never rejects. */
  async #open(pair: Pair, task: Task): Promise<void> {
    const openedAt = monotonic();
    let transport: Transport;
    try {
      transport = await this.#parts.dial(pair);
    } catch (error) {
      this.#parts.log.info({ domain: pair.to, err: error }, 'no connection to another server');
      const isNone = error instanceof UnresolvedError && error.reason !== 'unknown';
      task.ended(new StanzaError(isNone ? 'remote-server-not-found' : 'remote-server-timeout'));
      return;
    }
    const closed = (stream: OutgoingStream) => void this.#streams.delete(stream);
    const stream = new OutgoingStream(transport, { ...this.#parts, closed }, pair, task, openedAt);
    this.#streams.add(stream);
    if (this.#isClosed) stream.xml.close(new StreamError('system-shutdown'));
  }

  #ended(route: Route, reason: StanzaError): void {
    const key = keyOf(route.pair);
    const wasOpen = route.open !== undefined;
    route.open = undefined;
    // The peer closed a stream that it did not need, while we had something to say.
    if (wasOpen && route.outbox.size > 0 && !this.#isClosed) {
      void this.#connect(route);
      return;
    }
    this.#routes.delete(key);
    if (!wasOpen) {
      const failures = (this.#resting.get(key)?.failures ?? 0) + 1;
      const longest = Math.min(firstRest * 2 ** (failures - 1), longestRest);
      const until = monotonic() + longest * (0.5 + Math.random() / 2);
      this.#resting.set(key, { failures, until, reason });
    }
    route.outbox.refuseAll(reason);
  }

  /** Asks the server of the originating domain whether a dialback key is its own. Never rejects. */
  async verify(claim: DialbackClaim, key: string): Promise<Verdict> {
    if (this.#isClosed || this.#verifications >= mostVerifications) {
      this.#parts.limitHit('s2s.verifications');
      return 'resource-constraint';
    }
    this.#verifications++;
    try {
      return await new Promise<Verdict>((resolve) => {
        const task = new Verification(claim, key, resolve);
        void this.#open({ from: claim.receiving, to: claim.originating }, task);
      });
    } finally {
      this.#verifications--;
    }
  }

  // --- time -------------------------------------------------------------------------------------------------------

  /** Once a second. `now` by the monotonic clock, in ms. */
  sweep(now: number): void {
    for (const stream of this.#streams) stream.sweep(now);
  }

  /** Opens no more streams, and closes those that are there. */
  close(): void {
    this.#isClosed = true;
    for (const { xml } of this.#streams) xml.close(new StreamError('system-shutdown'));
  }

  /** Ends connections that are still there. */
  abandon(): void {
    for (const { xml } of this.#streams) xml.abandon();
  }
}

const keyOf = ({ from, to }: Pair): string => `${from} ${to}`;
