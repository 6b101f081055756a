/** Commands that run in the calling program: starting the server, checks, and information about the program. */
import { readFile } from 'node:fs/promises';
import { columns, paragraph } from '../words.js';
import { CommandError, exitCodes, localCommand } from './command.js';
import { place } from './running.js';
import type { Started } from './started.js';

export const start = localCommand({
  name: 'start',
  summary: 'Runs the server',
  details:
    'Runs in the foreground until SIGTERM or SIGINT (Ctrl-C), then closes client connections cleanly and exits; a second SIGINT ends it at once. SIGHUP reloads. The very first start, when there are no accounts, creates one for the administrator and prints its password, once, to a terminal or a pipe.',
  parameters: {
    background: { type: 'flag', description: 'Returns once the server is ready; its output goes to its log file.' },
  },
  async run(terminal, { background }): Promise<Started | undefined> {
    const { socket } = await terminal.places();
    const { isAnswering } = await import('./client.js');
    if (await isAnswering(socket))
      throw new CommandError('conflict', `a server is already running: it replies at ${socket}`);
    if (background) return (await import('./background.js')).startInBackground(terminal);
    const { runServer } = await import('./start.js');
    return runServer(terminal, startedText);
  },
  text: (started) => (started === undefined ? '' : startedText(started)),
  // The server sets it if it did not stop cleanly, or requests a restart.
  exitCode: () => (typeof process.exitCode === 'number' ? process.exitCode : exitCodes.done),
});

export const restart = localCommand({
  name: 'restart',
  summary: 'Stops the server and starts it in the background with the same options',
  details:
    'Its output goes to its log file. If no server is running, one is started. Servers run by systemd or a container are refused, because those would start a second one.',
  async run(terminal): Promise<Started> {
    const { restart } = await import('./background.js');
    return restart(terminal);
  },
  text: (started) => startedText(started),
});

export const check = localCommand({
  name: 'check',
  summary: 'Checks for problems: configuration, certificates, ports, storage, clock, DNS, federation, limits',
  details: 'Changes nothing. Exits with code 4 if it finds errors.',
  parameters: {
    full: { type: 'flag', description: 'Reads the whole database, whatever its size.' },
  },
  async run(terminal, { full }) {
    const { check } = await import('./check/index.js');
    return check(terminal, full);
  },
  text({ findings, errors, warnings }) {
    const marks = { ok: 'ok     ', note: 'note   ', warning: 'WARNING', error: 'ERROR  ' };
    const lines = findings.flatMap(({ level, area, what, why, advice }) => [
      `${marks[level]}  ${area}: ${what}`,
      ...[why, advice].flatMap((text) => (text === undefined ? [] : [paragraph(text, 100, '           ')])),
    ]);
    const sum = errors + warnings === 0 ? 'No problems.' : `Errors: ${errors}, warnings: ${warnings}.`;
    return [...lines, sum].join('\n');
  },
  exitCode: ({ errors }) => (errors > 0 ? exitCodes.errorsFound : exitCodes.done),
});

export const completion = localCommand({
  name: 'completion',
  summary: 'Prints a completion script for a shell',
  details:
    'bash: put `source <(waxwing completion bash)` into ~/.bashrc. zsh: put `source <(waxwing completion zsh)` into ~/.zshrc, after compinit. fish: `waxwing completion fish > ~/.config/fish/completions/waxwing.fish`.',
  parameters: {
    shell: {
      type: 'text',
      positional: true,
      required: true,
      choices: ['bash', 'zsh', 'fish'],
      description: 'The shell.',
    },
  },
  async run(terminal, { shell }) {
    const { completionScript } = await import('./completion.js');
    const commands = await terminal.commands();
    return { script: completionScript(shell, commands) };
  },
  text: ({ script }) => script.trimEnd(),
});

export const help = localCommand({
  name: 'help',
  summary: 'Lists the commands, or explains one',
  parameters: {
    command: { type: 'text', positional: true, description: 'The words of a command, such as user add.' },
  },
  async run(terminal, { command: words }) {
    const { explain, overview } = await import('./help.js');
    const commands = await terminal.commands();
    if (words === undefined) return { help: overview(commands) };
    const found = commands.filter(({ name }) => name === words || name.startsWith(`${words} `));
    if (found.length === 0) throw new CommandError('usage', `unknown command: ${words}; see waxwing help`);
    return { help: found.length === 1 ? explain(found[0]!) : overview(found) };
  },
  text: ({ help }) => help,
});

export const version = localCommand({
  name: 'version',
  summary: 'Prints the version',
  async run() {
    const file = new URL('../../../../package.json', import.meta.url);
    const { version } = JSON.parse(await readFile(file, 'utf8')) as { version: string };
    return { version, node: process.version };
  },
  text: ({ version, node }) => `Waxwing ${version}, Node ${node}`,
});

/** Warning if the configuration or its modules have errors. */
export const withoutModules = (why: string): string =>
  `Commands of modules loaded by the configuration are missing: ${why}`;

const purposes: Readonly<Record<string, string>> = {
  c2s: 'clients (STARTTLS)',
  c2s_tls: 'clients (TLS)',
  s2s: 'servers (STARTTLS)',
  s2s_tls: 'servers (TLS)',
  https: 'HTTPS, WebSocket',
  http: 'HTTP for a proxy',
};

const own = (invitation: string | null): string =>
  invitation === null
    ? ''
    : `\nFor an administrator with a name of your own, open this page within a day:\n  ${invitation}`;

/** The output of a server that has started. */
function startedText({ version, pid, background, hosts, listening, webClients, admin, advice }: Started): string {
  const ports = listening.map(({ kind, address, port }) => [`  ${purposes[kind] ?? kind}`, place(address, port)]);
  const pages = webClients.slice(0, 5).map((url) => ['  web client', url]);
  const log = background === null ? '' : `\nIt runs in the background as process ${pid}; its log is ${background}.`;
  const account =
    admin === null
      ? ''
      : `\n\nThe first account was created, an administrator:\n${columns([
          ['  address', admin.jid],
          ['  password', admin.password],
          ...webClients.slice(0, 1).map((url) => ['  web client', url]),
        ])}\nThe password is shown only once. Change it in your client, or with: waxwing user passwd ${admin.jid}${own(admin.invitation)}`;
  const next = advice.map((text) => `\n${text}`).join('');
  return `Waxwing ${version} serves ${hosts.slice(0, 5).join(', ')}${hosts.length > 5 ? ' …' : ''}.\n${columns([...ports, ...pages])}${log}${account}\n${next}`;
}
