/** The transport of links: a connection that carries bytes in order until it is closed. */

/** Signs of life that a node is asked for before it counts as unreachable. */
export const signsOfLife = 6;

export interface WireEvents {
  /** Never called before the call that created the wire has returned. */
  bytes(bytes: Buffer): void;
  /**
   * Called once, when either side closes it or it fails. Written bytes may or may not have arrived. `isRefused`: nobody
   * listens at the address, which means that the process is gone.
   */
  ended(isRefused: boolean): void;
}

export interface Wire {
  /** No effect after the wire has ended. */
  write(bytes: Buffer): void;
  /** Closes it for both sides. */
  close(): void;
}

/** `frames`: a link (link.ts). `streams`: relayed streams (relay.ts). `probe`: what members compare (probe.ts). */
export type Purpose = 'frames' | 'streams' | 'probe';

/** Connects nodes. Peers are authenticated as members of the cluster before a wire is handed out. */
export interface Network {
  /**
   * Listens on an address until the returned function is called. `accept` returns the handlers of each incoming wire.
   */
  listen(address: string, accept: (wire: Wire) => WireEvents, purpose?: Purpose): () => void;
  /** Opens a wire. It ends if nobody listens on the address. */
  dial(address: string, events: WireEvents, purpose?: Purpose): Wire;
}
