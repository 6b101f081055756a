/** The homes of addresses. Module code for an address runs only at its home. */
import type { Jid } from '../address/jid.js';
import type { NodeName } from './frames.js';
import type { View } from './view.js';

/** The state of a delivery to another node. */
export interface Sent {
  /** Resolves when the home has handled it and its writes are durable. Rejects with ParcelError. */
  readonly confirmed: Promise<void>;
  /** Set if much is pending for the home: callers that can wait should await it before they send more. */
  readonly room: Promise<void> | undefined;
}

export interface SendOptions {
  /** Delivered at most once: if the home is lost, it is not sent again, and `confirmed` rejects. */
  readonly isOnce: boolean;
  /** The address at whose home it is handled, if that is not the addressee. */
  readonly home?: Jid | undefined;
}

export interface AskingOptions {
  /** As in `SendOptions`. */
  readonly home?: Jid | undefined;
  /** It may wait for another server: the asker bounds such questions itself. */
  readonly isPatient?: boolean | undefined;
}

/** Access to an address whose home is elsewhere, or which this node does not act for yet. */
export interface Away {
  /** `to` are full addresses of one bare address. Preserves the order of calls for each of them. */
  send(to: readonly Jid[], payload: string, options: SendOptions): Sent;
  /**
   * Resolves with the answer of the home. Rejects with ParcelError, also on timeout, and if the home is lost. Preserves
   * the order of calls for an address: the home begins with one after the other.
   */
  ask(to: Jid, payload: string, timeoutMs: number, options?: AskingOptions): Promise<string>;
}

export interface Homes {
  /** This node, and its view of the members; undefined in a single process. */
  readonly name?: NodeName;
  readonly view?: Pick<View, 'members'>;
  /**
   * Returns undefined if the home is this node, and everything that came for the address before is handled: what is sent
   * now would overtake it.
   */
  of(jid: Jid): Away | undefined;
  /** Whether the home is this node, and the address is not about to move. */
  isHere(jid: Jid): boolean;
  /**
   * The same for a question, which does not wait for earlier stanzas: the handling of one may depend on it. It is still
   * answered here while an address finishes its work before it moves.
   */
  toAsk(jid: Jid): Away | undefined;
  /** Asks every other node on behalf of `asker`. Each promise behaves as that of `Away.ask`. */
  askOthers(asker: Jid, payload: string, timeoutMs: number): readonly Promise<string>[];
  /** Work for an address that lives here is going on: its home does not change before it ends. */
  during(jid: Jid, work: Promise<unknown>): void;
  /** Whether this node runs the job, which only one node of the cluster does. */
  hasJob(name: string): boolean;
}

/** For a single process, the home of all addresses. */
export const everythingHere: Homes = {
  of: () => undefined,
  isHere: () => true,
  toAsk: () => undefined,
  askOthers: () => [],
  during: () => {},
  hasJob: () => true,
};
