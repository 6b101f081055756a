/** Prometheus metrics: read from plain counters when they are asked for, so that counting costs an addition. */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { StreamCounts } from './stream/counts.js';

export interface MetricsSources {
  readonly counts: StreamCounts;
  /** Connections that are open, by kind of transport. */
  connections(): Readonly<Record<string, number>>;
  sessions(): number;
  hibernating(): number;
  accountsCached?(): number;
}

export class Metrics {
  readonly registry = new Registry();
  readonly #limits: Counter<'limit'>;
  readonly #storage: Histogram<'store' | 'operation'>;
  readonly #delay = monitorEventLoopDelay({ resolution: 20 });

  constructor() {
    const registers = [this.registry];
    this.#limits = new Counter({
      name: 'waxwing_limits_hit_total',
      help: 'How often a limit was reached, by its name in the configuration',
      labelNames: ['limit'],
      registers,
    });
    this.#storage = new Histogram({
      name: 'waxwing_storage_seconds',
      help: 'Time until a storage operation was done; for writes: until it was durable',
      labelNames: ['store', 'operation'],
      buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5],
      registers,
    });
  }

  limitHit(limit: string): void {
    this.#limits.inc({ limit });
  }

  storageTook(store: string, operation: string, seconds: number): void {
    this.#storage.observe({ store, operation }, seconds);
  }

  /** Begins to watch; `stop` ends it. */
  start(sources: MetricsSources): void {
    collectDefaultMetrics({ register: this.registry, eventLoopMonitoringPrecision: 20 });
    this.#delay.enable();
    const { counts } = sources;
    this.#gauge(
      'waxwing_event_loop_delay_p99_seconds',
      'Delay of the event loop since the last scrape, 99th percentile',
      [],
      () => {
        const p99 = this.#delay.percentile(99) / 1e9;
        this.#delay.reset();
        return [[{}, p99]];
      },
    );
    this.#gauge('waxwing_connections', 'Open connections of clients', ['transport'], () =>
      Object.entries(sources.connections()).map(([transport, count]) => [{ transport }, count]),
    );
    this.#gauge('waxwing_sessions', 'Sessions, hibernating ones included', [], () => [[{}, sources.sessions()]]);
    this.#gauge('waxwing_sessions_hibernating', 'Sessions that wait for their client to come back', [], () => [
      [{}, sources.hibernating()],
    ]);
    this.#counter('waxwing_connections_opened_total', 'Connections of clients ever', ['transport'], () =>
      Object.entries(counts.opened).map(([transport, count]) => [{ transport }, count]),
    );
    this.#counter('waxwing_stanzas_received_total', 'Stanzas from clients', ['kind'], () =>
      Object.entries(counts.received).map(([kind, count]) => [{ kind }, count]),
    );
    this.#counter('waxwing_stanzas_sent_total', 'Stanzas to clients', ['kind'], () =>
      Object.entries(counts.sent).map(([kind, count]) => [{ kind }, count]),
    );
    this.#counter('waxwing_logins_total', 'Logins by mechanism', ['mechanism'], () =>
      [...counts.logins].map(([mechanism, count]) => [{ mechanism }, count]),
    );
    this.#counter('waxwing_login_failures_total', 'Failed logins by condition', ['condition'], () =>
      [...counts.loginFailures].map(([condition, count]) => [{ condition }, count]),
    );
    this.#counter('waxwing_stream_errors_total', 'Stream errors that were sent, by condition', ['condition'], () =>
      [...counts.streamErrors].map(([condition, count]) => [{ condition }, count]),
    );
    this.#counter('waxwing_tls_failures_total', 'TLS handshakes that failed', [], () => [[{}, counts.tlsFailures]]);
    this.#counter('waxwing_resumptions_total', 'Sessions that were resumed, or could not be', ['outcome'], () => [
      [{ outcome: 'resumed' }, counts.resumed],
      [{ outcome: 'failed' }, counts.resumeFailures],
    ]);
  }

  stop(): void {
    this.#delay.disable();
    this.registry.clear();
  }

  text(): Promise<string> {
    return this.registry.metrics();
  }

  #gauge(name: string, help: string, labelNames: string[], read: () => [Record<string, string>, number][]): void {
    new Gauge({
      name,
      help,
      labelNames,
      registers: [this.registry],
      collect() {
        this.reset();
        for (const [labels, value] of read()) this.set(labels, value);
      },
    });
  }

  #counter(name: string, help: string, labelNames: string[], read: () => [Record<string, string>, number][]): void {
    new Counter({
      name,
      help,
      labelNames,
      registers: [this.registry],
      collect() {
        this.reset();
        for (const [labels, value] of read()) this.inc(labels, value);
      },
    });
  }
}
