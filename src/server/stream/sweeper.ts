/**
 * One timer for all streams: each second it looks for logins that take too long, peers that went silent, streams that
 * nobody closes, sessions whose time to be resumed is over, and those that are quiet enough to be kept for a crash.
 */
import { monotonic } from '../clock.js';
import type { Config } from '../config/schema.js';
import { randomId } from '../stanza/ids.js';
import { NS } from '../stanza/ns.js';
import { Stanza } from '../stanza/stanza.js';
import { el } from '../xml/element.js';
import type { ClientStream } from './c2s/client.js';
import type { Sessions } from './sessions.js';

const intervalMs = 1000;

export class Sweeper {
  readonly #timer: NodeJS.Timeout;

  constructor(
    readonly streams: ReadonlySet<ClientStream>,
    readonly sessions: Sessions,
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
    const login = limits.login_deadline_seconds * 1000;
    const registration = Math.max(login, limits.registration_deadline_seconds * 1000);
    const silence = limits.ping_after_seconds * 1000;
    const patience = limits.ping_timeout_seconds * 1000;
    const keepalive = limits.idle_whitespace_seconds === false ? 0 : limits.idle_whitespace_seconds * 1000;
    for (const stream of this.streams) {
      if (stream.phase === 'closing') {
        if (now >= stream.closeBy) stream.abandon();
      } else if (stream.phase !== 'bound') {
        // From connecting to binding there is one deadline, which only a registration form puts off, once.
        if (now - stream.connectedAt >= (stream.signsUp ? registration : login)) stream.expire(now);
        continue;
      }
      if (stream.phase !== 'bound') continue;
      stream.checkPace(now);
      if (stream.askedAliveAt !== 0) {
        if (now - stream.askedAliveAt >= patience) stream.abandon();
      } else if (now - stream.lastRead >= silence) {
        stream.askedAliveAt = now;
        askAlive(stream);
      } else if (keepalive > 0 && stream.sm === undefined && !stream.transport.framed) {
        // RFC 6120 §4.6.1: a space keeps the ways through routers open.
        if (now - stream.lastRead >= keepalive && (now - stream.lastRead) % keepalive < intervalMs) stream.write(' ');
      }
    }
    this.cutLate(now);
    this.sessions.sweep(now);
  }
}

/** By stream management where the client has it, else by a ping (XEP-0199 §4.1). */
function askAlive(stream: ClientStream): void {
  if (stream.sm !== undefined) stream.sm.ask();
  else
    stream.writeStanza(
      Stanza.build(
        'iq',
        { type: 'get', id: randomId(), from: stream.host!.jid, to: stream.session!.jid },
        el('ping', { xmlns: NS.ping }),
      ),
    );
}
