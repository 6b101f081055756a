/** A node of a cluster for metrics. */
export interface NodeFigures {
  readonly id: string;
  readonly view: number;
  /** Slots that live here. */
  readonly slots: number;
  /** Members by name: whether they are connected, and bytes that they have not confirmed. */
  readonly peers: readonly { readonly id: string; readonly isConnected: boolean; readonly unconfirmedBytes: number }[];
  /** Parcels for moving slots, and frames received again. */
  readonly held: number;
  readonly repeated: number;
}
