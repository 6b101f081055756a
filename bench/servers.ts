/**
 * Compares whole servers: runs every scenario of a load generator against Waxwing, and in turn against Prosody and
 * ejabberd if they can be started. Prints a table of medians with Waxwing's targets. The generator is a program that
 * drives a server over standard XMPP and reads its CPU time:
 *
 *     node dist/bench/servers.js --generator PROGRAM [--peers FOLDER] [--only PATTERN] [--repeat 3] [--seconds 5]
 *
 * FOLDER has `prosody.sh` and `ejabberd.sh`. Each is called with a working folder, a port (TLS on the next, WebSocket
 * on the one after) and `bare` or `full` (with an archive), and prints `pid=N`. Each run adds a line to
 * bench/history.jsonl. The speed of the machine during the run is measured too (yardstick.ts).
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { appendFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { median } from './measure.js';
import { yardstick } from './yardstick.js';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../../', import.meta.url));

type Mode = 'plain' | 'starttls' | 'tls' | 'ws';
/** `bare` servers have only chat; `full` ones have archive, rooms and everything else. */
type Setting = 'bare' | 'full';

interface Row {
  readonly title: string;
  readonly setting: Setting;
  readonly mode: Mode;
  readonly args: readonly string[];
  /** The generator's name of the figure. */
  readonly metric: string;
  /** Number of accounts with empty stores that it needs. */
  readonly newUsers?: number;
  /** What Waxwing must reach. */
  readonly target?: number;
  readonly aim?: number;
}

interface Server {
  readonly name: string;
  readonly setting: Setting;
  readonly port: number;
  readonly pid: number;
  readonly path: string;
  stop(): Promise<void>;
}

const { values: given } = parseArgs({
  options: {
    generator: { type: 'string' },
    peers: { type: 'string' },
    only: { type: 'string', default: '' },
    repeat: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '5' },
  },
});
if (given.generator === undefined) throw new Error('a load generator is required: --generator PROGRAM');
const generator = given.generator;
const stretch = ['--warm', '1s', '--dur', `${given.seconds}s`];
const real = ['--to', 'bare', '--real', '--sm', '--carbons'];

const rows: readonly Row[] = [
  chat('chat, window 8: µs a message', 'plain', ['--window', '8'], 20, 12),
  chat('chat, window 1', 'plain', ['--window', '1'], 28, 18),
  chat('chat over TLS, window 8', 'tls', ['--window', '8'], 26, 18),
  chat('chat over WebSocket, window 8', 'ws', ['--window', '8'], 28, 18),
  full(
    'chat with archive, carbons, acks, receipts: µs a message',
    ['chat', ...stretch, '--window', '4', ...real],
    'srv_cpu_us_per_msg',
    100,
    60,
  ),
  full('the same: messages a second', ['chat', ...stretch, '--window', '4', ...real], 'msg_per_s'),
  full(
    'the same, two devices each: µs a message',
    ['chat', ...stretch, '--window', '4', ...real, '--resources', '2'],
    'srv_cpu_us_per_msg',
    150,
    90,
  ),
  bare('delay at 500 messages a second: p99, ms', ['latency', ...stretch, '--rate', '500'], 'msg_p99_ms', 1.4, 0.8),
  bare('delay at 2,000 messages a second: p99, ms', ['latency', ...stretch, '--rate', '2000'], 'msg_p99_ms', 1.4, 0.8),
  full(
    'delay at 500 a second with archive, carbons, acks: p99, ms',
    ['latency', ...stretch, '--rate', '500', ...real],
    'msg_p99_ms',
    8,
    4,
  ),
  full(
    'room of 100: µs a delivery',
    ['muc', ...stretch, '--k', '100', '--window', '4'],
    'srv_cpu_us_per_delivery',
    9,
    5,
  ),
  full(
    'room of 500: µs a delivery',
    ['muc', ...stretch, '--k', '500', '--window', '2', '--senders', '10'],
    'srv_cpu_us_per_delivery',
    8,
    5,
  ),
  full(
    'room of 500: CPU ms a join',
    ['muc', ...stretch, '--k', '500', '--window', '2', '--senders', '10'],
    'join_srv_cpu_ms_per_join',
    5,
    3,
  ),
  bare('presence: µs an update delivered', ['presence', '--n', '102'], 'srv_cpu_us_per_update_delivery', 10, 6),
  bare('presence: CPU ms a login with 50 contacts', ['presence', '--n', '102'], 'srv_cpu_ms_per_login', 1.8, 1.2),
  bare('PEP: µs a notification', ['pep', '--n', '102'], 'srv_cpu_us_per_notification', 15, 9),
  stored('offline: µs to store a message', ['offline', '--n', '10000'], 'srv_cpu_us_per_store_msg', 60, 35),
  stored('offline: µs to deliver a message', ['offline', '--n', '10000'], 'deliver_srv_cpu_us_per_msg', 18, 10),
  stored('archive of 5,000: CPU ms a page of 50', ['mam', '--n', '5000'], 'page_through_srv_cpu_ms_per_page', 1.5, 0.8),
  stored(
    'archive of 20,000: CPU ms a page of 50',
    ['mam', '--n', '20000'],
    'page_through_srv_cpu_ms_per_page',
    1.5,
    0.8,
  ),
  bare('login: µs', ['login', '--n', '2000'], 'srv_cpu_us_per_login', 800, 500),
  bare('login, STARTTLS: µs', ['login', '--n', '1000'], 'srv_cpu_us_per_login', 1600, 1300, 'starttls'),
  bare('login, direct TLS: µs', ['login', '--n', '1000'], 'srv_cpu_us_per_login', 1500, 1200, 'tls'),
  bare('stream resumption: µs', ['login', '--n', '2000', '--resume'], 'srv_cpu_us_per_resume', 400, 250),
];

