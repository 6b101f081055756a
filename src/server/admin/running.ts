/** What is asked of the running server as a whole, and what of its configuration. */
import { monotonic } from '../clock.js';
import type { Config } from '../config/schema.js';
import { columns, duration, facts, megabytes, time } from '../words.js';
import { eitherCommand, serverCommand } from './command.js';

const levels = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const;

export interface StatusData {
  readonly version: string;
  readonly pid: number;
  /** ISO. */
  readonly startedAt: string;
  readonly uptimeSeconds: number;
  readonly node: string;
  readonly hosts: readonly string[];
  readonly listening: readonly { readonly kind: string; readonly address: string; readonly port: number }[];
  /** Open connections of clients, by kind of transport. */
  readonly connections: Readonly<Record<string, number>>;
  readonly sessions: number;
  /** Of these, those that wait for their clients to come back. */
  readonly hibernating: number;
  /** Bytes: all that the process holds, and what of it JavaScript uses. */
  readonly memory: { readonly rss: number; readonly heapUsed: number };
  /** Bytes on the disk of the data folder; null: not known. */
  readonly disk: { readonly free: number; readonly total: number; readonly isLow: boolean } | null;
  readonly configFile: string | null;
  readonly data: string;
  /** How it was started. */
  readonly launch: { readonly data: string | null; readonly folder: string };
  /** Another program starts it, and again when it ends. */
  readonly supervised: boolean;
}

export const status = serverCommand({
  name: 'status',
  summary: 'Tells whether the server runs, and how it is',
  reads: true,
  run({ server, launch, config }): StatusData {
    const { rss, heapUsed } = process.memoryUsage();
    return {
      version: server.version,
      pid: process.pid,
      startedAt: new Date(server.startedAt).toISOString(),
      uptimeSeconds: Math.floor((monotonic() - server.started) / 1000),
      node: process.version,
      hosts: Object.keys(config.hosts),
      listening: [...server.listening, ...server.modulesListening],
      connections: server.connections,
      sessions: server.sessions.size,
      hibernating: server.hibernating,
      memory: { rss, heapUsed },
      disk: server.disk.space === undefined ? null : { ...server.disk.space, isLow: server.disk.isLow },
      configFile: launch.file ?? null,
      data: config.data,
      launch: { data: launch.data ?? null, folder: launch.folder },
      supervised: isSupervised(),
    };
  },
  text(status) {
    const connections = Object.entries(status.connections).filter(([, open]) => open > 0);
    const all = connections.reduce((sum, [, open]) => sum + open, 0);
    const kinds = connections.map(([kind, open]) => `${open} ${kind}`).join(', ');
    return facts([
      ['Waxwing', `${status.version}, Node ${status.node}, process ${status.pid}`],
      ['Runs since', `${time(status.startedAt)} (${duration(status.uptimeSeconds)})`],
      ['Hosts', list(status.hosts)],
      ['Listens on', list(status.listening.map(({ kind, address, port }) => `${kind} ${place(address, port)}`))],
      ['Connections', `${all}${kinds === '' ? '' : ` (${kinds})`}`],
      ['Sessions', `${status.sessions}${status.hibernating > 0 ? ` (${status.hibernating} waiting)` : ''}`],
      ['Memory', megabytes(status.memory.rss)],
      ...(status.disk === null ? [] : [['Disk', free(status.disk)] as const]),
      ['Configuration', status.configFile ?? 'none: the defaults'],
      ['Data', status.data],
    ]);
  },
});

const free = ({ free, isLow }: NonNullable<StatusData['disk']>): string =>
  `${megabytes(free)} free${isLow ? ': little, so that accounts that write much are slowed down' : ''}`;

/** An address with its port, as a URL has it; `::` is every address. */
export function place(address: string, port: number): string {
  return `${address === '::' ? '*' : address.includes(':') ? `[${address}]` : address}:${port}`;
}

function list(names: readonly string[]): string {
  return names.length <= 20 ? names.join(', ') : `${names.slice(0, 20).join(', ')}, and ${names.length - 20} more`;
}

/** systemd names the process that it started (systemd.exec(5)); a container lives as long as its first process. */
export function isSupervised(): boolean {
  return process.pid === 1 || process.env.SYSTEMD_EXEC_PID === String(process.pid);
}

export const stop = serverCommand({
  name: 'stop',
  summary: 'Stops the server',
  details:
    'Clients are told to go and come back, sessions that can be resumed are kept, and the command ends when everything is on disk.',
  async run({ shutdown, progress }) {
    await shutdown(progress);
    return { stopped: true, pid: process.pid };
  },
  text: () => 'The server has stopped.',
});

export const reload = serverCommand({
  name: 'reload',
  summary: 'Applies a changed configuration and changed certificates',
  details: 'Nobody is disconnected. A configuration with errors is refused, and the one before it goes on.',
  run: ({ server }) => server.reload(),
  text({ applied, restart }) {
    const lines = [
      applied.length === 0 ? 'Read again; nothing changed that can be applied.' : `Applied: ${applied.join(', ')}.`,
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
  details: 'That of the running server, or of the file where none runs. Amounts are in bytes and seconds.',
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

/** JSON has no infinity: as the file has it. */
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
        'The part of the server, such as streams, storage or modules. Without it: all that have no level of their own.',
    },
    level: {
      type: 'text',
      positional: true,
      required: true,
      choices: levels,
      description: 'The least important that is logged.',
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
    return `Logged from now on: ${level}${own.length === 0 ? '' : `; ${own.join(', ')}`}.`;
  },
});
