/** `createServer()`: assembles the server. The only file that knows every concrete class. */

import { BlockList } from 'node:net';
import { standardModules } from '../modules/index.js';
import type { DocumentStore, Storage } from '../storage/contract.js';
import type { Usages } from '../storage/usage.js';
import { AccountChanges } from './account-changes.js';
import { Accounts } from './accounts/index.js';
import { elsewhere } from './accounts-elsewhere.js';
import { networkJid } from './address/network.js';
import { serveBosh } from './bosh.js';
import { monotonic, wall } from './clock.js';
import type { ClusterNode } from './cluster/node.js';
import { networks } from './config/address.js';
import { readSecrets } from './config/components.js';
import { diffConfig } from './config/diff.js';
import { type Finding, formatFinding, loadConfig, modulesToLoad } from './config/load.js';
import type { Config } from './config/schema.js';
import { DiskSpace, spaceLog, spaceOf } from './disk-space.js';
import { Engines } from './engines.js';
import { Federation, whyAlone } from './federation.js';
import { requestPeer } from './forwarded.js';
import { healthAnswer } from './http/health.js';
import { MetricsPage } from './http/metrics-page.js';
import { hostNamed, publicUrl } from './http/public-url.js';
import { HttpRouter } from './http/router.js';
import { IdleMemory } from './idle-memory.js';
import { Backlog } from './limits/backlog.js';
import { Congestion } from './limits/congestion.js';
import { Queues } from './limits/queues.js';
import { Returns } from './limits/returns.js';
import { Shares } from './limits/shares.js';
import { type Bound, isSharedAddress, Listeners, type ListenersParts, type Proxies } from './listeners.js';
import { chooseModules, distinctListeners, importModules, startModules } from './loader.js';
import { type Logs, openLogs } from './logging.js';
import { LoginFailures } from './login-failures.js';
import { type ClusterOptions, Membership } from './membership.js';
import { Metrics } from './metrics.js';
import type { Host, ModuleDefinition, ModuleListener } from './module/index.js';
import { NetworkLimits, networkShare } from './network-limits.js';
import { nodeOfCluster, settingsOfAll, sharedFolderOf } from './node-of-cluster.js';
import { Nodes } from './nodes.js';
import { checkPassword, passwordAnswerer } from './password-checks.js';
import { exportOf } from './portable/export.js';
import { portableAnswers } from './portable/home.js';
import type { StoredQuota } from './quotas.js';
import { Admission } from './routing/admission.js';
import { SessionDirectory } from './routing/directory.js';
import { HookError } from './routing/hooks.js';
import { LocalHost } from './routing/host.js';
import { Router } from './routing/router.js';
import type { Session } from './routing/session.js';
import type { Inspection, Reloaded, Server, ServerOptions } from './server.js';
import { serverId } from './server-id.js';
import { createDataFolder, serverStorage } from './server-storage.js';
import { closeStreams } from './shutdown.js';
import { StreamError } from './stanza/errors.js';
import { checkOf } from './stanza/stored.js';
import { ClientStream } from './stream/c2s/client.js';
import type { Continued } from './stream/c2s/gateway.js';
import { Login } from './stream/c2s/login.js';
import { SignUps } from './stream/c2s/sign-ups.js';
import type { FollowedSession } from './stream/c2s/stream.js';
import { Components, stillConfigured } from './stream/component/index.js';
import { StreamCounts } from './stream/counts.js';
import { policyOf, type SaslPolicy } from './stream/sasl/offer.js';
import { Sessions } from './stream/sessions/index.js';
import { Sweeper } from './stream/sweeper.js';
import { type SavedSm, savedSm } from './stream/xep-0198-record.js';
import { Resumables } from './stream/xep-0198-resumables.js';
import { Challenges } from './tls/acme/challenges.js';
import { Acme } from './tls/acme/index.js';
import { Certificates, changeLog } from './tls/certificates.js';
import { bindingsOf, clientCertificate } from './tls/client.js';
import { certifiedDomains } from './tls/served.js';
import type { Transport } from './transport/transport.js';
import { readVersion } from './version.js';
import { AnonymousAccounts } from './xep-0175-anonymous.js';

