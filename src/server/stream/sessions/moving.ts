/**
 * Sessions that move to another node of the cluster with the home of their account. The old home stops reading their
 * streams, describes them, and after the move has the connections follow (c2s/gateway.ts); their clients notice nothing.
 */
import { z } from 'zod';
import { Jid } from '../../address/jid.js';
import { monotonic, poll, within } from '../../clock.js';
import type { RelayPeer } from '../../cluster/relay.js';
import { type UsedUp, usedUp } from '../../limits/buckets.js';
import type { LocalHost } from '../../routing/host.js';
import type { Link, Receipt, Sent } from '../../routing/link.js';
import { sizeOf } from '../../routing/outflow.js';
import { Session } from '../../routing/session.js';
import { readStates, writeStates } from '../../routing/session-state.js';
import { StreamError } from '../../stanza/errors.js';
import { randomId } from '../../stanza/ids.js';
import { NS } from '../../stanza/ns.js';
import { Stanza } from '../../stanza/stanza.js';
import { jid, stanzaXml } from '../../stanza/stored.js';
import { userAgent } from '../../stanza/user-agent.js';
import type { Transport, TransportReader } from '../../transport/transport.js';
import { headerText } from '../c2s/gateway.js';
import type { C2sStream } from '../c2s/stream.js';
import { framingOf } from '../framing.js';
import type { NextHome } from '../relayed.js';
import type { SilenceState } from '../silence.js';
import { movedSm } from '../xep-0198-record.js';
import type { EndedCount } from '../xep-0198-resumables.js';
import type { Sm } from '../xep-0198-sm.js';
import { CsiLink } from '../xep-0352-csi.js';
import type { Ending } from './ending.js';
import { LateAcknowledgements } from './late.js';
import type { SessionsParts } from './parts.js';
import type { Resuming } from './resuming.js';

/** How long a session may take to finish what its client has asked for before it is ended instead of moved, in ms. */
const longestPause = 2000;
/** How long a session waits for its connection at the new home, in ms. */
const longestArrival = 10_000;

const sent = z.object({ xml: stanzaXml, reference: z.string().optional() });

/** A session as it is handed over. */
const schema = z.object({
  jid: jid.refine((text) => Jid.tryParse(text)?.resource !== undefined),
  mechanism: z.string(),
  ...userAgent.shape,
  since: z.number(),
  state: z.record(z.string(), z.unknown()),
  sm: movedSm.optional(),
  csi: z.object({ inactive: z.boolean(), held: z.array(sent) }).optional(),
  /** The network address by which an anonymous account is counted. */
  anonymous: z.string().optional(),
  /** Set if the client is connected. */
  connection: z
    .object({
      ticket: z.string(),
      header: z.string(),
      /** Ms since it began, since anything was read, and since the client owes a sign of life. */
      age: z.number(),
      silence: z.number(),
      owes: z.number().optional(),
      /** Stanzas that it waits for, without stream management. */
      waiting: z.array(sent).optional(),
      used: usedUp,
    })
    .optional(),
});
type Moved = z.output<typeof schema>;

/** A session that has been described. */
interface Leaving {
  readonly link: Link;
  readonly stream: C2sStream | undefined;
  readonly ticket: string;
  /** Set if the description has stanzas that may be acknowledged only when this resolves: the new home is told then. */
  readonly written: Promise<void> | undefined;
}

/** A session whose connection is expected. */
interface Arrival {
  readonly ticket: string;
  readonly session: Session;
  readonly sm: Sm | undefined;
  readonly waiting: WaitingLink;
  readonly header: string;
  readonly silence: SilenceState;
  readonly used: UsedUp;
  readonly connectedAt: number;
  timer: NodeJS.Timeout;
  /** The session is about to move on: a connection that comes now waits. */
  isHalted: boolean;
}

/** Where a session has gone before its connection came. */
interface Onward extends NextHome {
  readonly timer: NodeJS.Timeout;
}

export class Moving {
  readonly late: LateAcknowledgements;
  readonly #parts: SessionsParts;
  readonly #ending: Ending;
  readonly #resuming: Resuming;
  readonly #frozen = new Set<C2sStream>();
  readonly #leaving = new Map<Session, Leaving>();
  readonly #arrivals = new Map<string, Arrival>();
  readonly #arrivalOf = new Map<Session, Arrival>();
  /** By the ticket of the connection that is still to come. */
  readonly #onward = new Map<string, Onward>();
  /** Addresses of sessions that have just arrived. */
  readonly #newcomers: Jid[] = [];
  /** Connections whose sessions are not there yet. */
  readonly #early = new Map<string, EarlyConnection>();

