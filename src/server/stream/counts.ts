/** Counters of streams as plain numbers, read by the metrics on each scrape. */
export class StreamCounts {
  /** Connections ever opened, by kind of transport. */
  readonly opened: Record<'tcp' | 'tls' | 'websocket' | 'bosh', number> = { tcp: 0, tls: 0, websocket: 0, bosh: 0 };
  /** Stanzas from and to clients. */
  readonly received: Record<'message' | 'presence' | 'iq', number> = { message: 0, presence: 0, iq: 0 };
  readonly sent: Record<'message' | 'presence' | 'iq', number> = { message: 0, presence: 0, iq: 0 };
  tlsFailures = 0;
  /** Successful logins by mechanism, failed ones by condition, stream errors sent by condition. */
  readonly logins = new Map<string, number>();
  readonly loginFailures = new Map<string, number>();
  readonly streamErrors = new Map<string, number>();
  resumed = 0;
  resumeFailures = 0;
}

/** Adds one to `key`. Keys must be ours, never the peer's, so that the map stays small. */
export function increment(counts: Map<string, number>, key: string): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}
