/** `createServer()`: assembles the server. The only file that knows every concrete class. */

import { mkdir } from 'node:fs/promises';
import { BlockList } from 'node:net';
import { standardModules } from '../modules/index.js';
import { checked, type DamagedRecord } from '../storage/checked.js';
import { type DocumentStore, type Storage, StorageError } from '../storage/contract.js';
import { openStorage } from '../storage/open.js';
import { Usages } from '../storage/usage.js';
import { type AccountEvent, Accounts } from './accounts/index.js';
import { elsewhere } from './accounts-elsewhere.js';
import type { Jid } from './address/jid.js';
import { monotonic, poll, wall } from './clock.js';
import type { ClusterNode } from './cluster/node.js';
import { networks } from './config/address.js';
import { readSecrets } from './config/components.js';
import { diffConfig } from './config/diff.js';
import { type Finding, formatFinding, loadConfig, modulesToLoad } from './config/load.js';
import type { Config } from './config/schema.js';
import { DiskSpace, spaceLog, spaceOf } from './disk-space.js';
import { Federation, whyAlone } from './federation.js';
import { requestPeer } from './forwarded.js';
import { MetricsPage } from './http/metrics-page.js';
import { HttpRouter } from './http/router.js';
import { IdleMemory } from './idle-memory.js';
import { Backlog } from './limits/backlog.js';
import { Congestion } from './limits/congestion.js';
import { Queues } from './limits/queues.js';
import { Shares } from './limits/shares.js';
import { type Bound, isSharedAddress, Listeners, type Proxies } from './listeners.js';
import { chooseModules, importModules, startModules } from './loader.js';
import { type Logs, openLogs } from './logging.js';
import { LoginFailures } from './login-failures.js';
import { type ClusterOptions, Membership } from './membership.js';
import { Metrics } from './metrics.js';
import type { Events, Host, ModuleDefinition, ModuleListener } from './module/index.js';
import { quotaRules, type StoredQuota, storedQuota, warnOfQuota } from './quotas.js';
import { openReservedIds } from './reserved-ids.js';
import { Admission } from './routing/admission.js';
import { SessionDirectory } from './routing/directory.js';
import { HookError } from './routing/hooks.js';
import { LocalHost } from './routing/host.js';
import { Router } from './routing/router.js';
import type { Session } from './routing/session.js';
import type { Inspection, Reloaded, Server, ServerOptions } from './server.js';
import { StreamError } from './stanza/errors.js';
import { checkOf } from './stanza/stored.js';
import { ClientStream } from './stream/c2s/client.js';
import type { Continued } from './stream/c2s/gateway.js';
import { Login } from './stream/c2s/login.js';
import { SignUps } from './stream/c2s/sign-ups.js';
import type { FollowedSession } from './stream/c2s/stream.js';
import { Components, stillConfigured } from './stream/component/index.js';
import { StreamCounts } from './stream/counts.js';
import { defaultPolicy, mechanismNames, type SaslPolicy } from './stream/sasl/offer.js';
import { Sessions } from './stream/sessions/index.js';
import { Sweeper } from './stream/sweeper.js';
import { type SavedSm, savedSm } from './stream/xep-0198-record.js';
import { Resumables } from './stream/xep-0198-resumables.js';
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

/** Creates a server. Rejects with ConfigError, StorageError, ModuleError or HookError. */
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

