/** Stream management (XEP-0198) requests of clients: enable, acknowledge, resume. */

import { monotonic } from '../../clock.js';
import type { Maybe } from '../../maybe.js';
import type { LocalHost } from '../../routing/host.js';
import type { Session } from '../../routing/session.js';
import { StreamError } from '../../stanza/errors.js';
import { NS } from '../../stanza/ns.js';
import { type Element, el } from '../../xml/element.js';
import type { TopLevel } from '../../xml/reader.js';
import type { C2sStream } from '../c2s/stream.js';
import { catchesUp } from '../catching-up.js';
import { demandCounter, failed } from '../xep-0198-received.js';
import { Sm } from '../xep-0198-sm.js';
import type { Ending } from './ending.js';
import { demandHome, type SessionsParts } from './parts.js';

export class Resuming {
  readonly #parts: SessionsParts;
  readonly #ending: Ending;

  constructor(parts: SessionsParts, ending: Ending) {
    this.#parts = parts;
    this.#ending = ending;
  }

  /** A stream management element, in any phase of the stream. */
  managed(stream: C2sStream, item: TopLevel): Maybe<void> {
    const { sm, phase } = stream;
    const { name, attrs } = item;
    if (sm !== undefined && name === 'r') sm.requested();
    else if (sm !== undefined && name === 'a') sm.acknowledged(demandCounter(attrs.h));
    else if (phase === 'bound' && sm === undefined && name === 'enable')
      stream.writeElement(this.enable(stream, stream.session!, attrs.resume, attrs.max));
    else if (phase === 'authenticated' && name === 'resume') return this.#resumeClassic(stream, item);
    // §3, §6: at the wrong time, also before login, it is refused and the stream continues.
    else if (['r', 'a', 'enable', 'resume'].includes(name)) stream.writeElement(failed('unexpected-request'));
    else throw new StreamError('unsupported-stanza-type');
  }

  /** Handles `<enable/>`, inline or not. Returns the reply. */
  enable(stream: C2sStream, session: Session, resume: string | undefined, max: string | undefined): Element {
    const { hibernate_seconds, hibernate_max_seconds } = this.#parts.config().stream_management;
    const wanted = max !== undefined && /^\d+$/.test(max) ? Number(max) : hibernate_seconds;
    const hold = resume === 'true' || resume === '1' ? Math.min(wanted, hibernate_max_seconds) : 0;
    const sm = this.manage(session, stream.host!, hold);
    // §3: one attempt per session, inline or not.
    if (sm === undefined) return failed('unexpected-request');
    stream.manage(sm);
    session.acknowledges = true;
    return hold > 0
      ? el('enabled', { xmlns: NS.sm, id: sm.id, resume: 'true', max: String(hold) })
      : el('enabled', { xmlns: NS.sm });
  }

  /** The only place where stream management starts. Returns undefined if the session has it already. */
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
   * §5: resumes a session. `writeResumed` writes `<resumed/>`; missed stanzas are resent after it. If the session cannot be
   * resumed, resolves with `<failed/>` and does not call `writeResumed`.
   */
  async resume(
    stream: C2sStream,
    previd = '',
    h: string | undefined,
    writeResumed: (resumed: Element) => void,
  ): Promise<Element | undefined> {
    const { resumables, counts } = this.#parts;
    const acknowledged = demandCounter(h);
    await this.#parts.restoring();
    if (stream.phase !== 'authenticated') throw new StreamError('connection-timeout');
    demandHome(this.#parts, stream.account!);
    const sm = resumables.get(previd);
    // Whether another account has such a session is not disclosed.
    if (sm === undefined || !sm.session.jid.sameBare(stream.account)) {
      counts.resumeFailures++;
      return failed('item-not-found', resumables.lastCount(previd, stream.account!));
    }
    this.#disconnect(sm);
    const isMine = sm.claim();
    // `h` must count every received stanza, and the snapshot must be gone: the client will know of later counts.
    const isCaughtUp = await catchesUp(
      Promise.all([resumables.invalidate(sm), sm.whenCaughtUp()]),
      this.#parts.config().limits,
    );
    if (stream.phase !== 'authenticated') throw new StreamError('connection-timeout');
    if (!isMine()) throw new StreamError('conflict', 'Another connection resumed the session.');
    demandHome(this.#parts, stream.account!);
    if (!isCaughtUp) this.#ending.end(sm.session);
    if (resumables.get(previd) !== sm) {
      counts.resumeFailures++;
      return failed('item-not-found', resumables.lastCount(previd, stream.account!));
    }
    const { session } = sm;
    // The client received more than the snapshot of before the crash knows.
    if (sm.isRevived && !sm.fits(acknowledged)) {
      counts.resumeFailures++;
      this.#ending.end(session);
      return failed('item-not-found');
    }
    sm.acknowledged(acknowledged);
    stream.resumed(sm);
    session.connection = stream;
    counts.resumed++;
    writeResumed(el('resumed', { xmlns: NS.sm, previd: sm.id, h: String(sm.h) }));
    sm.attach(stream);
    sm.resend();
    stream.csi?.flush();
    session.drained();
    void sm.host.notify('resumed', session);
    return undefined;
  }

  /** Detaches the session from its connection: nothing it still receives is handled. */
  #disconnect(sm: Sm): void {
    const old = sm.session.connection as C2sStream | undefined;
    if (old === undefined) return;
    sm.session.connection = undefined;
    sm.detach(monotonic());
    old.close(new StreamError('conflict', 'Another connection resumed the session.'));
  }
}