function bare(
  title: string,
  args: readonly string[],
  metric: string,
  target?: number,
  aim?: number,
  mode: Mode = 'plain',
): Row {
  return {
    title,
    setting: 'bare',
    mode,
    args,
    metric,
    ...(target !== undefined && { target }),
    ...(aim !== undefined && { aim }),
  };
}

function full(title: string, args: readonly string[], metric: string, target?: number, aim?: number): Row {
  return { ...bare(title, args, metric, target, aim), setting: 'full' };
}

/** Uses accounts with empty stores. */
function stored(title: string, args: readonly string[], metric: string, target: number, aim: number): Row {
  return { ...full(title, args, metric, target, aim), newUsers: 100 };
}

function chat(title: string, mode: Mode, args: readonly string[], target: number, aim: number): Row {
  return bare(title, ['chat', ...stretch, ...args], 'srv_cpu_us_per_msg', target, aim, mode);
}

const work = mkdtempSync(join(tmpdir(), 'waxwing-bench-'));
const users = 3000;
/** The first account with empty stores. */
let nextUser = 300;
/** Two cliques of 51 give each member 50 contacts. */
const friends = 102;

async function generate(server: Server, mode: Mode, args: readonly string[]): Promise<Record<string, number>> {
  const port = { plain: server.port, starttls: server.port, tls: server.port + 1, ws: server.port + 2 }[mode];
  const [scenario = '', ...rest] = args;
  const { stdout } = await run(
    generator,
    [scenario, '--port', String(port), '--pids', String(server.pid), '--mode', mode, '--ws-path', server.path, ...rest],
    { maxBuffer: 2 ** 24, timeout: 280_000 },
  );
  const line = stdout.split('\n').findLast((text) => text.startsWith('{'));
  if (line === undefined) throw new Error(`the generator printed no figures: ${stdout.slice(-300)}`);
  return (JSON.parse(line) as { metrics: Record<string, number> }).metrics;
}

