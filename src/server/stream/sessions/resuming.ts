/** Stream management (XEP-0198) as clients ask for it: what they enable, acknowledge and resume. */
import { monotonic } from '../../clock.js';
import type { LocalHost } from '../../routing/host.js';
import type { Session } from '../../routing/session.js';
import { StreamError } from '../../stanza/errors.js';
import { NS } from '../../stanza/ns.js';
import { type Element, el } from '../../xml/element.js';
import type { TopLevel } from '../../xml/reader.js';
import type { C2sStream } from '../c2s/stream.js';
import { Sm } from '../xep-0198-sm.js';
import type { Ending } from './ending.js';
import type { SessionsParts } from './parts.js';

/** A resumption waits at most this share of the login deadline for what the old connection left under way. */
const settlingShare = 0.5;

export class Resuming {
  readonly #parts: SessionsParts;
  readonly #ending: Ending;

  constructor(parts: SessionsParts, ending: Ending) {
    this.#parts = parts;
    this.#ending = ending;
  }

  /** An element of stream management, at whatever point of the stream. */
  managed(stream: C2sStream, item: TopLevel): void | Promise<void> {
    const { sm, phase } = stream;
    const { name, attrs } = item;
    if (sm !== undefined && name === 'r') sm.requested();
    else if (sm !== undefined && name === 'a') sm.acknowledged(counter(attrs.h));
    else if (phase === 'bound' && sm === undefined && name === 'enable')
      stream.writeElement(this.enable(stream, stream.session!, attrs.resume, attrs.max));
    else if (phase === 'known' && name === 'resume') return this.#resumeClassic(stream, item);
    // §3, §6: what comes at the wrong time, before the login too, is refused, and the stream goes on.
    else if (['r', 'a', 'enable', 'resume'].includes(name)) stream.writeElement(failed('unexpected-request'));
    else throw new StreamError('unsupported-stanza-type');
  }

  /** `<enable/>`, inline or not: the answer. */
  enable(stream: C2sStream, session: Session, resume: string | undefined, max: string | undefined): Element {
    const { hibernate_seconds, hibernate_max_seconds } = this.#parts.config().stream_management;
    const wanted = max !== undefined && /^\d+$/.test(max) ? Number(max) : hibernate_seconds;
    const hold = resume === 'true' || resume === '1' ? Math.min(wanted, hibernate_max_seconds) : 0;
    const sm = this.manage(session, stream.host!, hold);
    // §3: one attempt a session, inline or not.
    if (sm === undefined) return failed('unexpected-request');
    stream.manage(sm);
    session.acknowledges = true;
    return hold > 0
      ? el('enabled', { xmlns: NS.sm, id: sm.id, resume: 'true', max: String(hold) })
      : el('enabled', { xmlns: NS.sm });
  }

  /**
   * The only place where stream management begins. A session has one state of it: undefined where it has one already.
   */
  manage(session: Session, host: LocalHost, hold: number, id?: string): Sm | undefined {
    if (this.#ending.managed.has(session)) return undefined;
    const sm = new Sm(
      session,
      host,
      hold,
      () => this.#parts.config().stream_management,
      (full) => this.#ending.overflowed(full),
      this.#parts.resumables,
      id,
    );
    this.#ending.managed.set(session, sm);
    if (hold > 0) this.#parts.resumables.add(sm);
    return sm;
  }

  async #resumeClassic(stream: C2sStream, item: TopLevel): Promise<void> {
    const refusal = await this.resume(stream, item.attrs.previd, item.attrs.h, (resumed) =>
      stream.writeElement(resumed),
    );
    if (refusal !== undefined) stream.writeElement(refusal);
  }

  /**
   * §5: takes up a session again. `tell` is given `<resumed/>` to write, and what the client missed goes out behind it.
   * Where that cannot be, nothing is told, and what resolves is the `<failed/>`.
   */
  async resume(
    stream: C2sStream,
    previd = '',
    h: string | undefined,
    tell: (resumed: Element) => void,
  ): Promise<Element | undefined> {
    const { resumables, counts } = this.#parts;
    const acknowledged = counter(h);
    const sm = resumables.get(previd);
    // Whose it is, is not told to others: it looks as if it were not there.
    if (sm === undefined || !sm.session.jid.sameBare(stream.account)) {
      counts.resumeFailures++;
      return failed('item-not-found', resumables.lastCount(previd, stream.account!));
    }
    this.#disconnect(sm);
    const isMine = sm.claim();
    // `h` counts all that was taken, and a crash must not bring back what is on disk: the client knows of later counts.
    const isSettled = await this.#within(Promise.all([resumables.invalidate(sm), sm.whenCaughtUp()]));
    if (stream.phase !== 'known') throw new StreamError('connection-timeout');
    if (!isMine()) throw new StreamError('conflict', 'The session is resumed on another connection.');
    if (!isSettled) this.#ending.end(sm.session);
    if (resumables.get(previd) !== sm) {
      counts.resumeFailures++;
      return failed('item-not-found', resumables.lastCount(previd, stream.account!));
    }
    const { session } = sm;
    // The client has got more than was written down before the crash.
    if (sm.isRevived && !sm.fits(acknowledged)) {
      counts.resumeFailures++;
      this.#ending.end(session);
      return failed('item-not-found');
    }
    sm.acknowledged(acknowledged);
    stream.resumed(sm);
    session.connection = stream;
    counts.resumed++;
    tell(el('resumed', { xmlns: NS.sm, previd: sm.id, h: String(sm.h) }));
    sm.attach(stream);
    sm.resend();
    stream.csi?.flush();
    session.drained();
    void sm.host.tell('resumed', session);
    return undefined;
  }

  /** Whether it resolved while a connection may wait for it. A handler that never ends must not hold its client back. */
  #within(work: Promise<unknown>): Promise<boolean> {
    const ms = this.#parts.config().limits.login_deadline_seconds * 1000 * settlingShare;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => resolve(false), ms).unref();
      work.then(() => {
        clearTimeout(timer);
        resolve(true);
      }, reject);
    });
  }

  /** Takes the session from its connection: nothing that this one still brings is handled. */
  #disconnect(sm: Sm): void {
    const old = sm.session.connection as C2sStream | undefined;
    if (old === undefined) return;
    sm.session.connection = undefined;
    sm.detach(monotonic());
    old.close(new StreamError('conflict', 'The session was resumed on another connection.'));
  }
}

/** A count of XEP-0198: throws StreamError('invalid-xml') for what is none. */
function counter(text: string | undefined): number {
  if (text === undefined || !/^\d{1,10}$/.test(text) || Number(text) >= 2 ** 32)
    throw new StreamError('invalid-xml', 'h is a number below 2^32.');
  return Number(text);
}

function failed(condition: string, h?: number): Element {
  return el('failed', { xmlns: NS.sm, h: h?.toString() }, el(condition, { xmlns: NS.stanzas }));
}
