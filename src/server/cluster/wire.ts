/** What links run on: a connection that carries bytes in order until it is cut. */

export interface WireEvents {
  /** Never called before the call that made the wire has returned. */
  bytes(bytes: Buffer): void;
  /** Once, by whichever side or whatever failure it ended; what was written may or may not have arrived. */
  ended(): void;
}

export interface Wire {
  /** Nothing happens where the wire has ended. */
  write(bytes: Buffer): void;
  /** Ends it on both sides. */
  close(): void;
}

/** How nodes reach each other. The peer has proved that it belongs to the cluster before either side sees a wire. */
export interface Network {
  /** Takes what others open to this address, until the result is called. `accept` says who hears of it. */
  listen(address: string, accept: (wire: Wire) => WireEvents): () => void;
  /** Opens a wire. Where nobody listens, it ends. */
  dial(address: string, events: WireEvents): Wire;
}
