/** Where addresses live. Module code for an address runs at its home alone. */
import type { Jid } from '../stanza/jid.js';

/** What was sent to another node. */
export interface Sent {
  /** Resolves once its home has handled it and what that wrote is durable. Rejects with ParcelError. */
  readonly confirmed: Promise<void>;
  /** Set while much waits for its home: who can wait for this before saying more does. */
  readonly room: Promise<void> | undefined;
}

export interface SendOptions {
  /** Two homes must never both handle it: it is lost with its home, which 'confirmed' tells. */
  readonly isOnce: boolean;
}

/** The way to an address that does not live here, or not yet. */
export interface Away {
  /** `to`: full addresses of one bare address. Keeps the order of calls for each of them. */
  send(to: readonly Jid[], payload: string, options: SendOptions): Sent;
  /** Resolves with what its home answers. Rejects with ParcelError, also when the time is over. */
  ask(to: Jid, payload: string, timeoutMs: number): Promise<string>;
}

export interface Homes {
  /** Undefined where the address lives here. */
  of(jid: Jid): Away | undefined;
  /** Asks every other node, about nobody in particular. Each resolves and rejects as `Away.ask`. */
  askOthers(asker: Jid, payload: string, timeoutMs: number): readonly Promise<string>[];
  /** Whether work that the whole cluster does once is this node's. */
  hasJob(name: string): boolean;
}

/** One process is the home of everything. */
export const everythingHere: Homes = { of: () => undefined, askOthers: () => [], hasJob: () => true };
