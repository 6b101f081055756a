/** Ends sessions or lets them hibernate, and accounts for their queues. */
import { monotonic } from '../../clock.js';
import type { Queue } from '../../limits/queues.js';
import type { Ledger, Session } from '../../routing/session.js';
import { StreamError } from '../../stanza/errors.js';
import type { C2sStream } from '../c2s/stream.js';
import type { Sm } from '../xep-0198-sm.js';
import { CsiLink } from '../xep-0352-csi.js';
import type { SessionsParts } from './parts.js';

/** A client that takes nothing for this long counts as idle when the budget is exceeded, in ms. */
const idleMs = 1000;

export class Ending {
  readonly ledger: Ledger;
  /** Stream management states by session. Only `Resuming.manage` adds to it, only `gone` removes. */
  readonly managed = new Map<Session, Sm>();
  readonly #parts: SessionsParts;

  constructor(parts: SessionsParts) {
    this.#parts = parts;
    this.ledger = this.#makeLedger();
  }

  /** The stream was closed by either side: its session ends. */
  closed(stream: C2sStream, error?: StreamError): void {
    const { session } = stream;
    if (session?.connection !== stream) return;
    // A stream closed by a shutdown, or by an idle timeout, can be resumed.
    if (stream.sm !== undefined && stream.resumable && error?.condition === 'system-shutdown') {
      this.#hibernate(stream.sm, session);
      return;
    }
    this.gone(session);
  }

  /** The connection was lost: a resumable session hibernates. */
  lost(stream: C2sStream): void {
    const { session, sm } = stream;
    if (session?.connection !== stream) return;
    if (sm === undefined || sm.holdSeconds === 0) this.gone(session);
    else this.#hibernate(sm, session);
  }

  #hibernate(sm: Sm, session: Session): void {
    session.connection = undefined;
    sm.detach(monotonic());
    if (session.link instanceof CsiLink) session.link.wake();
    void this.#parts.host(session.jid.domain)?.notify('hibernated', session);
    if (session.isOver) return;
    const asleep = this.#parts.directory.of(session.jid.bare).filter((other) => other.connection === undefined);
    if (asleep.length > this.#parts.config().stream_management.hibernated_per_account) {
      this.#parts.limitHit('stream_management.hibernated_per_account');
      this.gone(asleep[0]!);
    }
  }

  /** Ends a session, with `error` sent to its client if it is connected. */
  end(session: Session, error?: StreamError): void {
    const { connection } = session;
    if (connection !== undefined) {
      connection.close(error);
      return;
    }
    session.reason = error;
    this.gone(session);
  }

  /** The session is over. Idempotent. */
  gone(session: Session): void {
    if (!this.#parts.directory.remove(session)) return;
    session.connection = undefined;
    const { link } = session;
    const sm = this.managed.get(session);
    const host = this.#parts.host(session.jid.domain);
    const waiting = session.stopPouring();
    const notified = host?.notify('gone', session);
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
    if (session.isAnonymous && this.#parts.directory.of(session.jid.bare).length === 0)
      this.#parts.anonymous.ended(session.jid, notified);
  }

  // --- queues --------------------------------------------------------------------------------------------------

  #makeLedger(): Ledger {
    const { queues, limitHit } = this.#parts;
    return {
      holds: (change) => queues.holds(change),
      overflowed: (session) => {
        limitHit('outflow');
        // Deferred: the caller is in the middle of a send.
        setImmediate(() =>
          this.end(session, new StreamError('resource-constraint', 'The client does not read its stanzas.')),
        );
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
   * The queue of unacknowledged stanzas is full. A client that still acknowledges continues; a silent one is disconnected
   * and its session hibernates. A hibernating session whose queue fills up ends.
   */
  overflowed(sm: Sm): void {
    const { session } = sm;
    const { config, queues, limitHit } = this.#parts;
    const stream = session.connection as C2sStream | undefined;
    const patience = config().limits.stalled_seconds * 1000;
    if (stream !== undefined && !sm.isSilent(monotonic(), patience) && sm.size <= queues.mostOfOne) return;
    limitHit('stream_management.queue');
    // Deferred: the caller is in the middle of a send.
    setImmediate(() => {
      if (session.connection !== stream) return;
      if (stream?.resumable === true) stream.abandon();
      else this.end(session, new StreamError('resource-constraint', 'The client does not acknowledge its stanzas.'));
    });
  }

  /** The queue of each session, for the common budget. */
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
          // The session ends first: it must not hibernate with its queue.
          this.gone(session);
          stream?.abandon();
        },
      };
    }
  }
}
