/** Commands that are done by the program that was called: the life of the server, the check, and what tells of the program. */
import { readFile } from 'node:fs/promises';
import { columns, paragraph } from '../words.js';
import { CommandError, exitCodes, localCommand } from './command.js';
import { place } from './running.js';
import type { Started } from './started.js';

export const start = localCommand({
  name: 'start',
  summary: 'Runs the server',
  details:
    'It runs in the foreground until it gets SIGTERM or SIGINT (Ctrl-C), lets clients go in order, and ends; a second SIGINT ends it at once. SIGHUP is reload. The very first start, when there is no account at all, makes one for the administrator and prints its password, once, to a terminal or a pipe.',
  parameters: {
    background: { type: 'flag', description: 'Returns when the server is ready; its output goes to its log file.' },
  },
  async run(terminal, { background }): Promise<Started | undefined> {
    const { socket } = await terminal.places();
    const { isAnswering } = await import('./client.js');
    if (await isAnswering(socket)) throw new CommandError('conflict', `a server runs already: it answers at ${socket}`);
    if (background) return (await import('./background.js')).startInBackground(terminal);
    const { runServer } = await import('./start.js');
    return runServer(terminal, startedText);
  },
  text: (started) => (started === undefined ? '' : startedText(started)),
  // What the server came to on its way: it did not stop in order, or wants to be started again.
  exitCode: () => (typeof process.exitCode === 'number' ? process.exitCode : exitCodes.done),
});

export const restart = localCommand({
  name: 'restart',
  summary: 'Stops the server and starts it in the background as it was started before',
  details:
    'Its output goes to its log file. Where no server runs, one is started. A server that systemd or a container started is left to them, as they would start a second one.',
  async run(terminal): Promise<Started> {
    const { restart } = await import('./background.js');
    return restart(terminal);
  },
  text: (started) => startedText(started),
});

export const check = localCommand({
  name: 'check',
  summary: 'Looks for problems: configuration, certificates, ports, storage, clock, DNS, limits',
  details: 'Changes nothing. Ends with code 4 if it found errors.',
  parameters: {
    full: { type: 'flag', description: 'Reads the whole database, however large it is.' },
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
  summary: 'Prints a script that completes commands in a shell',
  details:
    'bash: put `source <(waxwing completion bash)` into ~/.bashrc. zsh: put `source <(waxwing completion zsh)` into ~/.zshrc, behind compinit. fish: `waxwing completion fish > ~/.config/fish/completions/waxwing.fish`.',
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
  summary: 'Explains the commands, or one of them',
  parameters: {
    command: { type: 'text', positional: true, description: 'The words of a command, such as user add.' },
  },
  async run(terminal, { command: words }) {
    const { explain, overview } = await import('./help.js');
    const commands = await terminal.commands();
    if (words === undefined) return { help: overview(commands) };
    const found = commands.filter(({ name }) => name === words || name.startsWith(`${words} `));
    if (found.length === 0) throw new CommandError('usage', `there is no command ${words}; see waxwing help`);
    return { help: found.length === 1 ? explain(found[0]!) : overview(found) };
  },
  text: ({ help }) => help,
});

export const version = localCommand({
  name: 'version',
  summary: 'Tells the version',
  async run() {
    const file = new URL('../../../../package.json', import.meta.url);
    const { version } = JSON.parse(await readFile(file, 'utf8')) as { version: string };
    return { version, node: process.version };
  },
  text: ({ version, node }) => `Waxwing ${version}, Node ${node}`,
});

/** What the user is told whose configuration or modules have errors. */
export const withoutModules = (why: string): string =>
  `Commands of modules that the configuration loads are not known: ${why}`;

const purposes: Readonly<Record<string, string>> = {
  c2s: 'clients (STARTTLS)',
  c2s_tls: 'clients (TLS)',
  https: 'HTTPS, WebSocket',
  http: 'HTTP for a proxy',
};

/** What a fresh server says of itself. */
function startedText({ version, pid, background, hosts, listening, admin, advice }: Started): string {
  const ports = listening.map(({ kind, address, port }) => [`  ${purposes[kind] ?? kind}`, place(address, port)]);
  const log = background === null ? '' : `\nIt runs in the background as process ${pid}; its log is ${background}.`;
  const account =
    admin === null
      ? ''
      : `\n\nThe first account was made, an administrator:\n${columns([
          ['  address', admin.jid],
          ['  password', admin.password],
        ])}\nThe password is shown this once. Change it in your client, or by: waxwing user passwd ${admin.jid}`;
  const next = advice.map((text) => `\n${text}`).join('');
  return `Waxwing ${version} serves ${hosts.slice(0, 5).join(', ')}${hosts.length > 5 ? ' …' : ''}.\n${columns(ports)}${log}${account}\n${next}`;
}
