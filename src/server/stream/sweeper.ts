/**
 * One timer for all streams: each second it looks for logins that take too long, peers that went silent, streams that
 * nobody closes, sessions whose time to be resumed is over, and those that are quiet enough to be kept for a crash.
 */
import { monotonic } from '../clock.js';
import type { Config } from '../config/schema.js';
import type { Keeping } from './sessions/keeping.js';
import type { XmlStream } from './stream.js';

const intervalMs = 1000;

/** What is looked at once a second. */
export interface Swept {
  readonly xml: XmlStream;
  /** Whether it should be established by now. */
  isLate(now: number): boolean;
  expire(): void;
  /** Whether its peer takes what it has to. */
  checkPace(now: number): void;
  /** Asks its peer for a sign of life. */
  askAlive(): void;
  /** Whether nothing else keeps the connection in use. */
  readonly needsKeepalive: boolean;
}

export class Sweeper {
  readonly #timer: NodeJS.Timeout;

  constructor(
    readonly streams: Iterable<Swept>,
    readonly sessions: Pick<Keeping, 'sweep'>,
    /** Cuts connections that became no stream by the login deadline. */
    readonly cutLate: (now: number) => void,
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
    for (const stream of this.streams) {
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
      const quiet = now - xml.lastRead;
      if (xml.askedAliveAt !== 0) {
        if (now - xml.askedAliveAt >= patience) xml.abandon();
      } else if (quiet >= silence) {
        xml.askedAlive(now);
        stream.askAlive();
      } else if (interval > 0 && keepalive !== undefined && stream.needsKeepalive) {
        if (quiet >= interval && quiet % interval < intervalMs) xml.write(keepalive);
      }
    }
    this.cutLate(now);
    this.sessions.sweep(now);
  }
}
