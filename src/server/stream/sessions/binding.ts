/** Turns an authenticated stream into a session: resource binding (RFC 6120 §7), Bind 2 (XEP-0386), conflicts. */

import { createHash } from 'node:crypto';
import { type Jid, JidError } from '../../address/jid.js';
import type { Maybe } from '../../maybe.js';
import { Session } from '../../routing/session.js';
import { StanzaError, StreamError } from '../../stanza/errors.js';
import { randomId } from '../../stanza/ids.js';
import { NS } from '../../stanza/ns.js';
import { Stanza } from '../../stanza/stanza.js';
import type { UserAgent } from '../../stanza/user-agent.js';
import { Element, el } from '../../xml/element.js';
import type { TopLevel } from '../../xml/reader.js';
import type { InlineBind } from '../c2s/negotiation.js';
import type { C2sStream } from '../c2s/stream.js';
import { catchesUp } from '../catching-up.js';
import type { Ending } from './ending.js';
import { demandHome, type SessionsParts } from './parts.js';
import type { Resuming } from './resuming.js';

/** Longer tags are not used in the resource, in characters. */
const longestTag = 256;

export class Binding {
  readonly #parts: SessionsParts;
  readonly #ending: Ending;
  readonly #resuming: Resuming;

  constructor(parts: SessionsParts, ending: Ending, resuming: Resuming) {
    this.#parts = parts;
    this.#ending = ending;
    this.#resuming = resuming;
  }

  /** An element on an authenticated stream without a session. */
  negotiate(stream: C2sStream, item: TopLevel): Maybe<void> {
    return this.#inTurn(() => this.#negotiate(stream, item));
  }

  /** Runs at once, or when a new session may begin. Throws StreamError. */
  #inTurn<T>(run: () => Maybe<T>): Maybe<T> {
    // An earlier session of this address may be among them.
    const restoring = this.#parts.restoring();
    if (restoring !== undefined) return restoring.then(() => this.#inTurn(run));
    const wait = this.#parts.returns.turn();
    if (wait === 0) return run();
    this.#parts.limitHit('cluster.logins_per_second');
    if (wait === undefined)
      throw new StreamError('resource-constraint', 'Too many clients return at once. Try again later.');
    return new Promise<void>((resolve) => setTimeout(resolve, wait)).then(run);
  }

  #negotiate(stream: C2sStream, item: TopLevel): Maybe<void> {
    // The connection may have closed meanwhile.
    if (stream.phase !== 'authenticated') throw new StreamError('connection-timeout');
    // RFC 6120 §6.4.6, §7.1: only binding is allowed now.
    if (item.ns !== NS.client || item.name !== 'iq') throw new StreamError('not-authorized', 'Bind a resource first.');
    const stanza = Stanza.fromTopLevel(item);
    const request = stanza.type === 'set' && stanza.id !== undefined ? stanza.child(NS.bind, 'bind') : undefined;
    if (request === undefined) throw new StreamError('not-authorized', 'Bind a resource first.');
    const wanted = request.getChildText('resource', NS.bind) ?? undefined;
    try {
      const jid = this.#address(stream, wanted === '' ? undefined : wanted);
      const former = this.#makeRoom(jid);
      if (former !== undefined) return former.then(() => this.#negotiate(stream, item));
      this.#begin(stream, jid);
      stream.writeStanza(stanza.result(el('bind', { xmlns: NS.bind }, el('jid', null, jid.full))));
      return this.announce(stream);
    } catch (error) {
      if (!(error instanceof StanzaError)) throw error;
      stream.writeStanza(stanza.error(error));
    }
  }

  /** The full address for a new session. Throws StanzaError('bad-request') if `wanted` is not a valid resource. */
  #address(stream: C2sStream, wanted: string | undefined): Jid {
    demandHome(this.#parts, stream.account!);
    try {
      return stream.account!.withResource(wanted ?? randomId(9));
    } catch (error) {
      if (error instanceof JidError) throw new StanzaError('bad-request'); // RFC 6120 §7.7.2.1
      throw error;
    }
  }