export { standardModules } from '../modules/index.js';
export { Jid } from './address/jid.js';
export { ConfigError, formatFinding } from './config/load.js';
export type { Config } from './config/schema.js';
export type { ClusterOptions } from './membership.js';
export * from './module/index.js';
export type { Inspection, Reloaded, Server, ServerOptions } from './server.js';
export { StanzaError, StreamError } from './stanza/errors.js';
export { NS } from './stanza/ns.js';
export { Stanza } from './stanza/stanza.js';
export { Element, el } from './xml/element.js';

/** Creates a server. Rejects with ConfigError, StorageError, ModuleError, HookError, ListenError or JoinError. */
export async function createServer(options: ServerOptions = {}): Promise<Server> {
  const server = new WaxwingServer(options);
  try {
    await server.open();
  } catch (error) {
    await server.stop();
    throw error;
  }
  return server;
}

/** What streams need, wherever their connections are. */
interface Served extends Omit<ListenersParts, 'network' | 'proxies' | 'servers' | 'challenges' | 'http'> {
  connected(transport: Transport, at: number, continued?: Continued | FollowedSession): void;
}

class WaxwingServer implements Server {
  readonly #options: ServerOptions;
  config!: Config;
  modules: readonly ModuleDefinition[] = [];
  logs!: Logs;
  storage!: Storage;
  engines!: Engines;
  usages!: Usages;
  quotas!: DocumentStore<StoredQuota>;
  accounts!: Accounts;
  certificates!: Certificates;
  acme!: Acme;
  readonly #challenges = new Challenges();
  version = '';
  readonly startedAt = wall();
  readonly started = monotonic();
  readonly metrics = new Metrics();
  readonly sessions = new SessionDirectory();
  readonly #counts = new StreamCounts();
  readonly #router = new Router();
  readonly #hosts = new Map<string, LocalHost>();
  readonly #streams = new Set<ClientStream>();
  components!: Components;
  readonly #backlog = new Backlog(
    () => this.config.limits,
    (limit) => this.metrics.limitHit(limit),
  );
  readonly #shares = new Shares(
    () => this.config.limits,
    (limit) => this.metrics.limitHit(limit),
    (address) => isSharedAddress(address, this.#proxies),
    () => this.disk.writable,
  );
  readonly disk = new DiskSpace({
    read: () => (this.#options.space ?? spaceOf)(this.config.data),
    lowBytes: () => this.config.storage.low_space_bytes,
    ...spaceLog(() => this.logs.area('storage')),
  });
  readonly #queues = new Queues(
    () => this.config.limits.outbound_bytes,
    () => {
      this.metrics.limitHit('outbound_bytes');
      this.#idleMemory?.urge();
    },
    () => this.#streamSessions.ending.queues(),
    new Congestion(
      () => this.config.limits.outbound_bytes,
      () => this.metrics.limitHit('outbound_bytes.congestion'),
    ),
  );
  #listeners: Listeners | undefined;
  #federation: Federation | undefined;
  /** Why there is no federation, if so. */
  #alone: string | undefined = 'the server has not started yet';
  readonly #metricsPage = new MetricsPage({
    config: () => this.config,
    proxies: () => this.#proxies,
    text: () => this.metrics.text(),
  });
  readonly #httpRouter = new HttpRouter({
    routes: (name) => this.#hostNamed(name).hooks.http,
    own: (asked, path) =>
      this.#challenges.answer(asked.method, path) ??
      healthAnswer(asked.method, path, () => this.#isReady) ??
      this.#metricsPage.answer(asked, path),
    peer: (request) => requestPeer(request, this.#proxies.forwarded),
    failed: (error, path) => this.logs.area('http').error({ err: error, path }, 'an HTTP request failed'),
    bytesPerSecond: () => this.config.limits.http_bytes_per_second,
    limitHit: (limit) => this.metrics.limitHit(limit),
  });
  #streamSessions!: Sessions;
  /** Set before anything lives here. */
  #served!: Served;
  #anonymous!: AnonymousAccounts;
  #login!: Login;
  #failures!: LoginFailures;
  #network: NetworkLimits | undefined;
  #policy!: SaslPolicy;
  #proxies: Proxies = { protocol: new BlockList(), forwarded: new BlockList() };
  #sweeper: Sweeper | undefined;
  #idleMemory: IdleMemory | undefined;
  #logins: NodeJS.Timeout | undefined;
  #stopping: Promise<void> | undefined;
  readonly #returns = new Returns(() => this.config.cluster.logins_per_second);
  node: ClusterNode | undefined;
  readonly nodes = new Nodes(this, this.#hosts);
  #membership: Membership | undefined;
  #endIds: (() => Promise<void>) | undefined;

  constructor(options: ServerOptions) {
    this.#options = options;
  }

  async open(): Promise<void> {
    const { file, text, overrides, standard = standardModules, modules = [] } = this.#options;
    const imported = await importModules(modulesToLoad({ file, text, overrides }));
    this.modules = [...standard, ...modules, ...imported];
    const warnings: string[] = [];
    const warn = (finding: Finding) => warnings.push(formatFinding(finding));
    this.config = loadConfig({ file, text, overrides, modules: this.modules, warn });
    const chosen = chooseModules(this.modules, this.config);
    this.version = await readVersion();
    this.logs = openLogs(this.config.log, this.#options.logTo);
    for (const warning of warnings) this.logs.area('config').warn(warning);
    await createDataFolder(this.config);
    const shared = { config: () => this.config, limitHit: (limit: string) => this.metrics.limitHit(limit) };
    this.engines = new Engines({ ...shared, log: this.logs.area('storage'), metrics: this.metrics }, this.modules);
    const given = this.#options.storage;
    const opened = given ? this.engines.guard('storage', given) : await this.engines.open(this.#options.storageWithin);
    const cluster = this.#options.cluster ?? (await nodeOfCluster(this.config, this.logs));
    if (cluster !== undefined) await this.#join(cluster, opened);
    const stored = serverStorage(this.#membership?.storage ?? opened, {
      ...shared,
      accounts: () => this.accounts,
      logs: this.logs,
      metrics: this.metrics,
      directory: this.sessions,
      hosts: this.#hosts,
      node: cluster?.node,
    });
    this.storage = stored.storage;
    this.usages = stored.usages;
    this.quotas = stored.quotas;
    this.#endIds = await stored.reserveIds();
    const changes = new AccountChanges({
      hosts: this.#hosts,
      directory: this.sessions,
      streams: this.#streams,
      storage: this.storage,
      usages: this.usages,
      end: (session, reason) => this.#streamSessions.ending.end(session, reason),
    });
    this.#configure();
    const { auth } = this.config;
    this.accounts = await Accounts.open({
      storage: this.storage,
      iterations: auth.scram_iterations,
      minPasswordLength: auth.password_min_length,
      tokenLifetime: auth.fast_token_seconds * 1000,
      tokenRotation: auth.fast_token_rotate_seconds * 1000,
      maxDevices: auth.fast_tokens_per_account,
      onEvent: (event) => changes.changed(event),
      elsewhere: this.#membership && ((bare) => elsewhere(bare, this.#router, (domain) => this.#hosts.get(domain))),
    });
    this.#failures = new LoginFailures({ ...shared, hosts: this.#hosts, log: this.logs.area('cluster') });
    this.#network = new NetworkLimits({
      limits: () => this.config.limits,
      isShared: (address) => isSharedAddress(address, this.#proxies),
      cluster: () => this.#membership,
      ask: (given) => {
        const [host] = this.#hosts.values();
        return host!.askHome(networkShare, networkJid(given.block, host!.domain), given);
      },
      failed: (error) =>
        this.logs.area('cluster').debug({ err: error }, 'the home of a network address did not answer'),
    });
    this.#anonymous = new AnonymousAccounts({
      store: this.storage.document<true>('passing'),
      forget: (jid) => changes.deleteData(jid, true),
      failed: (error) =>
        this.logs.area('storage').error({ err: error }, 'could not delete the data of an anonymous account'),
    });
    this.#streamSessions = new Sessions({
      returns: this.#returns,
      queues: this.#queues,
      ...shared,
      anonymous: this.#anonymous,
      ended: (session) => {
        for (const host of this.#hosts.values()) host.asks.unanswered((to) => to.equals(session.jid));
      },
      damaged: (owner, key) => stored.damaged({ shape: 'document', store: 'stream_management', owner, key }),
      host: (domain) => this.#hosts.get(domain),
      directory: this.sessions,
      isHere: (jid) => this.#router.isHome(jid),
      restoring: () => this.#membership?.restoring,
      cluster: () => this.#membership!,
      resumables: new Resumables(
        this.storage.document<SavedSm>('stream_management', { check: checkOf(savedSm) }),
        (error) => this.logs.area('storage').error({ err: error }, 'could not store session snapshots'),
      ),
      counts: this.#counts,
      log: this.logs.area('streams'),
      continues: (transport, at, followed) => this.#served.connected(transport, at, followed),
    });
    const credentials = { ...shared, throttle: this.#failures.throttle, accounts: this.accounts, counts: this.#counts };
    this.#login = new Login({
      ...credentials,
      policy: () => this.#policy,
      sessions: this.#streamSessions,
      attemptsPerStream: () => this.config.auth.attempts_per_stream,
      bindings: (stream) => bindingsOf(stream, this.certificates),
      clientCertificate: (stream) => clientCertificate(stream, this.config.tls.client_certificates),
    });
    if (this.#options.remote !== undefined) this.#router.remote = this.#options.remote;
    for (const domain of Object.keys(this.config.hosts)) {
      const host = new LocalHost({
        ...shared,
        domain,
        router: this.#router,
        directory: this.sessions,
        accounts: this.accounts,
        log: this.logs.area('routing'),
        software: { name: 'Waxwing', version: this.version },
        publicUrl: () => publicUrl(domain, this.config, this.#listeners?.bound ?? []),
        end: (session, reason) => this.#streamSessions.ending.end(session, reason),
        canRestart: this.#options.halt !== undefined,
        halt: this.#options.halt ?? (() => this.stop()),
        invalidating: () => this.#streamSessions.invalidating,
        exportOf: (one, owner) => exportOf(one, owner, { keys: false }),
        checkPassword,
        anonymousAt: (bare) => this.#anonymous.blockOf(bare),
      });
      this.#hosts.set(domain, host);
      this.#router.add(domain, host);
    }
    const blobs = this.#options.blobs ?? (await this.engines.openBlobs(() => serverId(this.storage)));
    const offered = { storage: this.storage, blobs, config: this.config, log: this.logs.area('modules') };
    for (const host of this.#hosts.values()) {
      const hooks = await startModules(host, chosen, offered);
      const { enabled, path } = this.config.metrics;
      const claimed = hooks.http.get(path)?.get('GET');
      if (enabled && claimed !== undefined)
        throw new HookError(`module ${claimed.module} answers GET ${path}; choose another metrics.path`);
      hooks.answer(this.#failures.answerer);
      hooks.answer(passwordAnswerer(credentials));
      for (const answerer of this.nodes.answerers) hooks.answer(answerer);
      hooks.answer(this.#network.answerer);
      const changed = (bare: string) => this.usages.changed(bare);
      for (const answerer of portableAnswers(host, { storage: this.storage, changed })) hooks.answer(answerer);
      hooks.answer(this.#streamSessions.moving.late.answerer);
      serveBosh(hooks, { config: () => this.config, service: () => this.#listeners!.bosh });
      host.start(hooks);
    }
    this.components = new Components({
      ...shared,
      router: this.#router,
      hosts: () => this.#hosts.values(),
      log: this.logs.area('components'),
      wayTo: (component) => this.#membership?.wayTo(component, shared) ?? component,
    });
    const domains = certifiedDomains([...this.#hosts.values()], Object.keys(this.config.components));
    const log = this.logs.area('certificates');
    const replace = (write: () => Promise<void>) => this.certificates?.replace(write) ?? write();
    const orders = { config: () => this.config, challenges: this.#challenges, log, replace };
    const sharedOrders = this.#membership?.shareOrders({ ...orders, storage: this.storage });
    this.acme = new Acme({ ...orders, shared: sharedOrders, domains, version: this.version });
    for (const { hooks } of this.#hosts.values()) for (const answerer of this.acme.answerers) hooks.answer(answerer);
    await sharedOrders?.look();
    this.certificates = await Certificates.open({ config: this.config, domains, report: changeLog(log) });
    await this.#membership?.prepare();
    this.#served = this.#serveStreams();
    await (this.#membership?.enter() ?? this.#streamSessions.snapshots.load());
    // What other nodes have stored before they knew that this one is a member.
    await sharedOrders?.look();
    await this.#anonymous.sweep((to) => this.sessions.of(to.bare).length > 0 || this.#router.wayTo(to) !== undefined);
  }

  async #join(cluster: ClusterOptions, storage: Storage): Promise<void> {
    this.#membership = await Membership.join(cluster, {
      storage,
      router: this.#router,
      hosts: this.#hosts,
      version: this.version,
      settings: settingsOfAll(this.config),
      folder: this.#options.blobs === undefined ? sharedFolderOf(this.config) : undefined,
      lost: () => this.#returns.begin(),
      log: this.logs.area('cluster'),
      sessions: () => this.#streamSessions,
      accounts: () => this.accounts,
      usages: () => this.usages,
      shares: this.#shares,
      anonymous: () => this.#anonymous,
      viewed: () => void this.#network?.viewed(),
      gained: () => this.acme?.gained(),
      halt: this.#options.halt ?? (() => this.stop()),
    });
    this.node = this.#membership.node;
  }

  /** Values derived from the configuration. */
  #configure(): void {
    const { auth, c2s, http, listen } = this.config;
    const wanted = [...auth.mechanisms, ...(auth.anonymous ? ['ANONYMOUS'] : [])];
    this.#policy = policyOf(wanted, c2s.allow_sasl_plain_without_tls);
    this.#proxies = { protocol: networks(listen.proxy_protocol), forwarded: networks(http.forwarded_from) };
  }

  get portableHosts(): readonly LocalHost[] {
    return [...this.#hosts.values()];
  }

  host(domain: string): Host | undefined {
    return this.#hosts.get(domain);
  }

  get listening(): readonly Bound[] {
    return this.#listeners?.bound ?? [];
  }

  get federation(): Federation | string {
    return this.#alone ?? this.#federation!;
  }

  get modulesListening(): readonly ModuleListener[] {
    return distinctListeners([...this.#hosts.values()].flatMap(({ hooks }) => hooks.listeners));
  }

  /** Streams can be served from now on: other nodes hand them over as soon as addresses live here. */
  #serveStreams(): Served {
    const server = {
      config: () => this.config,
      host: (domain: string) => this.#hosts.get(domain),
      sessions: this.#streamSessions,
      login: this.#login,
      signUps: new SignUps(() => this.config),
      log: this.logs.area('streams'),
      counts: this.#counts,
      admission: new Admission({
        limits: () => this.config.limits,
        limitHit: (limit) => this.metrics.limitHit(limit),
      }),
      backlog: this.#backlog,
      queues: this.#queues,
      shares: this.#shares,
      gateway: this.#membership?.gateway,
      membership: this.#membership,
      throttle: this.#failures.throttle,
      limitHit: (limit: string) => this.metrics.limitHit(limit),
      closed: (stream: ClientStream) => void this.#streams.delete(stream),
      tlsFailed: () => void this.#counts.tlsFailures++,
      router: this.#router,
      certificates: this.certificates,
    };
    const connected = (transport: Transport, at: number, continued?: Continued | FollowedSession) => {
      if (continued === undefined) this.#counts.opened[transport.kind]++;
      this.#streams.add(new ClientStream(transport, server, at, continued));
    };
    const componentConnected = (transport: Transport, at: number) => this.components.connected(transport, at, server);
    this.#membership?.serve(connected, componentConnected);
    this.#alone = this.#options.remote ? 'the program has its own way to other servers' : whyAlone(this.config);
    if (this.#alone === undefined)
      this.#federation = new Federation({ ...server, host: (name) => this.#hostNamed(name) });
    return { ...server, connected, componentConnected };
  }

  async start(): Promise<void> {
    const log = this.logs.area('streams');
    this.#listeners = new Listeners({
      ...this.#served,
      network: this.#network!,
      proxies: () => this.#proxies,
      servers: this.#federation,
      challenges: this.#challenges,
      http: this.#httpRouter,
    });
    const missing = await this.#listeners.open();
    if (missing !== undefined) this.#alone = this.#federation!.withdraw(missing);
    this.acme.start();
    for (const host of this.#hosts.values()) await host.emit('started', {});
    await this.disk.start();
    this.#sweeper = new Sweeper(
      [this.#streams, this.components.streams],
      this.#streamSessions.snapshots,
      (now) => this.#listeners?.sweep(now),
      () => this.config,
    );
    if (globalThis.gc !== undefined) this.#idleMemory = new IdleMemory(globalThis.gc);
    this.#logins = setInterval(() => {
      this.accounts.writeLogins().catch((error: unknown) => log.error({ err: error }, 'could not store logins'));
    }, 60_000).unref();
    if (this.config.metrics.enabled)
      this.metrics.start({
        counts: this.#counts,
        connections: () => this.connections,
        sessions: () => this.sessions.size,
        outbound: () => this.#queues.size,
        freeSpace: () => this.disk.space?.free,
        certificates: () => this.certificates.ends,
        quotas: () => this.usages.reaches,
        engines: () => this.engines.states,
        hibernating: () => this.hibernating,
        snapshots: () => this.#streamSessions.snapshotCount,
        components: () => this.components.figures,
        federation: () => this.#federation?.figures,
        node: () => this.node?.figures,
        modules: [...this.#hosts.values()].flatMap(({ hooks }) => hooks.metrics),
      });
  }

  writtenBy(bare: string): { readonly today: number; readonly yesterday: number } {
    return this.#shares.writtenBy(bare);
  }

  get hibernating(): number {
    return this.#streamSessions.hibernating;
  }

  inspect(): Inspection {
    const { connections, pending } = this.#listeners?.inspection ?? { connections: 0, pending: 0 };
    return {
      connections,
      pending,
      streams: this.#streams.size + this.components.size,
      sessions: this.sessions.size,
      ...this.#streamSessions.inspection,
      pendingWrites: this.#backlog.waiting,
      shares: this.#shares.size,
      asks: [...this.#hosts.values()].reduce((sum, host) => sum + host.asks.size, 0),
      anonymous: this.#anonymous.pending,
    };
  }

  /** Whether it should get new clients. */
  get #isReady(): boolean {
    return this.#stopping === undefined && (this.node === undefined || this.node.isServing);
  }

  get connections(): Record<string, number> {
    const counts: Record<string, number> = { tcp: 0, tls: 0, websocket: 0, bosh: 0 };
    for (const stream of this.#streams) counts[stream.kind] = (counts[stream.kind] ?? 0) + 1;
    return counts;
  }

  #hostNamed(name: string): LocalHost {
    return hostNamed(name, this.#hosts, this.config);
  }

  kick(session: Session, text?: string): void {
    this.#streamSessions.ending.end(session, new StreamError('policy-violation', text));
  }

  // --- changes and end ------------------------------------------------------------------------------------------------

  async reload(): Promise<Reloaded> {
    const { file, text, overrides } = this.#options;
    const next = loadConfig({ file, text, overrides, modules: this.modules });
    const changes = diffConfig(this.config, next, this.modules);
    this.components.useSecrets(readSecrets(next.components));
    // Keys that need a restart are stored too, except those whose old value is still in use; they are reported.
    const { listen, data, components } = this.config;
    this.config =
      changes.restart.length === 0
        ? next
        : { ...next, listen, data, components: stillConfigured(components, next.components) };
    this.#configure();
    this.usages.clear();
    this.logs.configure(next.log);
    await this.certificates.reload(this.config);
    await this.#listeners?.openForProofs();
    this.acme.reload();
    for (const host of this.#hosts.values()) await host.emit('reloaded', {});
    return { applied: changes.live, restart: changes.restart };
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    clearInterval(this.#logins);
    this.#sweeper?.stop();
    this.disk.stop();
    this.#idleMemory?.stop();
    this.#httpRouter.stop();
    // Before addresses move to other nodes, which then order what is not done.
    await this.acme?.close();
    await closeStreams({
      graceMs: (this.config?.admin.shutdown_grace_seconds ?? 0) * 1000,
      hosts: this.#hosts,
      streams: this.#streams,
      sessions: this.#streamSessions,
      components: this.components,
      federation: this.#federation,
      listeners: this.#listeners,
      membership: this.#membership,
    });
    await this.#anonymous?.drained();
    await this.accounts?.writeLogins().catch((error: unknown) => {
      this.logs.area('storage').error({ err: error }, 'could not store logins');
    });
    await this.#membership?.leave();
    for (const host of this.#hosts.values()) host.stop();
    this.certificates?.close();
    await this.#endIds?.();
    await this.engines?.end();
    if (this.#options.storage === undefined) await this.storage?.close();
    else await this.storage?.flush();
    this.metrics.stop();
    this.logs?.flush();
  }
}
