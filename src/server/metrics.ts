/**
 * Prometheus metrics: read from plain counters on each scrape, so that counting costs one addition; prom-client is
 * loaded with the first scrape.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { Metric, Registry } from 'prom-client';
import { wall } from './clock.js';
import type { NodeFigures } from './cluster/figures.js';
import type { EngineState } from './engines.js';
import type { ModuleMetric } from './module/index.js';
import type { ComponentFigures } from './stream/component/index.js';
import type { StreamCounts } from './stream/counts.js';

/** Streams from and to other servers, and the bytes that wait for one. */
export interface FederationFigures {
  readonly incoming: number;
  /** Those of the incoming that have not proved a domain. */
  readonly unauthenticated: number;
  readonly outgoing: number;
  /** Those that wait for their turn to be opened, or to have their TLS handshake answered. */
  readonly delayed: Readonly<Record<'incoming' | 'outgoing', number>>;
  readonly waitingBytes: number;
  /** By condition. */
  readonly refusals: Readonly<Record<'incoming' | 'outgoing', ReadonlyMap<string, number>>>;
  /** The busiest remote domains, and all others together under a name that is no domain. */
  domains(): readonly DomainFigures[];
}

export interface DomainFigures {
  readonly domain: string;
  readonly incoming: number;
  readonly outgoing: number;
  /** Stanzas. */
  readonly received: number;
  readonly sent: number;
  /** Streams that failed, by the step at which they did. */
  readonly failures: ReadonlyMap<string, number>;
}

export interface MetricsSources {
  readonly counts: StreamCounts;
  /** Open connections by kind of transport. */
  connections(): Readonly<Record<string, number>>;
  sessions(): number;
  hibernating(): number;
  /** Bytes queued for clients. */
  outbound(): number;
  /** Bytes; undefined if not known. */
  freeSpace(): number | undefined;
  /** By host, in ms since 1970: when the certificates expire. */
  certificates(): ReadonlyMap<string, number>;
  /** Accounts and rooms near a quota, and at it. */
  quotas(): { readonly near: number; readonly reached: number };
  snapshots(): number;
  engines(): readonly EngineState[];
  components(): readonly ComponentFigures[];
  /** Undefined unless there are streams to other servers. */
  federation?(): FederationFigures | undefined;
  /** Undefined without a cluster. */
  node?(): NodeFigures | undefined;
  accountsCached?(): number;
  /** Metrics of the modules of all hosts. */
  readonly modules?: readonly ModuleMetric[];
}

/** Upper bounds of the buckets in seconds. */
const buckets = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5] as const;

/** Durations of one operation of one store. */
interface Times {
  readonly labels: { readonly store: string; readonly operation: string };
  /** Operations by bucket, not cumulative; the last: above all bounds. */
  readonly counts: number[];
  sum: number;
}

/** prom-client, once loaded. */
type Library = typeof import('prom-client');

/** Resolution of the event loop delay, in ms. */
const timerMs = 20;

export class Metrics {
  /** How often each limit was reached, by its name in the configuration. */
  readonly #limits = new Map<string, number>();
  /** By store. */
  readonly #damaged = new Map<string, number>();
  readonly #storage = new Map<string, Times>();
  readonly #delay = monitorEventLoopDelay({ resolution: timerMs });
  #sources: MetricsSources | undefined;
  #registry: Promise<Registry> | undefined;

  limitHit(limit: string): void {
    this.#limits.set(limit, (this.#limits.get(limit) ?? 0) + 1);
  }

  recordDamaged(store: string): void {
    this.#damaged.set(store, (this.#damaged.get(store) ?? 0) + 1);
  }

  storageTook(store: string, operation: string, seconds: number): void {
    const key = `${store} ${operation}`;
    let times = this.#storage.get(key);
    if (times === undefined) {
      times = { labels: { store, operation }, counts: Array<number>(buckets.length + 1).fill(0), sum: 0 };
      this.#storage.set(key, times);
    }
    const bucket = buckets.findIndex((bound) => seconds <= bound);
    times.counts[bucket < 0 ? buckets.length : bucket]!++;
    times.sum += seconds;
  }

  /** Starts collecting; `stop` ends it. */
  start(sources: MetricsSources): void {
    this.#sources = sources;
    this.#delay.enable();
  }

