/**
 * One timer for all streams. Every second it looks for login timeouts, silent peers, streams past their close timeout,
 * expired sessions, and sessions quiet enough for a crash snapshot.
 */
import { monotonic } from '../clock.js';
import type { Config } from '../config/schema.js';
import type { Snapshots } from './sessions/snapshots.js';
import type { XmlStream } from './stream.js';

const intervalMs = 1000;

/** A stream as the sweeper sees it. */
export interface Swept {
  readonly xml: XmlStream;
  /** Whether its login timeout has passed. */
  isLate(now: number): boolean;
  expire(): void;
  /** Disconnects a peer that does not read. */
  checkPace(now: number): void;
  /** Requests a sign of life from the peer. */
  askAlive(): void;
  /** Whether no other traffic keeps the connection in use. */
  readonly needsKeepalive: boolean;
}

export class Sweeper {
  readonly #timer: NodeJS.Timeout;

  constructor(
    /** By kind. */
    readonly streams: readonly Iterable<Swept>[],
    readonly sessions: Pick<Snapshots, 'sweep'>,
    /** Looks after connections that are no streams. */
    readonly others: (now: number) => void,
    readonly config: () => Config,
  ) {
    this.#timer = setInterval(() => this.sweep(monotonic()), intervalMs).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  sweep(now: number): void {
    const { limits } = this.config();
    const silence = limits.ping_after_seconds * 1000;
    const patience = limits.ping_timeout_seconds * 1000;
    const interval = limits.idle_whitespace_seconds === false ? 0 : limits.idle_whitespace_seconds * 1000;
    for (const streams of this.streams)
      for (const stream of streams) {
        const { xml } = stream;
        if (xml.state === 'closing') {
          if (now >= xml.closeBy) xml.abandon();
          continue;
        }
        if (!xml.isEstablished) {
          if (stream.isLate(now)) stream.expire();
          continue;
        }
        stream.checkPace(now);
        const { keepalive } = xml.framing;
        const quiet = now - xml.silence.lastRead;
        const owes = xml.silence.owes(now);
        if (owes !== undefined) {
          if (owes >= patience) xml.abandon();
        } else if (quiet >= silence) {
          xml.silence.asked(now);
          stream.askAlive();
        } else if (interval > 0 && keepalive !== undefined && stream.needsKeepalive) {
          if (quiet >= interval && quiet % interval < intervalMs) xml.write(keepalive);
        }
      }
    this.others(now);
    this.sessions.sweep(now);
  }
}
