import { z } from 'zod';
import { wall } from '../clock.js';
import type { StreamError } from '../stanza/errors.js';
import type { Jid } from '../stanza/jid.js';
import type { Stanza } from '../stanza/stanza.js';
import { storedStanza } from '../stanza/stored.js';
import type { Link, Receipt, Sent } from './link.js';
import { Outflow, type PourOptions, type Recipient, type Source } from './outflow.js';
import { declareState, places, type SessionState, type Stateful, sessionState } from './session-state.js';

const presence = sessionState<Stanza | undefined>({ name: 'presence', default: undefined, stored: storedStanza });
const priority = sessionState({ name: 'priority', default: 0, stored: z.number().int() });
/** What the server itself knows of a session by declared states. */
export const ownStates: readonly SessionState[] = [presence, priority];
for (const state of ownStates) declareState(state);

/** The connection behind a session, as far as others may know it. */
export interface Connection {
  /** 'tcp', 'tls', 'websocket' … for lists and metrics. */
  readonly kind: string;
  /** Whether what is said is encrypted on the way. */
  readonly secure: boolean;
  readonly remoteAddress: string;
  /** So many characters were sent because the client asked for them. */
  answered(characters: number): void;
  /** Tells the peer why and closes. */
  close(error?: StreamError): void;
}

/** What a session tells of what waits for its client. */
export interface Ledger {
  /** So many characters more wait in memory, or fewer. */
  holds(change: number): void;
  /** More waits than may. */
  overflowed(session: Session): void;
  /** Bytes that may wait for one client before the server says nothing more of its own accord. */
  readonly window: number;
  /** More waits for all clients together than may. */
  readonly isFull: boolean;
}

/** A connected resource (RFC 6120 §7): from binding until it is gone, over however many connections (XEP-0198). */
export class Session implements Stateful, Recipient {
  /** When it was bound, in ms. */
  readonly since = wall();
  /** Whether messages sent to it are acknowledged by the client (XEP-0198): if so, receipts tell the truth. */
  acknowledges = false;
  /** It has ended: another may have its address. Set where sessions are found (directory.ts). */
  isOver = false;
  /** undefined while the session waits for its client to come back (XEP-0198). */
  connection: Connection | undefined;
  /** undefined for sessions that nobody counts. */
  ledger: Ledger | undefined;
  /** What may be stored of it, and is stale once something of it changes (XEP-0198). */
  snapshot: { changed(): void } | undefined;
  /** By the slots of their states; where none is set there is the default. */
  readonly #states: unknown[] = places();
  #outflow: Outflow | undefined;

  constructor(
    readonly jid: Jid,
    /** Where stanzas for it go. */
    public link: Link,
    /** How it authenticated: the SASL mechanism. */
    readonly mechanism: string = 'none',
    /** XEP-0386: the client's stable id of itself, where it gave one. */
    readonly clientId: string | undefined = undefined,
  ) {}

  /** XEP-0175: nobody has an account by this address, which is gone with the session. */
  get isPassing(): boolean {
    return this.mechanism === 'ANONYMOUS';
  }

  // --- states -----------------------------------------------------------------------------------------------------

  /** What a module knows of it. Not to be changed without `set`. */
  get<T>(state: SessionState<T>): T {
    const value = this.#states[state.slot];
    return value === undefined ? state.default : (value as T);
  }

  /** Also for a value that was changed as it is: what is stored of the session is stale from now on. */
  set<T>(state: SessionState<T>, value: NoInfer<T>): void {
    if (state.slot < 0) throw new Error(`no module that runs declares ${state.name} among its sessionStates`);
    this.#states[state.slot] = value;
    if (state.stored !== undefined) this.snapshot?.changed();
  }

  /** The last available presence that it sent; undefined while it is unavailable (RFC 6121 §4). */
  get presence(): Stanza | undefined {
    return this.get(presence);
  }

  /** RFC 6121 §4.7.2.3; 0 while it is unavailable. */
  get priority(): number {
    return this.get(priority);
  }

  get available(): boolean {
    return this.presence !== undefined;
  }

  /** From now on it is available with this presence, or with undefined unavailable. */
  appears(last: Stanza | undefined, rank = 0): void {
    this.set(presence, last);
    this.set(priority, rank);
  }

  send(stanza: Stanza, receipt?: Receipt): void {
    if (this.#outflow?.takes(stanza, receipt) === true) return;
    this.link.send(stanza, receipt);
  }

  // --- what the server says of its own accord ---------------------------------------------------------------------

  /** Whether the client has taken most of what it was sent. */
  get hasRoom(): boolean {
    return this.link.hasRoom !== false;
  }

  /** Whether the client is away and so much waits for it that further messages are stored until it is back. */
  get isBacklogged(): boolean {
    return this.link.isBacklogged === true;
  }

  /** Whether something waits until the client has taken more. */
  get isPouring(): boolean {
    return this.#outflow !== undefined;
  }

  /** Characters of that. */
  get pouring(): number {
    return this.#outflow?.size ?? 0;
  }

  /**
   * Sends what a source yields, no faster than the client takes it. Resolves once the source has ended or waits for the
   * client; undefined: at once. Throws StanzaError('resource-constraint') where too many wait already. Never
   * rejects.
   */
  pour<R>(source: Source<R>, options: PourOptions<R>): void | Promise<void> {
    this.#outflow ??= new Outflow(
      this,
      (change) => this.ledger?.holds(change),
      () => this.ledger?.overflowed(this),
    );
    const started = this.#outflow.pour(source, options);
    this.tidy();
    return started;
  }

  /** Throws StanzaError('resource-constraint') where `pour` would, called so often. */
  demandRoom(sources: number): void {
    this.#outflow?.demandRoom(0, sources);
  }

  /** The client took something, or is back. */
  drained(): void {
    if (this.#outflow === undefined) return;
    this.#outflow.pump();
    this.tidy();
  }

  tidy(): void {
    if (this.#outflow?.isEmpty === true) this.#outflow = undefined;
  }

  /** Ends all sources; what waited behind them, in order. */
  stopPouring(): readonly Sent[] {
    const waiting = this.#outflow?.stop() ?? [];
    this.#outflow = undefined;
    return waiting;
  }
}
