import { z } from 'zod';
import type { Jid } from '../address/jid.js';
import { wall } from '../clock.js';
import type { Maybe } from '../maybe.js';
import type { StreamError } from '../stanza/errors.js';
import type { Stanza } from '../stanza/stanza.js';
import { storedStanza } from '../stanza/stored.js';
import type { UserAgent } from '../stanza/user-agent.js';
import type { Link, Receipt, Sent } from './link.js';
import { Outflow, type PourOptions, type Recipient, type Source } from './outflow.js';
import { declareState, places, type SessionState, type Stateful, sessionState } from './session-state.js';

const presence = sessionState<Stanza | undefined>({ name: 'presence', default: undefined, stored: storedStanza });
const priority = sessionState({ name: 'priority', default: 0, stored: z.number().int() });
/** The server's own session states. */
export const ownStates: readonly SessionState[] = [presence, priority];
for (const state of ownStates) declareState(state);

/** The connection of a session, as other code may see it. */
export interface Connection {
  /** 'tcp', 'tls', 'websocket' … for lists and metrics. */
  readonly kind: string;
  /** Whether the connection is encrypted. */
  readonly secure: boolean;
  readonly remoteAddress: string;
  /** Counts characters sent because the client requested them. */
  answered(characters: number): void;
  /** Closes, with the error if there is one. */
  close(error?: StreamError): void;
}

/** Accounts for the queues of a session. */
export interface Ledger {
  /** Called with the change of the characters queued in memory. */
  holds(change: number): void;
  /** Called when the queue is over its limit. */
  overflowed(session: Session): void;
  /** Most bytes queued for one client before the server defers stanzas of its own. */
  readonly window: number;
  /** Whether the queues of all clients exceed their budget. */
  readonly isFull: boolean;
}

/** A connected resource (RFC 6120 §7), from binding to its end, over any number of connections (XEP-0198). */
export class Session implements Stateful, Recipient {
  /** Whether the client acknowledges stanzas (XEP-0198), so that receipts are reliable. */
  acknowledges = false;
  /** It has ended; another session may have its address. Set by directory.ts. */
  isOver = false;
  /** Why it was ended while it had no connection, for a connection that still comes. */
  reason: StreamError | undefined;
  /** Undefined while the session hibernates (XEP-0198). */
  connection: Connection | undefined;
  /** Undefined for sessions that are not counted. */
  ledger: Ledger | undefined;
  /** Notified of changes, which make the stored snapshot stale (XEP-0198). */
  snapshot: { changed(): void } | undefined;
  /** Values by slot. Undefined stands for the default. */
  readonly #states: unknown[] = places();
  #outflow: Outflow | undefined;

  constructor(
    readonly jid: Jid,
    /** Where its stanzas are sent. */
    public link: Link,
    /** The SASL mechanism it authenticated with. */
    readonly mechanism: string = 'none',
    readonly agent: UserAgent = {},
    /** Time of binding, in ms. */
    readonly since: number = wall(),
  ) {}

  /** XEP-0386: the stable id of the client, if it sent one. */
  get clientId(): string | undefined {
    return this.agent.clientId;
  }

  /** XEP-0175: a temporary address without an account; it ends with the session. */
  get isAnonymous(): boolean {
    return this.mechanism === 'ANONYMOUS';
  }

  // --- states -----------------------------------------------------------------------------------------------------

  /** The value of a state. Change it only through `set`. */
  get<T>(state: SessionState<T>): T {
    const value = this.#states[state.slot];
    return value === undefined ? state.default : (value as T);
  }

  /** Also call it after changing a value in place: it makes the stored snapshot stale. */
  set<T>(state: SessionState<T>, value: NoInfer<T>): void {
    if (state.slot < 0) throw new Error(`no running module declares ${state.name} in its sessionStates`);
    this.#states[state.slot] = value;
    if (state.stored !== undefined) this.snapshot?.changed();
  }

  /** The last available presence it sent; undefined while unavailable (RFC 6121 §4). */
  get presence(): Stanza | undefined {
    return this.get(presence);
  }

  /** RFC 6121 §4.7.2.3; 0 while unavailable. */
  get priority(): number {
    return this.get(priority);
  }

  get available(): boolean {
    return this.presence !== undefined;
  }

  /** Sets its presence: available with `last`, or unavailable if undefined. */
  appears(last: Stanza | undefined, rank = 0): void {
    this.set(presence, last);
    this.set(priority, rank);
  }

  send(stanza: Stanza, receipt?: Receipt): void {
    if (this.#outflow?.takes(stanza, receipt) === true) return;
    this.link.send(stanza, receipt);
  }

  // --- stanzas of the server itself -------------------------------------------------------------------------------

  /** Whether the client has read most of its stanzas. */
  get hasRoom(): boolean {
    return this.link.hasRoom !== false;
  }

  /** Whether the client is disconnected and its queue so long that further messages are stored until it resumes. */
  get isBacklogged(): boolean {
    return this.link.isBacklogged === true;
  }

  /** Whether the client says that its user does not look at it (XEP-0352). */
  get isInactive(): boolean {
    return this.link.inactive === true;
  }

  /** What it may not have received yet (XEP-0198), oldest first. */
  get unacknowledged(): Iterable<Stanza> {
    return this.link.unacknowledged ?? [];
  }

  /** Whether stanzas wait for the client to read more. */
  get isPouring(): boolean {
    return this.#outflow !== undefined;
  }

  /** Their size in characters. */
  get pouring(): number {
    return this.#outflow?.size ?? 0;
  }

  /**
   * Sends the stanzas of a source as fast as the client reads them. Resolves once the source has ended or waits for the
   * client. Returns undefined if that is at once. Throws StanzaError('resource-constraint') if too much is pending.
   * Never rejects.
   */
  pour<R>(source: Source<R>, options: PourOptions<R>): Maybe<void> {
    this.#outflow ??= new Outflow(
      this,
      (change) => this.ledger?.holds(change),
      () => this.ledger?.overflowed(this),
    );
    const started = this.#outflow.pour(source, options);
    this.tidy();
    return started;
  }

  /** Throws StanzaError('resource-constraint') if `pour` would throw, called `sources` times. */
  demandRoom(sources: number): void {
    this.#outflow?.demandRoom(0, sources);
  }

  /** The client has read something, or has resumed. */
  drained(): void {
    if (this.#outflow === undefined) return;
    this.#outflow.pump();
    this.tidy();
  }

  tidy(): void {
    if (this.#outflow?.isEmpty === true) this.#outflow = undefined;
  }

  /** Stops all sources. Returns the stanzas queued after them, in order. */
  stopPouring(): readonly Sent[] {
    const waiting = this.#outflow?.stop() ?? [];
    this.#outflow = undefined;
    return waiting;
  }
}
