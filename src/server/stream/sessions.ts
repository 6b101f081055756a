/**
 * From an authenticated stream to a session and to its end: resource binding (RFC 6120 §7), Bind 2 (XEP-0386),
 * stream management (XEP-0198), conflicts, hibernation, and what a restart leaves of it all.
 */

import { createHash } from 'node:crypto';
import type { Logger } from 'pino';
import { monotonic } from '../clock.js';
import type { Config } from '../config/schema.js';
import type { SessionDirectory } from '../routing/directory.js';
import type { LocalHost } from '../routing/host.js';
import type { Link } from '../routing/link.js';
import { type Ledger, Session } from '../routing/session.js';
import { type SessionState, writeStates } from '../routing/session-state.js';
import { StanzaError, StreamError } from '../stanza/errors.js';
import { randomId } from '../stanza/ids.js';
import { Jid, JidError } from '../stanza/jid.js';
import { NS } from '../stanza/ns.js';
import { Stanza } from '../stanza/stanza.js';
import { Element, el } from '../xml/element.js';
import type { TopLevel } from '../xml/reader.js';
import type { InlineBind } from './c2s/negotiation.js';
import type { C2sStream } from './c2s/stream.js';
import type { StreamCounts } from './counts.js';
import type { Queue, Queues } from './queues.js';
import { revived, type SavedSm, type Surroundings } from './xep-0198-record.js';
import type { Resumables } from './xep-0198-resumables.js';
import { Sm } from './xep-0198-sm.js';
import { CsiLink } from './xep-0352-csi.js';

export interface SessionsParts {
  config(): Config;
  host(domain: string): LocalHost | undefined;
  readonly directory: SessionDirectory;
  readonly resumables: Resumables;
  readonly counts: StreamCounts;
  readonly log: Logger;
  /** Sessions without an account begin, and the last of an address has ended. */
  readonly passing: { came(jid: Jid, address: string): void; left(jid: Jid, told: Promise<void> | void): void };
  /** A session has ended. */
  ended(session: Session): void;
  /** What was stored of a session cannot be read: its record's owner, and the name of the state. */
  damaged(owner: string, state: string): void;
  readonly queues: Queues;
  limitHit(limit: string): void;
}

/** Longer tags are left out of the resource. */
const longestTag = 256;
/** Of a session that is kept for a crash: what it has not acknowledged, and characters of what is written in all. */
const mostKeptStanzas = 32;
const mostKeptSize = 65_536;
/** A resumption waits at most this share of the login deadline for what the old connection left under way. */
const settlingShare = 0.5;
/** Who takes nothing for so long is the first to go where too much waits for all, in ms. */
const idleMs = 1000;
/** Sessions that one pass of the sweeper writes down. */
const mostAtOnce = 200;

export class Sessions {
  readonly #parts: SessionsParts;
  readonly #ledger: Ledger;
  /** Stream management states by session. `#manage` alone adds to it, and `#gone` alone removes. */
  readonly #sms = new Map<Session, Sm>();
  /** States that could not be stored. As many as are declared, at most. */
  readonly #unstorable = new Set<SessionState>();

  constructor(parts: SessionsParts) {
    this.#parts = parts;
    this.#ledger = this.#makeLedger();
  }

  // --- binding ----------------------------------------------------------------------------------------------------

  /** An element on a stream that has authenticated and has no session yet. */
  negotiate(stream: C2sStream, item: TopLevel): void | Promise<void> {
    // RFC 6120 §6.4.6, §7.1: nothing but binding now.
    if (item.ns !== NS.client || item.name !== 'iq')
      throw new StreamError('not-authorized', 'A resource is not bound.');
    const stanza = Stanza.fromTopLevel(item);
    const request = stanza.type === 'set' && stanza.id !== undefined ? stanza.child(NS.bind, 'bind') : undefined;
    if (request === undefined) throw new StreamError('not-authorized', 'A resource is not bound.');
    const wanted = request.getChildText('resource', NS.bind) ?? undefined;
    try {
      const jid = this.#address(stream, wanted === '' ? undefined : wanted);
      this.#makeRoom(jid);
      this.#begin(stream, jid, undefined);
      stream.writeStanza(stanza.result(el('bind', { xmlns: NS.bind }, el('jid', null, jid.full))));
      return this.announce(stream);
    } catch (error) {
      if (!(error instanceof StanzaError)) throw error;
      stream.writeStanza(stanza.error(error));
    }
  }