  /**
   * RFC 6120 §7.7.2.2: the newer session replaces one with the same address. Also enforces the session limit. If something of
   * the former one is still being handled, resolves when it is not: to be called again.
   */
  #makeRoom(jid: Jid): Promise<unknown> | undefined {
    const { directory } = this.#parts;
    const same = directory.find(jid);
    if (same !== undefined) {
      const former = this.#replace(same, 'Replaced by a newer connection.');
      if (former !== undefined) return former;
    }
    const sessions = directory.of(jid.bare);
    if (sessions.length < this.#parts.config().limits.sessions_per_account) return undefined;
    this.#parts.limitHit('sessions_per_account');
    const asleep = sessions.find((session) => session.connection === undefined);
    if (asleep === undefined) throw new StanzaError('resource-constraint'); // §7.6.2.1
    this.#ending.end(asleep);
    return undefined;
  }

  /**
   * Stanzas that are not acknowledged come again in the new session, and must not be overtaken by themselves. Returns
   * undefined without stream management: then nobody sends them again.
   */
  #replace(session: Session, why: string): Promise<unknown> | undefined {
    const former = this.#ending.managed.get(session)?.stopTaking();
    this.#ending.end(session, new StreamError('conflict', why));
    return former && catchesUp(former, this.#parts.config().limits);
  }

  #begin(stream: C2sStream, jid: Jid, agent?: UserAgent): Session {
    const session = new Session(jid, stream, stream.mechanism, agent);
    session.connection = stream;
    session.ledger = this.#ending.ledger;
    stream.bind(session);
    if (session.isAnonymous) this.#parts.anonymous.started(jid, stream.remoteAddress);
    this.#parts.directory.add(session);
    return session;
  }

  /** The client knows its session, so modules are notified. Its first stanza waits for them. */
  announce(stream: C2sStream): Maybe<void> {
    if (stream.phase === 'bound') return stream.host!.notify('bound', stream.session!);
  }

  /**
   * XEP-0386: binds during authentication and returns the `<bound/>` for the `<success/>`. The stream holds output for
   * the session; the caller releases it after `<success/>`.
   */
  bind2(stream: C2sStream, inline: InlineBind): Maybe<Element> {
    return this.#inTurn(() => this.#bind2(stream, inline));
  }

  #bind2(stream: C2sStream, inline: InlineBind): Maybe<Element> {
    const { tag, agent, features } = inline;
    const { clientId } = agent;
    // The connection may have closed during the login.
    if (stream.phase !== 'authenticated') throw new StreamError('connection-timeout');
    demandHome(this.#parts, stream.account!);
    const host = stream.host!;
    const jid = this.#stableAddress(stream.account!, tag, clientId);
    try {
      const former = this.#endEarlier(jid, clientId) ?? this.#makeRoom(jid);
      if (former !== undefined) return former.then(() => this.#bind2(stream, inline));
    } catch (error) {
      // The client is already authenticated, so the error closes the stream.
      throw error instanceof StanzaError
        ? new StreamError('resource-constraint', 'This account has too many sessions.')
        : error;
    }
    const children: Element[] = [];
    const session = this.#begin(stream, jid, agent);
    for (const feature of features) {
      const ns = feature.getNS() ?? '';
      const name = feature.getName();
      if (ns === NS.sm && name === 'enable') {
        children.push(this.#resuming.enable(stream, session, feature.attrs.resume, feature.attrs.max));
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
    return Promise.allSettled(answering).then((outcomes) =>
      bound(
        outcomes.map((outcome) => {
          if (outcome.status === 'fulfilled') return outcome.value;
          this.#parts.log.error({ err: outcome.reason }, 'a module failed during resource binding');
          return undefined;
        }),
      ),
    );
  }

  /** XEP-0386 §3.2.1: the client's tag, and a suffix that is unique and stable for each client. */
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

  /** XEP-0386 §3.2: a client that binds again has abandoned its earlier session. */
  #endEarlier(jid: Jid, clientId: string | undefined): Promise<unknown> | undefined {
    if (clientId === undefined) return undefined;
    const earlier = this.#parts.directory.of(jid.bare).filter((session) => session.clientId === clientId);
    const former = earlier.map((session) => this.#replace(session, 'The client has a newer connection.'));
    return former.some((one) => one !== undefined) ? Promise.all(former) : undefined;
  }
}
