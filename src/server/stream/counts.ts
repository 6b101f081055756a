/** What streams count, as plain numbers: the metrics read them when they are asked for. */
export class StreamCounts {
  /** Connections by kind of transport, ever. */
  readonly opened: Record<'tcp' | 'tls' | 'websocket', number> = { tcp: 0, tls: 0, websocket: 0 };
  /** Stanzas from and to clients. */
  readonly received: Record<'message' | 'presence' | 'iq', number> = { message: 0, presence: 0, iq: 0 };
  readonly sent: Record<'message' | 'presence' | 'iq', number> = { message: 0, presence: 0, iq: 0 };
  tlsFailures = 0;
  /** Successful logins by mechanism, failed ones by condition, stream errors that we sent by condition. */
  readonly logins = new Map<string, number>();
  readonly loginFailures = new Map<string, number>();
  readonly streamErrors = new Map<string, number>();
  resumed = 0;
  resumeFailures = 0;
}

/** One more of `key`. The keys are ours, never the peer's, so that the map stays small. */
export function increment(counts: Map<string, number>, key: string): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}
