/** Commands on the running server as a whole, and on its configuration. */
import { monotonic, wall } from '../clock.js';
import type { Config } from '../config/schema.js';
import type { Server } from '../server.js';
import { columns, count, duration, facts, megabytes, time } from '../words.js';
import { eitherCommand, serverCommand } from './command.js';

const levels = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const;

interface StreamsData {
  readonly incoming: number;
  readonly outgoing: number;
}

interface EngineData {
  readonly name: string;
  readonly isWorking: boolean;
  /** How long it has not worked; null if it does. */
  readonly failingSeconds: number | null;
  /** Operations that were refused or given up since the start. */
  readonly refused: number;
  /** Operations under way. */
  readonly pending: number;
}

export interface StatusData {
  readonly version: string;
  readonly pid: number;
  /** ISO 8601. */
  readonly startedAt: string;
  readonly uptimeSeconds: number;
  readonly node: string;
  readonly hosts: readonly string[];
  readonly listening: readonly { readonly kind: string; readonly address: string; readonly port: number }[];
  /** Addresses of the web client, by host. */
  readonly webClients: readonly string[];
  /** Streams to and from other servers; a text says why there are none. */
  readonly federation: StreamsData | string;
  /** Open connections of clients by kind of transport. */
  readonly connections: Readonly<Record<string, number>>;
  readonly sessions: number;
  /** Sessions that hibernate. */
  readonly hibernating: number;
  /** Bytes: resident set size, and used JavaScript heap. */
  readonly memory: { readonly rss: number; readonly heapUsed: number };
  /** Bytes on the disk of the data folder; null if not known. */
  readonly disk: { readonly free: number; readonly total: number; readonly isLow: boolean } | null;
  /** Databases and other engines, and whether they work. */
  readonly engines: readonly EngineData[];
  /** Certificates in use. */
  readonly certificates: readonly {
    readonly host: string;
    /** ISO 8601. */
    readonly expires: string;
    /** Why the last order failed, if it did. */
    readonly error: string | null;
  }[];
  readonly configFile: string | null;
  readonly data: string;
  /** How it was started. */
  readonly launch: { readonly data: string | null; readonly folder: string };
  /** A supervisor starts it, and restarts it when it ends. */
  readonly supervised: boolean;
}

export const status = serverCommand({
  name: 'status',
  summary: 'Shows the state of the server',
  reads: true,
  async run({ server, launch, config }): Promise<StatusData> {
    const { rss, heapUsed } = process.memoryUsage();
    const ordered = await server.acme.statuses();
    return {
      version: server.version,
      pid: process.pid,
      startedAt: new Date(server.startedAt).toISOString(),
      uptimeSeconds: Math.floor((monotonic() - server.started) / 1000),
      node: process.version,
      hosts: Object.keys(config.hosts),
      listening: [...server.listening, ...server.modulesListening],
      webClients: webClientsOf(server),
      federation: federationOf(server),
      connections: server.connections,
      sessions: server.sessions.size,
      hibernating: server.hibernating,
      memory: { rss, heapUsed },
      disk: server.disk.space === undefined ? null : { ...server.disk.space, isLow: server.disk.isLow },
      engines: server.engines.states.map(({ name, isWorking, failingSeconds, refused, pending }) => ({
        name,
        isWorking,
        failingSeconds: failingSeconds ?? null,
        refused,
        pending,
      })),
      certificates: [...server.certificates.ends].map(([host, end]) => ({
        host,
        expires: new Date(end).toISOString(),
        error: ordered.find((one) => one.host === host)?.error ?? null,
      })),
      configFile: launch.file ?? null,
      data: config.data,
      launch: { data: launch.data ?? null, folder: launch.folder },
      supervised: isSupervised(),
    };
  },
  /** The running server may be older than this program, and send fewer facts. */
  text(status: Partial<StatusData>) {
    const connections = Object.entries(status.connections ?? {}).filter(([, open]) => open > 0);
    const all = connections.reduce((sum, [, open]) => sum + open, 0);
    const kinds = connections.map(([kind, open]) => `${open} ${kind}`).join(', ');
    const { startedAt, uptimeSeconds, listening = [], federation, sessions, hibernating = 0, memory, disk } = status;
    const running = uptimeSeconds === undefined ? '' : ` (${duration(uptimeSeconds)})`;
    return facts([
      ['Waxwing', `${status.version}, Node ${status.node}, process ${status.pid}`],
      ['Running since', startedAt && `${time(startedAt)}${running}`],
      ['Hosts', list(status.hosts ?? [])],
      ['Listens on', list(listening.map(({ kind, address, port }) => `${kind} ${place(address, port)}`))],
      ['Web client', list(status.webClients ?? [])],
      ['Other servers', typeof federation === 'string' ? `none: ${federation}` : federation && streams(federation)],
      ['Connections', status.connections && `${all}${kinds === '' ? '' : ` (${kinds})`}`],
      [
        'Sessions',
        sessions === undefined ? '' : `${sessions}${hibernating > 0 ? ` (${hibernating} hibernating)` : ''}`,
      ],
      ['Memory', memory && megabytes(memory.rss)],
      ['Storage', stored(status.engines ?? [])],
      ['Disk', disk ? free(disk) : ''],
      ['Certificates', certified(status.certificates ?? [])],
      ['Configuration', status.configFile ?? 'none (defaults)'],
      ['Data', status.data],
    ]);
  },
});

/** Addresses of the web client, in the order of the hosts; none if it is not running or there is no port for it. */
export const webClientsOf = (server: Server): string[] =>
  Object.keys(server.config.hosts).flatMap((domain) => server.host(domain)?.provided('webClient')?.url ?? []);