async function waxwing(setting: Setting, port: number): Promise<Server> {
  const folder = join(work, `waxwing-${setting}`);
  mkdirSync(folder);
  const settings = readFileSync(join(root, 'conf/loadtest.toml'), 'utf8')
    .replace('../data-loadtest', join(folder, 'data'))
    .replace(':5222', `:${port}`)
    .replace(':5223', `:${port + 1}`)
    .replace(':5280', `:${port + 2}`);
  const without =
    setting === 'bare'
      ? '\n[modules]\ndisabled = ["mam", "mam_prefs", "retraction", "inbox", "mam_trim", "muc", "offline"]\n'
      : '';
  const file = join(folder, 'waxwing.toml');
  writeFileSync(file, settings + without);
  const child = spawn(
    process.execPath,
    ['--max-semi-space-size=32', '--expose-gc', join(root, 'bin/waxwing.js'), 'start', '--config', file],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  await new Promise<void>((resolve, reject) => {
    child.stdout.once('data', () => resolve());
    child.once('exit', (code) => reject(new Error(`Waxwing ended with ${code}`)));
  });
  await listens(port);
  return { name: 'Waxwing', setting, port, pid: child.pid!, path: '/xmpp-websocket', stop: () => ended(child) };
}

const ended = (child: ChildProcess): Promise<void> =>
  new Promise((resolve) => {
    child.removeAllListeners('exit');
    child.once('exit', () => resolve());
    child.kill('SIGTERM');
  });

async function listens(port: number): Promise<void> {
  const { connect } = await import('node:net');
  for (let tries = 0; ; tries++) {
    const isOpen = await new Promise<boolean>((resolve) => {
      const socket = connect(port, '127.0.0.1', () => resolve(true)).once('error', () => resolve(false));
      socket.once('connect', () => socket.destroy());
    });
    if (isOpen) return;
    if (tries > 300) throw new Error(`nothing listens on port ${port}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** Returns undefined if the server is not installed or does not start. */
async function peer(name: 'Prosody' | 'ejabberd', setting: Setting, port: number): Promise<Server | undefined> {
  if (given.peers === undefined) return undefined;
  try {
    const script = join(given.peers, `${name.toLowerCase()}.sh`);
    const { stdout } = await run(script, [join(work, `${name}-${setting}`), String(port), setting], {
      timeout: 120_000,
    });
    const pid = Number(/pid=(\d+)/.exec(stdout)?.[1]);
    await listens(port);
    const path = name === 'ejabberd' ? '/ws' : '/xmpp-websocket';
    return { name, setting, port, pid, path, stop: async () => void process.kill(pid, 'SIGTERM') };
  } catch (error) {
    console.error(`${name} is skipped: ${String(error).split('\n')[0]}`);
    return undefined;
  }
}

const shown = (figure: number | undefined): string =>
  figure === undefined ? '–' : figure >= 100 ? Math.round(figure).toLocaleString('en') : figure.toPrecision(2);

const wanted = rows.filter(({ title }) => new RegExp(given.only).test(title));
const servers: Server[] = [];
try {
  let port = 15_300;
  for (const setting of ['bare', 'full'] as const) {
    if (!wanted.some((row) => row.setting === setting)) continue;
    for (const start of [
      waxwing,
      (s: Setting, p: number) => peer('Prosody', s, p),
      (s: Setting, p: number) => peer('ejabberd', s, p),
    ]) {
      const server = await start(setting, port);
      port += 100;
      if (server === undefined) continue;
      servers.push(server);
      await generate(server, 'plain', ['accounts', '--n', String(users)]);
      await generate(server, 'plain', ['befriend', '--n', String(friends)]);
    }
  }
  const names = [...new Set(servers.map(({ name }) => name))];
  const figures = new Map<string, number[]>();
  /** How many times slower this machine is now than the reference machine. */
  const slowness = new Map<string, number[]>();
  const measureMachine = () => {
    for (const { title, times } of yardstick()) slowness.set(title, [...(slowness.get(title) ?? []), times]);
  };
  for (let n = 0; n < Number(given.repeat); n++) {
    /** Results of scenarios that several rows share. */
    const done = new Map<string, Record<string, number>>();
    measureMachine();
    for (const row of wanted) {
      for (const server of servers.filter(({ setting }) => setting === row.setting)) {
        const key = `${row.title}\n${server.name}`;
        const scenario = `${server.name} ${row.setting} ${row.mode} ${row.args.join(' ')}`;
        try {
          let metrics = done.get(scenario);
          if (metrics === undefined) {
            const base = row.newUsers === undefined ? [] : ['--base', String(nextUser)];
            metrics = await generate(server, row.mode, [...row.args, ...base]);
            done.set(scenario, metrics);
          }
          const figure = metrics[row.metric];
          if (figure !== undefined) figures.set(key, [...(figures.get(key) ?? []), figure]);
          console.error(`${server.name}, ${row.title}: ${shown(figure)}`);
        } catch (error) {
          console.error(`${server.name}, ${row.title}: ${String(error).slice(0, 300)}`);
        }
      }
      nextUser += row.newUsers ?? 0;
    }
  }
  measureMachine();
  const slow = [...slowness].map(([title, all]) => ({ title, times: median(all) }));
  for (const { title, times } of slow) console.log(`${title}: ${times.toFixed(2)} times the reference`);
  // The minimum, since work in the kernel slows down less than work in the processor.
  const least = Math.min(...slow.map(({ times }) => times));
  const of = (title: string, name: string): number | undefined => {
    const all = figures.get(`${title}\n${name}`);
    return all && median(all);
  };
  const columns = names.map((name) => (name === 'Waxwing' ? `${name} | at the speed of the marks` : `${name} | ×`));
  console.log(`\n| scenario | must | aim | ${columns.join(' | ')} |`);
  console.log(`| --- |${' ---: |'.repeat(2 * names.length + 2)}`);
  for (const { title, metric, target, aim } of wanted) {
    const ours = of(title, 'Waxwing');
    const cells = names.map((name) => {
      const figure = of(title, name);
      if (name === 'Waxwing') {
        const isCpu = metric.includes('srv_cpu') && figure !== undefined;
        return `${shown(figure)} | ${isCpu ? shown(figure / least) : '–'}`;
      }
      return `${shown(figure)} | ${shown(ours === undefined || figure === undefined ? undefined : figure / ours)}`;
    });
    console.log(`| ${title} | ${shown(target)} | ${shown(aim)} | ${cells.join(' | ')} |`);
  }
  const record = {
    date: new Date().toISOString(),
    node: process.version,
    cpu: `${cpus().length} × ${cpus()[0]?.model ?? 'unknown'}`,
    slowness: Object.fromEntries(slowness),
    figures: Object.fromEntries([...figures].map(([key, all]) => [key.replace('\n', ' | '), all])),
  };
  appendFileSync(join(root, 'bench/history.jsonl'), `${JSON.stringify(record)}\n`);
} finally {
  for (const server of servers) await server.stop();
  rmSync(work, { recursive: true, force: true, maxRetries: 10, retryDelay: 200 });
}