  stop(): void {
    this.#delay.disable();
    this.#registry?.then(
      (registry) => registry.clear(),
      () => {}, // `text` reported it
    );
  }

  /** The metrics in Prometheus format, and their media type. Only between `start` and `stop`. */
  async text(): Promise<{ readonly type: string; readonly text: string }> {
    this.#registry ??= import('prom-client').then((library) => this.#register(library, this.#sources!));
    const registry = await this.#registry;
    return { type: registry.contentType, text: await registry.metrics() };
  }

  #register(library: Library, sources: MetricsSources): Registry {
    const registry = new library.Registry();
    library.collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: timerMs });
    const { counts } = sources;
    const gauge = gaugeOf.bind(undefined, library, registry);
    const counter = counterOf.bind(undefined, library, registry);
    gauge(
      'waxwing_event_loop_delay_p99_seconds',
      'Delay of the event loop since the last scrape, 99th percentile',
      [],
      () => {
        // The measured delay includes the interval of the timer.
        const p99 = Math.max(0, this.#delay.percentile(99) / 1e9 - timerMs / 1000);
        this.#delay.reset();
        return [[{}, p99]];
      },
    );
    gauge('waxwing_connections', 'Open connections of clients', ['transport'], () =>
      Object.entries(sources.connections()).map(([transport, count]) => [{ transport }, count]),
    );
    gauge('waxwing_sessions', 'Sessions, hibernating ones included', [], () => [[{}, sources.sessions()]]);
    gauge('waxwing_sessions_hibernating', 'Hibernating sessions, which their clients may resume', [], () => [
      [{}, sources.hibernating()],
    ]);
    gauge('waxwing_outbound_bytes', 'Bytes queued for all clients, as counted by limits.outbound_bytes', [], () => [
      [{}, sources.outbound()],
    ]);
    gauge('waxwing_disk_free_bytes', 'Free space on the disk of the data folder', [], () => {
      const free = sources.freeSpace();
      return free === undefined ? [] : [[{}, free]];
    });
    gauge('waxwing_certificate_days_left', 'Days until the certificate of a host expires', ['host'], () =>
      [...sources.certificates()].map(([host, end]) => [{ host }, (end - wall()) / 86_400_000] as const),
    );
    gauge(
      'waxwing_quota_owners',
      'Accounts and rooms with recent writes that use 90 % of a quota (near), or all of it (reached)',
      ['state'],
      () => Object.entries(sources.quotas()).map(([state, owners]) => [{ state }, owners]),
    );
    const snapshots = () => [[{}, sources.snapshots()]] as const;
    gauge(
      'waxwing_session_snapshots',
      'Sessions with a stored snapshot, which can be resumed after a crash',
      [],
      snapshots,
    );
    gauge('waxwing_sessions_kept', 'Deprecated: renamed to waxwing_session_snapshots', [], snapshots);
    counter('waxwing_connections_opened_total', 'Connections opened by clients', ['transport'], () =>
      Object.entries(counts.opened).map(([transport, count]) => [{ transport }, count]),
    );
    counter('waxwing_stanzas_received_total', 'Stanzas from clients', ['kind'], () =>
      Object.entries(counts.received).map(([kind, count]) => [{ kind }, count]),
    );
    counter('waxwing_stanzas_sent_total', 'Stanzas to clients', ['kind'], () =>
      Object.entries(counts.sent).map(([kind, count]) => [{ kind }, count]),
    );
    counter('waxwing_logins_total', 'Logins by mechanism', ['mechanism'], () =>
      [...counts.logins].map(([mechanism, count]) => [{ mechanism }, count]),
    );
    counter('waxwing_login_failures_total', 'Failed logins by condition', ['condition'], () =>
      [...counts.loginFailures].map(([condition, count]) => [{ condition }, count]),
    );
    counter('waxwing_stream_errors_total', 'Stream errors sent, by condition', ['condition'], () =>
      [...counts.streamErrors].map(([condition, count]) => [{ condition }, count]),
    );
    const component = (read: (figures: ComponentFigures) => number): Read => {
      return () => sources.components().map((figures) => [{ component: figures.domain }, read(figures)]);
    };
    registerNode(gauge, counter, () => sources.node?.());
    gauge('waxwing_server_streams', 'Streams from and to other servers, by direction', ['direction'], () => {
      const figures = sources.federation?.();
      if (figures === undefined) return [];
      return [
        [{ direction: 'incoming' }, figures.incoming],
        [{ direction: 'outgoing' }, figures.outgoing],
      ];
    });
    gauge(
      'waxwing_server_streams_unauthenticated',
      'Streams from other servers that have not proved a domain, limited by s2s.unauthenticated_streams',
      [],
      () => {
        const figures = sources.federation?.();
        return figures === undefined ? [] : [[{}, figures.unauthenticated]];
      },
    );
    gauge(
      'waxwing_server_streams_delayed',
      'Streams from and to other servers that wait for their turn to be accepted or opened',
      ['direction'],
      () =>
        Object.entries(sources.federation?.()?.delayed ?? {}).map(
          ([direction, count]) => [{ direction }, count] as const,
        ),
    );
    counter(
      'waxwing_server_refusals_total',
      'Streams, domains and stanzas of and to other servers that were refused, by the condition of the error',
      ['direction', 'condition'],
      () =>
        Object.entries(sources.federation?.()?.refusals ?? {}).flatMap(([direction, conditions]) =>
          [...conditions].map(([condition, count]) => [{ direction, condition }, count] as const),
        ),
    );
    gauge('waxwing_server_waiting_bytes', 'Bytes that wait for other servers, limited by s2s.queue_bytes', [], () => {
      const figures = sources.federation?.();
      return figures === undefined ? [] : [[{}, figures.waitingBytes]];
    });
    const domain = (read: (figures: DomainFigures) => number): Read => {
      return () =>
        (sources.federation?.()?.domains() ?? []).map((figures) => [{ domain: figures.domain }, read(figures)]);
    };
    gauge('waxwing_server_domain_streams', 'Streams with other servers, by domain', ['domain', 'direction'], () =>
      (sources.federation?.()?.domains() ?? []).flatMap(({ domain, incoming, outgoing }) => [
        [{ domain, direction: 'incoming' }, incoming],
        [{ domain, direction: 'outgoing' }, outgoing],
      ]),
    );
    counter(
      'waxwing_server_stanzas_received_total',
      'Stanzas from other servers, by domain',
      ['domain'],
      domain(({ received }) => received),
    );
    counter(
      'waxwing_server_stanzas_sent_total',
      'Stanzas to other servers, by domain',
      ['domain'],
      domain(({ sent }) => sent),
    );
    counter(
      'waxwing_server_failures_total',
      'Streams with other servers that failed, by domain and step',
      ['domain', 'step'],
      () =>
        (sources.federation?.()?.domains() ?? []).flatMap(({ domain, failures }) =>
          [...failures].map(([step, count]) => [{ domain, step }, count] as const),
        ),
    );
    gauge(
      'waxwing_component_connections',
      'Connections of external components that have logged in',
      ['component'],
      component(({ connections }) => connections.length),
    );
    gauge(
      'waxwing_component_waiting_bytes',
      'What waits for external components, as limits.component_queue_bytes counts it',
      ['component'],
      component(({ waitingBytes }) => waitingBytes),
    );
    counter(
      'waxwing_component_stanzas_received_total',
      'Stanzas from external components',
      ['component'],
      component(({ received }) => received),
    );
    counter(
      'waxwing_component_stanzas_sent_total',
      'Stanzas to external components',
      ['component'],
      component(({ sent }) => sent),
    );
    counter(
      'waxwing_component_login_failures_total',
      'Handshakes of external components that were refused',
      ['component'],
      component(({ refusedLogins }) => refusedLogins),
    );
    counter('waxwing_tls_failures_total', 'TLS handshakes that failed', [], () => [[{}, counts.tlsFailures]]);
    counter('waxwing_resumptions_total', 'Attempts to resume a session, by outcome', ['outcome'], () => [
      [{ outcome: 'resumed' }, counts.resumed],
      [{ outcome: 'failed' }, counts.resumeFailures],
    ]);
    counter(
      'waxwing_limits_hit_total',
      'How often a limit was reached, by its name in the configuration',
      ['limit'],
      () => [...this.#limits].map(([limit, count]) => [{ limit }, count]),
    );
    const engine = (read: (state: EngineState) => number): Read => {
      return () => sources.engines().map((state) => [{ engine: state.name }, read(state)]);
    };
    gauge(
      'waxwing_engine_up',
      'Whether a database or another engine works (1), or what needs it is refused (0)',
      ['engine'],
      engine(({ isWorking }) => Number(isWorking)),
    );
    gauge(
      'waxwing_engine_pending',
      'Operations under way in an engine',
      ['engine'],
      engine(({ pending }) => pending),
    );
    counter(
      'waxwing_engine_refused_total',
      'Operations that were refused or given up because an engine did not answer or had too much to do',
      ['engine'],
      engine(({ refused }) => refused),
    );
    counter('waxwing_storage_damaged_total', 'Stored records that could not be read', ['store'], () =>
      [...this.#damaged].map(([store, count]) => [{ store }, count]),
    );
    for (const [name, same] of byName(sources.modules ?? [])) {
      const make = name.endsWith('_total') ? counter : gauge;
      make(name, same[0]!.help, [], () => [[{}, same.reduce((sum, metric) => sum + metric.read(), 0)]]);
    }
    registry.registerMetric(storageHistogram(() => this.#storage.values()));
    return registry;
  }
}

/** A metric of several hosts is summed. */
function byName(metrics: readonly ModuleMetric[]): Map<string, ModuleMetric[]> {
  const names = new Map<string, ModuleMetric[]>();
  for (const metric of metrics) names.set(metric.name, [...(names.get(metric.name) ?? []), metric]);
  return names;
}

type Read = () => readonly (readonly [labels: Record<string, string>, value: number])[];

function gaugeOf({ Gauge }: Library, registry: Registry, name: string, help: string, labelNames: string[], read: Read) {
  new Gauge({
    name,
    help,
    labelNames,
    registers: [registry],
    collect() {
      this.reset();
      for (const [labels, value] of read()) this.set(labels, value);
    },
  });
}

function counterOf(
  { Counter }: Library,
  registry: Registry,
  name: string,
  help: string,
  labelNames: string[],
  read: Read,
) {
  new Counter({
    name,
    help,
    labelNames,
    registers: [registry],
    collect() {
      this.reset();
      for (const [labels, value] of read()) this.inc(labels, value);
    },
  });
}

/** Each metric of a node has its name, so that those of several nodes can be put together. */
function registerNode(gauge: Registering, counter: Registering, figures: () => NodeFigures | undefined): void {
  const one = (read: (figures: NodeFigures) => number): Read => {
    return () => {
      const found = figures();
      return found === undefined ? [] : [[{ node: found.id }, read(found)]];
    };
  };
  const each = (read: (peer: NodeFigures['peers'][number]) => number): Read => {
    return () => {
      const found = figures();
      return (found?.peers ?? []).map((peer) => [{ node: found!.id, peer: peer.id }, read(peer)]);
    };
  };
  const link = ['node', 'peer'];
  gauge(
    'waxwing_node_slots',
    'Slots of addresses, of 4096 in the cluster, that live at this node',
    ['node'],
    one(({ slots }) => slots),
  );
  gauge(
    'waxwing_node_view',
    'Version of the view of the cluster that this node has',
    ['node'],
    one(({ view }) => view),
  );
  gauge(
    'waxwing_node_held',
    'Stanzas that wait until their addresses have moved',
    ['node'],
    one(({ held }) => held),
  );
  counter(
    'waxwing_node_repeated_total',
    'Frames received again after lost connections',
    ['node'],
    one(({ repeated }) => repeated),
  );
  gauge(
    'waxwing_link_connected',
    'Whether another node is connected and gives signs of life',
    link,
    each(({ isConnected }) => Number(isConnected)),
  );
  gauge(
    'waxwing_link_unconfirmed_bytes',
    'Bytes sent to another node that it has not confirmed',
    link,
    each(({ unconfirmedBytes }) => unconfirmedBytes),
  );
}

type Registering = (name: string, help: string, labelNames: string[], read: Read) => void;

/**
 * The histogram of storage operations in the form the registry reads: prom-client's own updates every bucket on each
 * value.
 */
function storageHistogram(all: () => Iterable<Times>): Metric {
  const name = 'waxwing_storage_seconds';
  const metric = {
    name,
    help: 'Duration of storage operations; of writes: until they were durable',
    type: 'histogram',
    aggregator: 'sum',
  };
  const valuesOf = ({ labels, counts, sum }: Times) => {
    let count = 0;
    const cumulated = counts.map((own, index) => ({
      metricName: `${name}_bucket`,
      labels: { ...labels, le: buckets[index] ?? '+Inf' },
      value: (count += own),
    }));
    return [
      ...cumulated,
      { metricName: `${name}_sum`, labels, value: sum },
      { metricName: `${name}_count`, labels, value: count },
    ];
  };
  return { ...metric, get: async () => ({ ...metric, values: [...all()].flatMap(valuesOf) }) } as unknown as Metric;
}
