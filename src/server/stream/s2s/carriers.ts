/**
 * Bidirectional streams that other servers opened (XEP-0288), as ways to those servers: each carries the pairs of a local
 * and a remote domain that are the inverse of those that the peer has proved on it.
 */
import type { Outbox } from '../../routing/outbox.js';
import type { Pair } from './outgoing.js';
import type { ServerSm } from './sm.js';

export interface Carrier {
  /** Sends from an outbox as long as the peer reads and acknowledges. */
  send(outbox: Outbox): void;
}

/** What a carrier tells of itself, and asks. */
export interface CarrierEvents {
  /** From now on, stanzas of the pair may be sent over it. */
  carries(pair: Pair, carrier: Carrier): void;
  /** It can take more stanzas. */
  hasRoom(carrier: Carrier): void;
  /** A session was resumed: what waits for that goes on, over `carrier`, or over another stream if that carries none. */
  hasResumed(sm: ServerSm, carrier: Carrier | undefined): void;
  /** It has ended. `sm`: its session, if that may be resumed, and stanzas have to wait for it. */
  hasEnded(carrier: Carrier, sm: ServerSm | undefined): void;
  /** What waits for it or is unacknowledged. */
  queued(carrier: Carrier): { readonly stanzas: number; readonly bytes: number };
}

/** The carriers that are open, by the pair "from to" that they carry. */
export class Carriers {
  readonly #all = new Map<string, Set<Carrier>>();
  /** The pairs of each. */
  readonly #keys = new Map<Carrier, Set<string>>();

  add(key: string, carrier: Carrier): void {
    const same = this.#all.get(key);
    if (same === undefined) this.#all.set(key, new Set([carrier]));
    else same.add(carrier);
    const keys = this.#keys.get(carrier);
    if (keys === undefined) this.#keys.set(carrier, new Set([key]));
    else keys.add(key);
  }

  delete(carrier: Carrier): void {
    for (const key of this.#keys.get(carrier) ?? []) {
      const same = this.#all.get(key)!;
      same.delete(carrier);
      if (same.size === 0) this.#all.delete(key);
    }
    this.#keys.delete(carrier);
  }

  /** The latest one of the pair. */
  of(key: string): Carrier | undefined {
    return [...(this.#all.get(key) ?? [])].at(-1);
  }
}