function federationOf({ federation }: Server): StatusData['federation'] {
  if (typeof federation === 'string') return federation;
  const { incoming, outgoing } = federation.figures;
  return { incoming, outgoing };
}

const stored = (engines: readonly EngineData[]): string =>
  engines
    .map(({ name, failingSeconds, refused }) => {
      const count = refused === 0 ? '' : ` (${refused} requests refused since the start)`;
      return `${name} ${failingSeconds === null ? 'works' : `HAS NOT WORKED FOR ${duration(failingSeconds)}`}${count}`;
    })
    .join(', ');

const streams = ({ incoming, outgoing }: StreamsData): string =>
  `${count(incoming, 'stream')} from them, ${outgoing} to them`;

const free = ({ free, isLow }: NonNullable<StatusData['disk']>): string =>
  `${megabytes(free)} free${isLow ? ' (low: accounts that write much are slowed down)' : ''}`;

/** The one that expires first, and failed orders. */
function certified(all: StatusData['certificates']): string {
  const [first] = [...all].sort((one, other) => (one.expires < other.expires ? -1 : 1));
  if (first === undefined) return '';
  const seconds = (Date.parse(first.expires) - wall()) / 1000;
  const failed = all.filter(({ error }) => error !== null).map(({ host, error }) => `${host} not renewed: ${error}`);
  const valid = seconds <= 0 ? `${first.host} has expired` : `${first.host} valid for ${duration(seconds)}`;
  return [valid, ...failed.slice(0, 5)].join('; ');
}

/** An address with its port, as in a URL; `*` for `::`. */
export function place(address: string, port: number): string {
  return `${address === '::' ? '*' : address.includes(':') ? `[${address}]` : address}:${port}`;
}

function list(names: readonly string[]): string {
  return names.length <= 20 ? names.join(', ') : `${names.slice(0, 20).join(', ')}, and ${names.length - 20} more`;
}

/** systemd names the process it started (systemd.exec(5)); in a container, the server is the first process. */
export function isSupervised(): boolean {
  return process.pid === 1 || process.env.SYSTEMD_EXEC_PID === String(process.pid);
}

export const stop = serverCommand({
  name: 'stop',
  summary: 'Stops the server',
  details:
    'Clients are asked to reconnect, resumable sessions are saved, and the command returns once everything is durable.',
  async run({ shutdown, progress }) {
    await shutdown(progress);
    return { stopped: true, pid: process.pid };
  },
  text: () => 'The server has stopped.',
});

export const reload = serverCommand({
  name: 'reload',
  summary: 'Applies a changed configuration and changed certificates',
  details: 'Clients stay connected. A configuration with errors is rejected, and the current one stays in effect.',
  run: ({ server }) => server.reload(),
  text({ applied, restart }) {
    const lines = [
      applied.length === 0 ? 'Reloaded; there are no changes to apply.' : `Applied: ${applied.join(', ')}.`,
      ...(restart.length === 0 ? [] : [`After a restart: ${restart.join(', ')}.`]),
    ];
    return lines.join('\n');
  },
});

export const modules = eitherCommand({
  name: 'module list',
  summary: 'Lists the modules and what they implement',
  reads: true,
  run: ({ modules, config }) => ({
    modules: modules.map(({ name, summary, implements: specs }) => ({
      name,
      enabled: isEnabled(config, name),
      summary,
      implements: Object.keys(specs),
    })),
  }),
  text({ modules }) {
    const rows = [...modules]
      .sort((a, b) => (a.name < b.name ? -1 : 1))
      .map(({ name, enabled, implements: specs }) => [name, enabled ? 'on' : 'off', specs.join(', ')]);
    return columns(rows, ['MODULE', '', 'SPECIFICATIONS']);
  },
});

function isEnabled(config: Config, name: string): boolean {
  const table = config.modules[name] as { readonly enabled?: boolean } | undefined;
  return !config.modules.disabled.includes(name) && table?.enabled === true;
}

export const config = eitherCommand({
  name: 'config show',
  summary: 'Shows the configuration with its defaults, without secrets',
  details: 'Shows that of the running server, or of the file if none is running. Sizes are in bytes, times in seconds.',
  reads: true,
  async run({ config, modules }) {
    const { redact } = await import('../config/redact.js');
    return { config: writable(redact(config, modules)) };
  },
  async text({ config }) {
    const { stringify } = await import('smol-toml');
    return stringify(config).trimEnd();
  },
});

/** JSON has no infinity; the file writes it as "unlimited". */
function writable(config: Config): Record<string, unknown> {
  return JSON.parse(JSON.stringify(config, (_, value) => (value === Infinity ? 'unlimited' : value)));
}

export const logLevel = serverCommand({
  name: 'logs level',
  summary: 'Sets how much is logged, until the next reload or restart',
  parameters: {
    area: {
      type: 'text',
      positional: true,
      description:
        'The part of the server, such as streams, storage or modules. Default: all parts without a level of their own.',
    },
    level: {
      type: 'text',
      positional: true,
      required: true,
      choices: levels,
      description: 'The lowest level to log.',
    },
  },
  run({ server: { logs } }, { area, level }) {
    const now = logs.levels;
    if (area === undefined) logs.configure({ ...now, level });
    else logs.configure({ ...now, areas: { ...now.areas, [area]: level } });
    return { level: logs.levels.level, areas: { ...logs.levels.areas } };
  },
  text({ level, areas }) {
    const own = Object.entries(areas).map(([area, level]) => `${area} ${level}`);
    return `Log level: ${level}${own.length === 0 ? '' : `; ${own.join(', ')}`}.`;
  },
});