class WaxwingServer implements Server {
  readonly #options: ServerOptions;
  config!: Config;
  modules: readonly ModuleDefinition[] = [];
  logs!: Logs;
  storage!: Storage;
  usages!: Usages;
  quotas!: DocumentStore<StoredQuota>;
  accounts!: Accounts;
  certificates!: Certificates;
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
  readonly #httpRouter = new HttpRouter({
    routes: (name) => this.#hostNamed(name).hooks.http,
    peer: (request) => requestPeer(request, this.#proxies.forwarded),
    failed: (error, path) => this.logs.area('http').error({ err: error, path }, 'an HTTP request failed'),
    limitHit: (limit) => this.metrics.limitHit(limit),
  });
  readonly #metricsPage = new MetricsPage({
    config: () => this.config,
    proxies: () => this.#proxies,
    text: () => this.metrics.text(),
    failed: (error) => this.logs.area('metrics').error({ err: error }, 'could not collect the metrics'),
  });
  #streamSessions!: Sessions;
  /** Begins a client's stream; since the start. */
  #connected: ((transport: Transport, at: number, continued?: Continued | FollowedSession) => void) | undefined;
  #anonymous!: AnonymousAccounts;
  #login!: Login;
  #failures!: LoginFailures;
  #policy!: SaslPolicy;
  #proxies: Proxies = { protocol: new BlockList(), forwarded: new BlockList() };
  #sweeper: Sweeper | undefined;
  #idleMemory: IdleMemory | undefined;
  #logins: NodeJS.Timeout | undefined;
  #stopping: Promise<void> | undefined;
  node: ClusterNode | undefined;
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
    await mkdir(this.config.data, { recursive: true, mode: 0o700 }).catch((error: NodeJS.ErrnoException) => {
      const why =
        error.code === 'EEXIST' || error.code === 'ENOTDIR' ? 'is not a folder' : `cannot be created (${error.code})`;
      throw new StorageError('unavailable', `data ${this.config.data}: ${why}`, { cause: error });
    });
    const storageLog = this.logs.area('storage');
    const storage =
      this.#options.storage ??
      (await openStorage(this.config, {
        observe: ({ name, operation }, milliseconds) => this.metrics.storageTook(name, operation, milliseconds / 1000),
        warn: (message, error) => storageLog.warn({ err: error }, message),
        within: this.#options.storageWithin,
      }));
    if (this.#options.cluster !== undefined) await this.#join(this.#options.cluster, storage);
    const parts = { config: () => this.config, accounts: () => this.accounts };
    this.usages = new Usages(
      this.#membership?.storage ?? storage,
      quotaRules({
        ...parts,
        exceptions: () => this.quotas,
        limitHit: (limit) => this.metrics.limitHit(limit),
        warn: (owner, used, quota) => {
          storageLog.warn({ owner, used, quota }, 'an account or room is near its storage quota');
          if (this.sessions.of(owner).length > 0) warnOfQuota(owner, used, quota, (domain) => this.#hosts.get(domain));
        },
        failed: (error) => storageLog.error({ err: error }, 'could not measure the storage usage of an account'),
      }),
    );
    const damaged = (record: DamagedRecord) => {
      this.metrics.recordDamaged(record.store);
      storageLog.error(record, 'a stored record is damaged');
    };
    this.storage = checked(this.usages.storage, damaged);
    this.quotas = this.storage.document('quotas', { check: checkOf(storedQuota) });
    this.#endIds = await openReservedIds(this.storage, {
      node: this.#options.cluster?.node,
      ahead: (ms) =>
        storageLog.warn(
          { seconds: Math.round(ms / 1000) },
          'the clock is earlier than stored timestamps: new ids run ahead until it catches up; check the system clock',
        ),
      failed: (error) => storageLog.error({ err: error }, 'could not reserve stanza ids for the next start'),
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
      onEvent: (event) => this.#accountChanged(event),
      elsewhere: this.#membership && ((bare) => elsewhere(bare, this.#router, (domain) => this.#hosts.get(domain))),
    });
    const shared = { config: () => this.config, limitHit: (limit: string) => this.metrics.limitHit(limit) };
    this.#failures = new LoginFailures({ ...shared, hosts: this.#hosts, log: this.logs.area('cluster') });
    this.#anonymous = new AnonymousAccounts({
      store: this.storage.document<true>('passing'),
      forget: (jid) => this.#deleteAccountData(jid, true),
      failed: (error) => storageLog.error({ err: error }, 'could not delete the data of an anonymous account'),
    });
    this.#streamSessions = new Sessions({
      queues: this.#queues,
      ...shared,
      anonymous: this.#anonymous,
      ended: (session) => {
        for (const host of this.#hosts.values()) host.unanswered((to) => to.equals(session.jid));
      },
      damaged: (owner, key) => damaged({ shape: 'document', store: 'stream_management', owner, key }),
      host: (domain) => this.#hosts.get(domain),
      directory: this.sessions,
      isHere: (jid) => this.#router.wayTo(jid) === undefined,
      resumables: new Resumables(
        this.storage.document<SavedSm>('stream_management', { check: checkOf(savedSm) }),
        (error) => storageLog.error({ err: error }, 'could not store session snapshots'),
      ),
      counts: this.#counts,
      log: this.logs.area('streams'),
      follow: (transport, to, handOver) => this.#membership!.gateway.follow(transport, to, handOver),
      continues: (transport, at, followed) => this.#connected!(transport, at, followed),
      forward: (to, stanza, receipt) => this.#membership!.forward(to, stanza, receipt),
    });
    this.#login = new Login({
      ...shared,
      policy: () => this.#policy,
      accounts: this.accounts,
      throttle: this.#failures.throttle,
      sessions: this.#streamSessions,
      counts: this.#counts,
      attemptsPerStream: () => this.config.auth.attempts_per_stream,
      bindings: (stream) => bindingsOf(stream, this.certificates),
      clientCertificate: (stream) => clientCertificate(stream, this.config.tls.client_certificates),
    });
    if (this.#options.remote !== undefined) this.#router.remote = this.#options.remote;
    const software = { name: 'Waxwing', version: this.version };
    for (const domain of Object.keys(this.config.hosts)) {
      const host = new LocalHost({
        ...shared,
        domain,
        router: this.#router,
        directory: this.sessions,
        accounts: this.accounts,
        log: this.logs.area('routing'),
        software,
        end: (session, reason) => this.#streamSessions.ending.end(session, reason),
        canRestart: this.#options.halt !== undefined,
        halt: this.#options.halt ?? (() => this.stop()),
        invalidating: () => this.#streamSessions.invalidating,
        anonymousAt: (bare) => this.#anonymous.blockOf(bare),
      });
      this.#hosts.set(domain, host);
      this.#router.add(domain, host);
    }
    for (const host of this.#hosts.values()) {
      const log = this.logs.area('modules');
      const hooks = await startModules(host, chosen, { storage: this.storage, config: this.config, log });
      const { enabled, path } = this.config.metrics;
      const claimed = hooks.http.get(path)?.get('GET');
      if (enabled && claimed !== undefined)
        throw new HookError(`module ${claimed.module} answers GET ${path}; choose another metrics.path`);
      hooks.answer(this.#failures.answerer);
      host.start(hooks);
    }
    this.components = new Components({
      ...shared,
      router: this.#router,
      hosts: () => this.#hosts.values(),
      log: this.logs.area('components'),
      wayTo: (component) => this.#membership?.wayTo(component, shared) ?? component,
    });
    this.certificates = await Certificates.open({
      config: this.config,
      domains: certifiedDomains([...this.#hosts.values()], Object.keys(this.config.components)),
      report: changeLog(this.logs.area('certificates')),
    });
    await (this.#membership?.enter() ?? this.#streamSessions.snapshots.load());
    await this.#anonymous.sweep((to) => this.sessions.of(to.bare).length > 0 || this.#router.wayTo(to) !== undefined);
  }

  async #join(cluster: ClusterOptions, storage: Storage): Promise<void> {
    this.#membership = await Membership.join(cluster, {
      storage,
      router: this.#router,
      hosts: this.#hosts,
      version: this.version,
      log: this.logs.area('cluster'),
      sessions: () => this.#streamSessions,
      accounts: () => this.accounts,
      usages: () => this.usages,
      anonymous: () => this.#anonymous,
      isStopping: () => this.#stopping !== undefined,
      halt: this.#options.halt ?? (() => this.stop()),
    });
    this.node = this.#membership.node;
  }

  /** Values derived from the configuration. */
  #configure(): void {
    const { auth, c2s, http, listen } = this.config;
    const wanted: readonly string[] = [...auth.mechanisms, ...(auth.anonymous ? ['ANONYMOUS'] : [])];
    this.#policy = {
      ...defaultPolicy,
      mechanisms: mechanismNames.filter((name) => wanted.includes(name.replace(/-PLUS$/, ''))),
      plainWithoutTls: c2s.allow_sasl_plain_without_tls,
    };
    this.#proxies = { protocol: networks(listen.proxy_protocol), forwarded: networks(http.forwarded_from) };
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
    const all = [...this.#hosts.values()].flatMap(({ hooks }) => hooks.listeners.flatMap((bound) => bound()));
    // Hosts may share a listener.
    return [...new Map(all.map((one) => [`${one.address} ${one.port}`, one])).values()];
  }

  async start(): Promise<void> {
    const log = this.logs.area('streams');
    const server = {
      config: () => this.config,
      host: (domain: string) => this.#hosts.get(domain),
      sessions: this.#streamSessions,
      login: this.#login,
      signUps: new SignUps(() => this.config),
      log,
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
    const connected = (transport: Transport, at: number, continued?: Continued | FollowedSession) =>
      void this.#streams.add(new ClientStream(transport, server, at, continued));
    const componentConnected = (transport: Transport, at: number) => this.components.connected(transport, at, server);
    this.#membership?.serve((this.#connected = connected), componentConnected);
    this.#alone = this.#options.remote ? 'the program has its own way to other servers' : whyAlone(this.config);
    if (this.#alone === undefined)
      this.#federation = new Federation({ ...server, host: (name) => this.#hostNamed(name) });
    this.#listeners = new Listeners({
      ...server,
      proxies: () => this.#proxies,
      servers: this.#federation,
      connected: (transport, at) => {
        this.#counts.opened[transport.kind]++;
        connected(transport, at);
      },
      componentConnected,
      // A denied page must look like a missing one.
      http: (request, response) => {
        if (!this.#metricsPage.answer(request, response)) void this.#httpRouter.answer(request, response);
      },
    });
    const missing = await this.#listeners.open();
    if (missing !== undefined) this.#alone = this.#federation!.withdraw(missing);
    for (const host of this.#hosts.values()) await host.emit('started', {});
    await this.disk.start();
    this.#sweeper = new Sweeper(
      [this.#streams, this.components.streams],
      this.#streamSessions.snapshots,
      (now) => this.#listeners?.cutLate(now),
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
        quotas: () => this.usages.reaches,
        hibernating: () => this.hibernating,
        snapshots: () => this.#streamSessions.snapshotCount,
        components: () => this.components.figures,
        federation: () => this.#federation?.figures,
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
      asks: [...this.#hosts.values()].reduce((sum, host) => sum + host.asking, 0),
      anonymous: this.#anonymous.pending,
    };
  }

  get connections(): Record<string, number> {
    const counts: Record<string, number> = { tcp: 0, tls: 0, websocket: 0 };
    for (const stream of this.#streams) counts[stream.kind] = (counts[stream.kind] ?? 0) + 1;
    return counts;
  }

  /** The host of a domain in an HTTP request, which may be that of a service. */
  #hostNamed(name: string): LocalHost {
    const host = this.#hosts.get(name);
    if (host !== undefined) return host;
    const all = [...this.#hosts.values()];
    return all.find(({ hooks }) => hooks.services().some(({ domain }) => domain === name)) ?? all[0]!;
  }

  // --- accounts -----------------------------------------------------------------------------------------------------

  async #accountChanged(event: AccountEvent): Promise<void> {
    if (event.type === 'roleChanged') this.usages.changed(event.jid.bare);
    const host = this.#hosts.get(event.jid.domain);
    switch (event.type) {
      case 'accountDeleted':
        return this.#deleteAccountData(event.jid);
      case 'accountDisabled':
        this.#endSessions(event.jid, 'The account was disabled.');
        break;
      case 'accountCreated':
      case 'passwordChanged':
        break;
      default:
        return;
    }
    await host?.emit(event.type, { jid: event.jid } as Events[typeof event.type]);
  }

  /** Deletes all data of an account, except its deletion mark: that goes last, so that a crash leaves no data. */
  async #deleteAccountData(jid: Jid, isAnonymous = false): Promise<void> {
    const host = this.#hosts.get(jid.domain);
    await host?.emit('accountDeleting', { jid });
    this.#endSessions(jid, 'The account was deleted.');
    const stores = await this.storage.stores();
    await Promise.all(
      stores
        .filter(({ name }) => name !== 'accounts' && name !== 'passing')
        .map(({ shape, name }) => this.storage[shape](name).forget(jid.bare)),
    );
    this.usages.changed(jid.bare);
    await host?.emit('accountDeleted', { jid, isAnonymous });
  }

  #endSessions(jid: Jid, text: string): void {
    for (const session of this.sessions.of(jid.bare))
      this.#streamSessions.ending.end(session, new StreamError('not-authorized', text));
    // Authenticated streams without a session.
    for (const stream of this.#streams)
      if (stream.account?.sameBare(jid)) stream.close(new StreamError('not-authorized', text));
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
    const closing = this.#listeners?.close();
    this.#membership?.stop();
    this.#httpRouter.stop();
    // One deadline for everything that depends on clients. Storage may take as long as it needs.
    const grace = (this.config?.admin.shutdown_grace_seconds ?? 0) * 1000;
    const deadline = monotonic() + grace;
    // New stanzas are no longer taken: clients that resume send them again. Pending ones are finished.
    const handled = Promise.all([...this.#streams, this.components, this.#federation].map((one) => one?.stopTaking()));
    await Promise.race([handled, new Promise((resolve) => setTimeout(resolve, grace / 2).unref())]);
    for (const host of this.#hosts.values()) await host.emit('stopping', {});
    const goodbye = () => new StreamError('system-shutdown');
    // Staying sessions are first notified of ending ones, then saved; then their streams are closed.
    for (const stream of this.#streams) if (!stream.resumable) stream.close(goodbye());
    await this.#streamSessions?.snapshots.save();
    for (const stream of this.#streams) stream.close(goodbye());
    this.components?.close(goodbye());
    this.#federation?.close();
    const others = [this.components, this.#federation];
    await poll(() => others.reduce((sum, one) => sum + (one?.size ?? 0), this.#streams.size) === 0, deadline);
    this.#federation?.abandon();
    for (const { transport } of this.#streams) transport.destroy();
    this.#listeners?.destroyAll();
    await closing;
    await this.#anonymous?.drained();
    await this.accounts?.writeLogins().catch((error: unknown) => {
      this.logs.area('storage').error({ err: error }, 'could not store logins');
    });
    await this.#membership?.leave();
    for (const host of this.#hosts.values()) host.stop();
    this.certificates?.close();
    await this.#endIds?.();
    if (this.#options.storage === undefined) await this.storage?.close();
    else await this.storage?.flush();
    this.metrics.stop();
    this.logs?.flush();
  }
}