  /** The full address for a new session. Throws StanzaError('bad-request') for what is no resource. */
  #address(stream: C2sStream, wanted: string | undefined): Jid {
    try {
      return stream.account!.withResource(wanted ?? randomId(9));
    } catch (error) {
      if (error instanceof JidError) throw new StanzaError('bad-request'); // RFC 6120 §7.7.2.1
      throw error;
    }
  }

  /** RFC 6120 §7.7.2.2: of two with one address the newer wins. And nobody has more sessions than the limit. */
  #makeRoom(jid: Jid): void {
    const { directory } = this.#parts;
    const same = directory.find(jid);
    if (same !== undefined) this.end(same, new StreamError('conflict', 'Replaced by a newer connection.'));
    const sessions = directory.of(jid.bare);
    if (sessions.length < this.#parts.config().limits.sessions_per_account) return;
    this.#parts.limitHit('sessions_per_account');
    const asleep = sessions.find((session) => session.connection === undefined);
    if (asleep === undefined) throw new StanzaError('resource-constraint'); // §7.6.2.1
    this.end(asleep);
  }

  #begin(stream: C2sStream, jid: Jid, clientId: string | undefined): Session {
    const session = new Session(jid, stream, stream.mechanism, clientId);
    session.connection = stream;
    session.ledger = this.#ledger;
    stream.bind(session);
    if (session.isPassing) this.#parts.passing.came(jid, stream.remoteAddress);
    this.#parts.directory.add(session);
    return session;
  }

  /** The client knows of its session: from now on the modules may. Its first stanza waits until they have dealt with it. */
  announce(stream: C2sStream): void | Promise<void> {
    if (stream.phase === 'bound') return stream.host!.tell('bound', stream.session!);
  }

  /**
   * XEP-0386: binds while authenticating; the `<bound/>` for the `<success/>`. What the session is sent before that is
   * written waits in the stream, to be released behind it.
   */
  bind2(stream: C2sStream, { tag, clientId, features }: InlineBind): Element | Promise<Element> {
    // It may have gone while the login went on.
    if (stream.phase !== 'known') throw new StreamError('connection-timeout');
    const host = stream.host!;
    const jid = this.#stableAddress(stream.account!, tag, clientId);
    this.#endEarlier(jid, clientId);
    try {
      this.#makeRoom(jid);
    } catch (error) {
      // There is no other answer: the client is authenticated, and told so with the resource that it has.
      throw error instanceof StanzaError ? new StreamError('resource-constraint', 'Too many sessions.') : error;
    }
    const children: Element[] = [];
    const session = this.#begin(stream, jid, clientId);
    for (const feature of features) {
      const ns = feature.getNS() ?? '';
      const name = feature.getName();
      if (ns === NS.sm && name === 'enable') {
        children.push(this.#enable(stream, session, feature.attrs.resume, feature.attrs.max));
        continue;
      }
      if (ns === NS.csi && (name === 'active' || name === 'inactive')) {
        stream.clientIs(name); // §3.2
        continue;
      }
      const inline = host.hooks.inline.find((hook) => hook.ns === ns && hook.name === name);
      const answer = inline?.handler(session, feature);
      if (answer !== undefined) children.push(answer as Element);
    }
    const bound = (answers: readonly (Element | undefined | void)[]) =>
      el('bound', { xmlns: NS.bind2 }, ...children, ...answers.filter((answer) => answer instanceof Element));
    if (host.hooks.binding.length === 0) return bound([]);
    stream.hold();
    const answering = host.hooks.binding.map(async (handler) => handler(session));
    return Promise.allSettled(answering).then((settled) =>
      bound(
        settled.map((outcome) => {
          if (outcome.status === 'fulfilled') return outcome.value;
          this.#parts.log.error({ err: outcome.reason }, 'a module failed while a client was binding');
          return undefined;
        }),
      ),
    );
  }

  /** XEP-0386 §3.2.1: the client's tag, and what tells it from others, always the same for one client. */
  #stableAddress(account: Jid, tag: string | undefined, clientId: string | undefined): Jid {
    const suffix =
      clientId === undefined
        ? randomId(6)
        : createHash('sha256').update(`${account.bare} ${clientId}`).digest('base64url').slice(0, 8);
    try {
      if (tag !== undefined && tag !== '' && tag.length <= longestTag) return account.withResource(`${tag}/${suffix}`);
    } catch (error) {
      if (!(error instanceof JidError)) throw error;
    }
    return account.withResource(suffix);
  }

  /** XEP-0386 §3.2: a client that binds anew has no use for its session of before. */
  #endEarlier(jid: Jid, clientId: string | undefined): void {
    if (clientId === undefined) return;
    for (const session of this.#parts.directory.of(jid.bare))
      if (session.clientId === clientId)
        this.end(session, new StreamError('conflict', 'The client has a newer connection.'));
  }

  // --- XEP-0198 ---------------------------------------------------------------------------------------------------

  /** An element of stream management, at whatever point of the stream. */
  managed(stream: C2sStream, item: TopLevel): void | Promise<void> {
    const { sm, phase } = stream;
    const { name, attrs } = item;
    if (sm !== undefined && name === 'r') sm.requested();
    else if (sm !== undefined && name === 'a') sm.acknowledged(counter(attrs.h));
    else if (phase === 'bound' && sm === undefined && name === 'enable')
      stream.writeElement(this.#enable(stream, stream.session!, attrs.resume, attrs.max));
    else if (phase === 'known' && name === 'resume') return this.#resumeClassic(stream, item);
    // §3, §6: what comes at the wrong time, before the login too, is refused, and the stream goes on.
    else if (['r', 'a', 'enable', 'resume'].includes(name)) stream.writeElement(failed('unexpected-request'));
    else throw new StreamError('unsupported-stanza-type');
  }

  #enable(stream: C2sStream, session: Session, resume: string | undefined, max: string | undefined): Element {
    const { hibernate_seconds, hibernate_max_seconds } = this.#parts.config().stream_management;
    const wanted = max !== undefined && /^\d+$/.test(max) ? Number(max) : hibernate_seconds;
    const hold = resume === 'true' || resume === '1' ? Math.min(wanted, hibernate_max_seconds) : 0;
    const sm = this.#manage(session, stream.host!, hold);
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
  #manage(session: Session, host: LocalHost, hold: number, id?: string): Sm | undefined {
    if (this.#sms.has(session)) return undefined;
    const sm = new Sm(
      session,
      host,
      hold,
      () => this.#parts.config().stream_management,
      (full) => this.overflowed(full),
      this.#parts.resumables,
      id,
    );
    this.#sms.set(session, sm);
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
    const isSettled = await this.#within(Promise.all([resumables.outdated(sm), sm.whenSettled()]));
    if (stream.phase !== 'known') throw new StreamError('connection-timeout');
    if (!isMine()) throw new StreamError('conflict', 'The session is resumed on another connection.');
    if (!isSettled) this.end(sm.session);
    if (resumables.get(previd) !== sm) {
      counts.resumeFailures++;
      return failed('item-not-found', resumables.lastCount(previd, stream.account!));
    }
    const { session } = sm;
    // The client has got more than was written down before the crash.
    if (sm.isRevived && !sm.fits(acknowledged)) {
      counts.resumeFailures++;
      this.end(session);
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
      const sm = this.#sms.get(session);
      const stream = session.connection as C2sStream | undefined;
      const size = (sm?.size ?? 0) + (stream?.unread ?? 0) + session.pouring;
      if (size === 0) continue;
      yield {
        size,
        isIdle: stream === undefined || stream.isStuck(now, idleMs) || sm?.isSilent(now, idleMs) === true,
        end: () => {
          // The session first: it must not hibernate with its queue.
          this.#gone(session);
          stream?.abandon();
        },
      };
    }
  }

  // --- ends -------------------------------------------------------------------------------------------------------

  /** The stream was closed by one side or the other: its session ends. */
  closed(stream: C2sStream, error?: StreamError): void {
    const { session } = stream;
    if (session?.connection !== stream) return;
    // What is closed because the server stops, or went quiet, can be resumed.
    if (stream.sm !== undefined && stream.resumable && error?.condition === 'system-shutdown') {
      this.#hibernate(stream.sm, session);
      return;
    }
    this.#gone(session);
  }

  /** The connection was lost: a session that can be resumed waits for its client. */
  lost(stream: C2sStream): void {
    const { session, sm } = stream;
    if (session?.connection !== stream) return;
    if (sm === undefined || sm.holdSeconds === 0) this.#gone(session);
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
      this.#gone(asleep[0]!);
    }
  }

  /** Ends a session, telling its client why if it is there. */
  end(session: Session, error?: StreamError): void {
    const { connection } = session;
    if (connection !== undefined) connection.close(error);
    else this.#gone(session);
  }

  #gone(session: Session): void {
    if (!this.#parts.directory.remove(session)) return;
    session.connection = undefined;
    const { link } = session;
    const sm = this.#sms.get(session);
    const host = this.#parts.host(session.jid.domain);
    const waiting = session.stopPouring();
    const told = host?.tell('gone', session);
    if (link instanceof CsiLink) link.end();
    if (sm !== undefined) {
      this.#sms.delete(session);
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

  /** Once a second: ends the hibernating sessions whose time is over, and keeps those that are quiet. */
  sweep(now: number): void {
    const { resumables, config } = this.#parts;
    const { keep_after_seconds } = config().stream_management;
    resumables.forgetLeft();
    let left = mostAtOnce;
    for (const sm of resumables.all()) {
      sm.quiet++;
      if (!sm.connected && sm.expires !== 0 && sm.expires <= now) this.#gone(sm.session);
      else if (left > 0 && !sm.kept && sm.quiet > keep_after_seconds && this.#keep(sm)) left--;
    }
  }

  /** Writes down a session for a crash; whether it is small, and at rest. */
  #keep(sm: Sm): boolean {
    const surroundings = this.#surroundings(sm);
    if (surroundings === undefined || sm.session.isPouring || !sm.isSettled || !isSmall(sm, surroundings)) {
      sm.quiet = 0; // not to be looked at each second
      return false;
    }
    this.#parts.resumables.keep(sm, surroundings);
    return true;
  }

  /** undefined: what its client has seen is not in memory now. */
  #surroundings(sm: Sm): (Surroundings & { readonly size: number }) | undefined {
    const { session, host } = sm;
    const { link } = session;
    const { presence } = host.services;
    const seen = presence === undefined ? [] : presence.seenBy(session);
    if (seen === undefined) return undefined;
    return this.#described(sm, link instanceof CsiLink ? link.held : [], seen);
  }

  #described({ session, host }: Sm, held: Surroundings['held'], seen: readonly string[]) {
    const { values, size } = writeStates(session, host.hooks.sessionStates, (state, error) =>
      this.#notStored(state, error, session.jid),
    );
    return { held, seen, state: values, size };
  }

  /** Said once of each state: what is wrong with one session's is wrong with others'. */
  #notStored(state: SessionState, error: unknown, jid: Jid): void {
    if (this.#unstorable.has(state)) return;
    this.#unstorable.add(state);
    this.#parts.log.error({ err: error, session: jid.full, state: state.name }, 'the state of a session is not stored');
  }

  /** `Resumables.outdating`. */
  get outdating(): Promise<unknown> | undefined {
    return this.#parts.resumables.outdating;
  }

  /** Stream management states, those that can be resumed, and records that the storage has yet to forget. */
  get held(): { readonly managed: number; readonly resumable: number; readonly forgetting: number } {
    const { size, forgetting } = this.#parts.resumables;
    return { managed: this.#sms.size, resumable: size, forgetting };
  }

  /** Sessions that would outlive a crash. */
  get kept(): number {
    return this.#parts.resumables.kept;
  }

  /** Sessions that wait for their clients. */
  get hibernating(): number {
    let count = 0;
    for (const sm of this.#parts.resumables.all()) if (!sm.connected) count++;
    return count;
  }

  // --- restarts ---------------------------------------------------------------------------------------------------

  /** Writes down the sessions that can be resumed. Resolves once they are on disk. */
  async save(): Promise<void> {
    for (const session of this.#sms.keys()) {
      // Requests that wait for their answers are refused; what waited behind sources is written down with the rest.
      for (const { stanza, receipt } of session.stopPouring()) session.link.send(stanza, receipt);
      if (session.link instanceof CsiLink) session.link.flush();
    }
    try {
      await this.#parts.resumables.save(monotonic(), (sm) => this.#surroundings(sm) ?? this.#described(sm, [], []));
    } catch (error) {
      // Their clients begin anew, and find their messages where those of absent users are.
      this.#parts.log.error({ err: error }, 'sessions could not be kept for the next start');
    }
  }

  /** Takes up the sessions that the process before wrote down: they hibernate until their clients come back. */
  async load(): Promise<void> {
    const now = monotonic();
    const taken: { readonly sm: Sm; readonly saved: SavedSm }[] = [];
    await this.#parts.resumables.load((id, saved) => {
      const host = this.#parts.host(Jid.parse(saved.jid).domain);
      if (host === undefined) return;
      const nowhere: Link = { send: (stanza, receipt) => receipt?.lost(stanza) };
      const session = revived(saved, nowhere, host.hooks.sessionStates, ({ name }) => this.#parts.damaged(id, name));
      const sm = this.#manage(session, host, saved.holdSeconds, id);
      if (sm === undefined) return;
      session.ledger = this.#ledger;
      session.link = sm;
      sm.restore(saved, now);
      this.#parts.directory.add(session);
      taken.push({ sm, saved });
    });
    for (const { sm, saved } of taken)
      for (const domain of Object.keys(this.#parts.config().hosts))
        await this.#parts.host(domain)?.emit('revived', { session: sm.session, seen: saved.seen ?? [] });
    // What they were told just now the next process would tell them as well.
    for (const { sm } of taken) sm.kept = true;
    // What was kept for them and is in no queue: they wait for it like others who are there.
    for (const { jid } of this.#sms.keys()) this.#parts.host(jid.domain)?.services.offline?.readOut(jid.bare);
  }
}

function isSmall(sm: Sm, { held, seen, size: ofStates }: Surroundings & { readonly size: number }): boolean {
  if (sm.waiting + held.length > mostKeptStanzas) return false;
  let size = sm.size + ofStates;
  for (const { stanza } of held) size += stanza.content.length;
  for (const address of seen) size += address.length;
  return size <= mostKeptSize;
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
