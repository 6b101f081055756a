/** How sessions end, or wait for their clients to resume them; and what waits for each. */
import { monotonic } from '../../clock.js';
import type { Ledger, Session } from '../../routing/session.js';
import { StreamError } from '../../stanza/errors.js';
import type { C2sStream } from '../c2s/stream.js';
import type { Queue } from '../queues.js';
import type { Sm } from '../xep-0198-sm.js';
import { CsiLink } from '../xep-0352-csi.js';
import type { SessionsParts } from './parts.js';

/** Who takes nothing for so long is the first to go where too much waits for all, in ms. */
const idleMs = 1000;

export class Ending {
  readonly ledger: Ledger;
  /** Stream management states by session. `Resuming.manage` alone adds to it, and `gone` alone removes. */
  readonly managed = new Map<Session, Sm>();
  readonly #parts: SessionsParts;

  constructor(parts: SessionsParts) {
    this.#parts = parts;
    this.ledger = this.#makeLedger();
  }

  /** The stream was closed by one side or the other: its session ends. */
  closed(stream: C2sStream, error?: StreamError): void {
    const { session } = stream;
    if (session?.connection !== stream) return;
    // What is closed because the server stops, or went quiet, can be resumed.
    if (stream.sm !== undefined && stream.resumable && error?.condition === 'system-shutdown') {
      this.#hibernate(stream.sm, session);
      return;
    }
    this.gone(session);
  }

  /** The connection was lost: a session that can be resumed waits for its client. */
  lost(stream: C2sStream): void {
    const { session, sm } = stream;
    if (session?.connection !== stream) return;
    if (sm === undefined || sm.holdSeconds === 0) this.gone(session);
    else this.#hibernate(sm, session);
  }

  #hibernate(sm: Sm, session: Session): void {
    session.connection = undefined;
    sm.detach(monotonic());
    if (session.link instanceof CsiLink) {
      session.link.inactive = false;
      session.link.flush();
    }
    const asleep = this.#parts.directory.of(session.jid.bare).filter((other) => other.connection === undefined);
    if (asleep.length > this.#parts.config().stream_management.hibernated_per_account) {
      this.#parts.limitHit('stream_management.hibernated_per_account');
      this.gone(asleep[0]!);
    }
  }

  /** Ends a session, telling its client why if it is there. */
  end(session: Session, error?: StreamError): void {
    const { connection } = session;
    if (connection !== undefined) connection.close(error);
    else this.gone(session);
  }

  /** The session is over, whatever its client knows. */
  gone(session: Session): void {
    if (!this.#parts.directory.remove(session)) return;
    session.connection = undefined;
    const { link } = session;
    const sm = this.managed.get(session);
    const host = this.#parts.host(session.jid.domain);
    const waiting = session.stopPouring();
    const told = host?.tell('gone', session);
    if (link instanceof CsiLink) link.end();
    if (sm !== undefined) {
      this.managed.delete(session);
      sm.end();
      this.#parts.resumables.delete(sm);
    }
    for (const { stanza, receipt } of waiting) {
      if (receipt !== undefined) receipt.lost(stanza);
      else void host?.undeliverable(stanza, session);
    }
    this.#parts.ended(session);
    if (session.isPassing && this.#parts.directory.of(session.jid.bare).length === 0)
      this.#parts.passing.left(session.jid, told);
  }

  // --- what waits for clients -------------------------------------------------------------------------------------

  #makeLedger(): Ledger {
    const { queues, limitHit } = this.#parts;
    return {
      holds: (change) => queues.holds(change),
      overflowed: (session) => {
        limitHit('outflow');
        // Not from within the send that was one too many.
        setImmediate(() => this.end(session, new StreamError('resource-constraint', 'Too much waits for you.')));
      },
      get window() {
        return queues.window;
      },
      get isFull() {
        return queues.isFull;
      },
    };
  }

  /**
   * More is unacknowledged than may be. A client that goes on acknowledging goes on; one that does not is disconnected, and
   * its session hibernates. One that has hibernated for long enough to have as much again ends.
   */
  overflowed(sm: Sm): void {
    const { session } = sm;
    const { config, queues, limitHit } = this.#parts;
    const stream = session.connection as C2sStream | undefined;
    const patience = config().limits.stalled_seconds * 1000;
    if (stream !== undefined && !sm.isSilent(monotonic(), patience) && sm.size <= queues.mostOfOne) return;
    limitHit('stream_management.queue');
    // Not from within the send that found the queue full.
    setImmediate(() => {
      if (session.connection !== stream) return;
      if (stream?.resumable === true) stream.abandon();
      else this.end(session, new StreamError('resource-constraint', 'Too much is unacknowledged.'));
    });
  }

  /** What waits for each session, for the budget of all. */
  *queues(): Iterable<Queue> {
    const now = monotonic();
    for (const session of this.#parts.directory.all()) {
      const sm = this.managed.get(session);
      const stream = session.connection as C2sStream | undefined;
      const size = (sm?.size ?? 0) + (stream?.unread ?? 0) + session.pouring;
      if (size === 0) continue;
      yield {
        size,
        isIdle: stream === undefined || stream.isStuck(now, idleMs) || sm?.isSilent(now, idleMs) === true,
        end: () => {
          // The session first: it must not hibernate with its queue.
          this.gone(session);
          stream?.abandon();
        },
      };
    }
  }
}