  constructor(parts: SessionsParts, ending: Ending, resuming: Resuming) {
    this.#parts = parts;
    this.#ending = ending;
    this.#resuming = resuming;
    this.late = new LateAcknowledgements(parts);
  }

  // --- at the old home ----------------------------------------------------------------------------------------------

  /** Stops reading the streams of these accounts. Resolves once everything read from them is handled. */
  async pause(concerns: (jid: Jid) => boolean): Promise<void> {
    const sessions = this.#of(concerns);
    const deadline = monotonic() + longestPause;
    await Promise.all(sessions.map((session) => this.#pause(session, deadline)));
  }

  #of(concerns: (jid: Jid) => boolean): Session[] {
    return [...this.#parts.directory.all()].filter(({ jid }) => concerns(jid));
  }

  async #pause(session: Session, deadline: number): Promise<void> {
    const arrival = this.#arrivalOf.get(session);
    if (arrival !== undefined) arrival.isHalted = true;
    const stream = session.connection as C2sStream | undefined;
    let isQuiet = false;
    const quiet = async (): Promise<void> => {
      await stream?.xml.freeze();
      isQuiet = true;
    };
    if (stream !== undefined) this.#frozen.add(stream);
    await within(quiet(), deadline - monotonic());
    if (session.isPouring) await poll(() => !(session.isPouring && session.hasRoom), deadline);
    // What is handled after the session is described would not be counted, and its client would send it again.
    if (stream !== undefined && !stream.xml.canHandOver) {
      this.#thaw(stream);
      await poll(() => session.connection !== stream, deadline);
      isQuiet = session.connection !== stream;
    }
    const sm = this.#ending.managed.get(session);
    // Also of a connection that was given up.
    if (sm !== undefined) await poll(() => !sm.isHandling || session.isOver, deadline);
    if (isQuiet && sm?.isHandling !== true) return;
    void stream?.stopTaking();
    this.#ending.end(session, movedError());
  }

  #thaw(stream: C2sStream): void {
    if (this.#frozen.delete(stream)) stream.xml.thaw();
  }

  /** Describes the sessions of these accounts for their new home. What they are sent from now on is sent there. */
  async *describe(concerns: (jid: Jid) => boolean): AsyncGenerator<{ readonly jid: Jid; readonly session: unknown }> {
    for (const session of this.#of(concerns)) {
      const sm = this.#ending.managed.get(session);
      // Its snapshot must not be restored while the session goes on elsewhere.
      await (sm && this.#parts.resumables.invalidate(sm));
      if (session.isOver) continue;
      for (const { stanza, receipt } of session.stopPouring()) session.link.send(stanza, receipt);
      yield { jid: session.jid, session: this.#describe(session, sm) };
    }
  }

  #describe(session: Session, sm: Sm | undefined): Moved {
    const { jid, mechanism, agent, since, link } = session;
    const stream = session.connection as C2sStream | undefined;
    const host = this.#parts.host(jid.domain)!;
    const ticket = randomId();
    const states = writeStates(
      host.hooks.sessionStates,
      (state) => session.get(state),
      (state, error) => this.#parts.log.error({ err: error, session: jid.full, state: state.name }, unmoved),
      'moved',
    );
    this.#leaving.set(session, { link, stream, ticket, written: sm?.whenWritten() });
    const arrival = this.#arrivalOf.get(session);
    session.link = { send: (stanza, receipt) => this.#parts.cluster().forward(jid, stanza, receipt) };
    return {
      jid: jid.full,
      mechanism,
      ...agent,
      since,
      state: states.values,
      sm: sm?.handOver({ ticket, node: this.#parts.cluster().nodeName }),
      csi: link instanceof CsiLink ? { inactive: link.inactive, held: link.held.map(written) } : undefined,
      anonymous: session.isAnonymous ? this.#parts.anonymous.blockOf(jid.bare) : undefined,
      connection:
        stream === undefined ? arrival && stillToCome(arrival, ticket) : this.#describeConnection(stream, ticket),
    };
  }

  #describeConnection(stream: C2sStream, ticket: string): NonNullable<Moved['connection']> {
    const now = monotonic();
    return {
      ticket,
      header: headerText(stream.header!, stream.transport),
      age: now - stream.connectedAt,
      ...stream.xml.silence.describe(now),
      used: stream.xml.buckets.describe(this.#parts.config().limits.rate),
    };
  }

  /** The last counts of ended sessions of these accounts (XEP-0198 §5). */
  endedOf(concerns: (bare: string) => boolean): Iterable<EndedCount> {
    return this.#parts.resumables.endedOf(concerns);
  }

  /** These accounts live elsewhere now: the connections of their sessions follow. */
  left(homeOf: (jid: Jid) => RelayPeer | undefined): void {
    for (const session of this.#of((jid) => homeOf(jid) !== undefined)) {
      const leaving = this.#leaving.get(session);
      // Should not happen: nothing begins for an account that is about to move.
      if (leaving === undefined) {
        this.#ending.end(session, movedError());
        continue;
      }
      this.#leaving.delete(session);
      this.#leave(session, leaving, homeOf(session.jid)!);
    }
    // Some may have ended since they were to move on.
    this.#beginEarly();
  }

  #leave(session: Session, { stream, ticket, written }: Leaving, peer: RelayPeer): void {
    const { directory, resumables, anonymous } = this.#parts;
    directory.remove(session);
    session.connection = undefined;
    const sm = this.#ending.managed.get(session);
    if (sm !== undefined) {
      this.#ending.managed.delete(session);
      resumables.remove(sm);
      for (const { ticket } of sm.late) this.late.forget(ticket);
      if (written !== undefined) void this.late.tell(session.jid.toBare(), ticket, written);
      sm.leave();
    }
    this.#parts.ended(session);
    if (session.isAnonymous && directory.of(session.jid.bare).length === 0) anonymous.left(session.jid.bare);
    const arrival = this.#arrivalOf.get(session);
    if (arrival !== undefined) this.#forget(arrival);
    if (stream === undefined) {
      if (arrival !== undefined) this.#sendOn(arrival.ticket, { peer, ticket });
      return;
    }
    this.#frozen.delete(stream);
    this.#parts.cluster().gateway.follow(stream.transport, { peer, ticket }, (reader) => stream.xml.handOver(reader));
  }

  /** The session has moved on before its connection came. */
  #sendOn(ticket: string, to: NextHome): void {
    const early = this.#early.get(ticket);
    if (early !== undefined) {
      this.#early.delete(ticket);
      early.proceed((transport) => this.#passOn(transport, to));
      return;
    }
    const timer = setTimeout(() => this.#onward.delete(ticket), longestArrival).unref();
    this.#onward.set(ticket, { ...to, timer });
  }

  #passOn(transport: Transport, to: NextHome): void {
    this.#parts.cluster().gateway.follow(transport, to, (reader) => {
      transport.reader = reader;
    });
  }

  /** These accounts stay after all. */
  stayed(concerns: (jid: Jid) => boolean): void {
    for (const [session, { link }] of this.#leaving) {
      if (!concerns(session.jid)) continue;
      this.#leaving.delete(session);
      session.link = link;
    }
    for (const stream of this.#frozen) if (stream.account === undefined || concerns(stream.account)) this.#thaw(stream);
    for (const arrival of this.#arrivals.values()) if (concerns(arrival.session.jid)) arrival.isHalted = false;
    this.#beginEarly();
  }

  // --- at the new home ----------------------------------------------------------------------------------------------

  /** A session arrives, before anything else is done for its account. Throws ZodError. */
  arrive(described: unknown): void {
    const moved = schema.parse(described);
    const address = Jid.parse(moved.jid);
    const host = this.#parts.host(address.domain);
    if (host === undefined) return;
    const waiting: WaitingLink = new WaitingLink(this.#parts.config().limits.write_queue_bytes, () => {
      this.#parts.limitHit('write_queue_bytes');
      this.#lose(session, waiting);
    });
    const { mechanism, since } = moved;
    const session: Session = new Session(address, waiting, mechanism, userAgent.parse(moved), since);
    const damaged = ({ name }: { readonly name: string }) =>
      this.#parts.log.error({ session: moved.jid, state: name }, unmoved);
    readStates(session, host.hooks.sessionStates, moved.state, damaged, 'moved');
    session.ledger = this.#ending.ledger;
    const sm = moved.sm && this.#resuming.manage(session, host, moved.sm.saved.holdSeconds, moved.sm.id);
    if (sm !== undefined) {
      session.acknowledges = true;
      session.link = sm;
      const lost = () => this.#ending.end(session, new StreamError('reset', 'A node of the server was lost.'));
      sm.arrive(moved.sm!, monotonic(), (one) => this.late.expect(one, lost));
    }
    if (moved.csi !== undefined) {
      const csi = new CsiLink(session.link);
      csi.inactive = moved.csi.inactive;
      csi.restore(moved.csi.held.map((one) => this.#read(one, host, address)));
      session.link = csi;
    }
    if (moved.anonymous !== undefined) this.#parts.anonymous.arrived(address.bare, moved.anonymous);
    this.#parts.directory.add(session);
    this.#newcomers.push(address);
    void host.emit('arrived', { session });
    const { connection } = moved;
    if (connection === undefined) return;
    for (const { stanza, receipt } of (connection.waiting ?? []).map((one) => this.#read(one, host, address)))
      waiting.send(stanza, receipt);
    this.#expect(session, sm, waiting, connection);
  }

  #read({ xml, reference }: z.output<typeof sent>, host: LocalHost, owner: Jid): Sent {
    const receipt = reference === undefined ? undefined : host.services.offline?.receipt(owner.toBare(), reference);
    return { stanza: Stanza.parse(xml), receipt };
  }

  #expect(
    session: Session,
    sm: Sm | undefined,
    waiting: WaitingLink,
    { ticket, header, age, silence, owes, used }: NonNullable<Moved['connection']>,
  ): void {
    const now = monotonic();
    const arrival: Arrival = {
      ticket,
      session,
      sm,
      waiting,
      header,
      silence: { silence, owes },
      used,
      connectedAt: now - age,
      timer: this.#timerOf(ticket),
      isHalted: false,
    };
    this.#arrivals.set(ticket, arrival);
    this.#arrivalOf.set(session, arrival);
  }

  #timerOf(ticket: string): NodeJS.Timeout {
    return setTimeout(() => this.#missed(ticket), longestArrival).unref();
  }

  /** Its connection has come, or is not expected here any more. */
  #forget({ ticket, session, timer }: Arrival): void {
    clearTimeout(timer);
    this.#arrivals.delete(ticket);
    this.#arrivalOf.delete(session);
  }

  /** The last count of a session that has ended at another node. */
  ended(count: EndedCount): void {
    this.#parts.resumables.noteEnded(count);
  }

  /** All sessions of these accounts have arrived. */
  arrived(): void {
    // Stored messages that their sessions have not been sent.
    for (const { bare, domain } of this.#newcomers.splice(0)) this.#parts.host(domain)?.services.offline?.readOut(bare);
    this.#beginEarly();
  }

  /** What was sent to some account before it came here has been handled. */
  caughtUp(): void {
    this.#beginEarly();
  }

  /** Whether a session may continue with its connection. One that has ended moves no further. */
  #isReady({ isHalted, session }: Arrival): boolean {
    return session.isOver || (!isHalted && !this.#parts.cluster().isBehind(session.jid));
  }

  #beginEarly(): void {
    for (const [ticket, early] of this.#early) {
      const arrival = this.#arrivals.get(ticket);
      if (arrival === undefined || !this.#isReady(arrival)) continue;
      this.#early.delete(ticket);
      early.proceed((transport) => this.#begin(transport, arrival));
    }
  }

  /** The connection of a session, from this node or through another one. */
  follow(transport: Transport, ticket: string): void {
    const arrival = this.#arrivals.get(ticket);
    const onward = this.#onward.get(ticket);
    if (onward !== undefined) {
      clearTimeout(onward.timer);
      this.#onward.delete(ticket);
      this.#passOn(transport, onward);
    } else if (arrival !== undefined && this.#isReady(arrival)) this.#begin(transport, arrival);
    else this.#early.set(ticket, new EarlyConnection(transport, longestArrival, () => this.#early.delete(ticket)));
  }

  #begin(transport: Transport, arrival: Arrival): void {
    const { session, sm, header, connectedAt } = arrival;
    this.#forget(arrival);
    // A client that resumes sends again what the count that it gets does not cover.
    if (session.isOver || session.connection !== undefined || sm?.isClaimed === true) {
      refuse(
        transport,
        session.reason ?? new StreamError('conflict', 'The session has ended or has another connection.'),
      );
      return;
    }
    this.#parts.continues(transport, connectedAt, { session, begin: (stream) => this.#continue(stream, arrival) });
    transport.reader.received(Buffer.from(header));
  }

  #continue(stream: C2sStream, { session, sm, waiting, silence, used }: Arrival): void {
    session.connection = stream;
    stream.xml.silence.restore(silence, monotonic());
    stream.xml.buckets.restore(used);
    const { link } = session;
    if (sm === undefined) {
      if (link instanceof CsiLink) link.next = stream;
      else session.link = stream;
    }
    stream.follows(session, sm);
    sm?.follow(stream);
    for (const { stanza, receipt } of waiting.take()) stream.send(stanza, receipt);
    session.drained();
  }

  /** The connection did not come: it is lost. */
  #missed(ticket: string): void {
    const arrival = this.#arrivals.get(ticket);
    if (arrival === undefined) return;
    const { session, sm, waiting } = arrival;
    if (arrival.isHalted && !session.isOver) {
      // Its next home waits for it, unless it stays.
      arrival.timer = this.#timerOf(ticket);
      return;
    }
    this.#forget(arrival);
    if (session.isOver || session.connection !== undefined) return;
    if (sm !== undefined && sm.holdSeconds > 0) {
      if (session.link instanceof CsiLink) session.link.wake();
      return;
    }
    this.#lose(session, waiting);
  }

  #lose(session: Session, waiting: WaitingLink): void {
    // Its connection came in time, or is to follow it to another node.
    if (session.connection !== undefined || this.#leaving.has(session)) return;
    this.#ending.gone(session);
    const host = this.#parts.host(session.jid.domain);
    for (const { stanza, receipt } of waiting.take()) {
      if (receipt !== undefined) receipt.lost(stanza);
      else void host?.undeliverable(stanza, session);
    }
  }
}

/** The connection of a session that has not come before the session moves on. */
const stillToCome = (
  { header, connectedAt, silence, used, waiting }: Arrival,
  ticket: string,
): NonNullable<Moved['connection']> => ({
  ticket,
  header,
  age: monotonic() - connectedAt,
  ...silence,
  used,
  waiting: waiting.queued.map(written),
});

const unmoved = 'the state of a session could not be moved to another node';

const movedError = (): StreamError => new StreamError('reset', 'The account moves to another node. Connect again.');

const written = ({ stanza, receipt }: Sent): z.output<typeof sent> => ({
  xml: stanza.toXml(NS.client),
  reference: receipt?.reference,
});

function refuse(transport: Transport, error: StreamError): void {
  transport.reader = { received() {}, ended() {}, drained() {}, closed() {} };
  for (const text of framingOf(transport).end(error.toElements())) transport.write(text);
  transport.end();
  setTimeout(() => transport.destroy(), 2000).unref();
}

/** Queues the stanzas of a session without stream management until its connection has come. */
class WaitingLink implements Link {
  readonly #most: number;
  readonly #overflowed: () => void;
  #queue: Sent[] = [];
  #size = 0;

  /** `most` bytes, as for a client that does not read. */
  constructor(most: number, overflowed: () => void) {
    this.#most = most;
    this.#overflowed = overflowed;
  }

  get hasRoom(): boolean {
    return this.#size < this.#most / 2;
  }

  send(stanza: Stanza, receipt?: Receipt): void {
    const before = this.#size;
    this.#size += sizeOf(stanza);
    this.#queue.push({ stanza, receipt });
    // Deferred: the caller is in the middle of a send.
    if (before < this.#most && this.#size >= this.#most) setImmediate(this.#overflowed);
  }

  get queued(): readonly Sent[] {
    return this.#queue;
  }

  take(): Sent[] {
    this.#size = 0;
    return this.#queue.splice(0);
  }
}

/** A connection that came before its session. */
class EarlyConnection {
  readonly #transport: Transport;
  readonly #timer: NodeJS.Timeout;
  #events: ((reader: TransportReader) => void)[] = [];

  constructor(transport: Transport, ms: number, over: () => void) {
    this.#transport = transport;
    this.#timer = setTimeout(() => {
      over();
      refuse(transport, new StreamError('reset', 'The session was lost when it moved to another node. Connect again.'));
    }, ms).unref();
    const later = (event: (reader: TransportReader) => void) => void this.#events.push(event);
    transport.reader = {
      received: (chunk) => later((reader) => reader.received(chunk)),
      ended: () => later((reader) => reader.ended()),
      drained() {},
      closed: () => later((reader) => reader.closed()),
    };
  }

  proceed(begin: (transport: Transport) => void): void {
    clearTimeout(this.#timer);
    begin(this.#transport);
    for (const event of this.#events.splice(0)) event(this.#transport.reader);
  }
}
