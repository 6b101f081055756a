/** Help texts of the commands, on a terminal and in docs/cli.md. */

import { columns, paragraph } from '../words.js';
import { globalOptions, optionsOf, positionalsOf } from './arguments.js';
import { type Command, exitCodes, type Parameter } from './command.js';
import { linesType, pathOf } from './protocol.js';

export function overview(commands: readonly Command[]): string {
  return [
    'Usage: waxwing COMMAND …',
    columns(commands.map((command) => [`  ${usageOf(command)}`, command.summary])),
    'Options of all commands:',
    columns(optionLines(globalOptions)),
    'waxwing help COMMAND explains a command.',
  ].join('\n\n');
}

export function explain(command: Command): string {
  const slots = positionalsOf(command).map(([name, { description, choices }]) => [
    `  ${name.toUpperCase()}`,
    described(description, choices),
  ]);
  const options = optionLines(optionsOf(command));
  return [
    `Usage: waxwing ${usageOf(command)} [OPTIONS]`,
    paragraph(`${command.summary}.`, 100, ''),
    ...(command.details === undefined ? [] : [paragraph(command.details, 100, '')]),
    paragraph(whereText[command.where], 100, ''),
    ...(slots.length === 0 ? [] : [columns(slots)]),
    `Options:\n\n${columns(options)}`,
  ].join('\n\n');
}

/** `user add JID`: the words and positional parameters. */
function usageOf(command: Command): string {
  const slots = positionalsOf(command).map(([name, { required }]) => {
    const slot = name.toUpperCase();
    return required ? slot : `[${slot}]`;
  });
  return [command.name, ...slots].join(' ');
}

const whereText: Readonly<Record<Command['where'], string>> = {
  server: 'Needs the running server.',
  either: 'Runs in the running server, or on its configuration and storage if none runs.',
  local: 'Does not need a running server.',
};

function optionLines(options: ReturnType<typeof optionsOf>): string[][] {
  return Object.entries(options).map(([name, option]) => [
    `  ${optionUsage(name, option)}`,
    described(option.description, option.choices),
  ]);
}

function optionUsage(name: string, { type, value }: Parameter & { readonly value?: string }): string {
  return type === 'flag' ? `--${name}` : `--${name} ${value ?? (type === 'account' ? 'JID' : name.toUpperCase())}`;
}

function described(description: string, choices: readonly string[] | undefined): string {
  return choices === undefined ? description : `${description} One of ${choices.join(', ')}.`;
}

/** docs/cli.md. */
export function cliReference(commands: readonly Command[]): string {
  const parts = [
    '<!-- Generated from the table of commands by `npm run docs`; do not edit. -->',
    '# Commands',
    '`waxwing COMMAND …` starts and stops the server, checks for problems, and manages accounts and sessions. Commands reach the running server over a Unix socket in its data folder (`admin.socket` in the configuration), which only its own user can open. Commands on accounts and configuration also work without a running server: they then open the storage themselves, and fail if another program has it open.',
    'A command finds the server through the configuration that the server was started with: `--config`, else `waxwing.toml` in the working directory, else `/etc/waxwing/waxwing.toml`, else the defaults.',
    'Passwords are never given on the command line, where other users could read them, and never logged: they are typed on a terminal without echo, read from standard input (`--password-stdin`), or generated (`--generate`).',
    '## Options of all commands',
    optionTable(globalOptions),
    '## Exit codes',
    table(
      ['Code', 'Meaning'],
      [
        [String(exitCodes.done), 'Done.'],
        [String(exitCodes.failed), 'Failed; the reason is on standard error.'],
        [String(exitCodes.usage), 'Invalid command line.'],
        [String(exitCodes.notRunning), 'The command needs the running server, and none is running.'],
        [String(exitCodes.errorsFound), '`check` or `s2s test` found errors, or the configuration has errors.'],
        ['130', 'A second SIGINT ended `start` at once.'],
      ],
    ),
    'With `--json`, the command prints one JSON value: its data, or `{"error": {"code", "message"}}`.',
    '## The server as a process',
    '`waxwing start` runs in the foreground, for a terminal, systemd or a container. SIGTERM and SIGINT stop it cleanly, a second SIGINT at once; SIGHUP reloads configuration and certificates. `waxwing start --background` and `waxwing restart` run it in the background; its output goes to `log.file`, or to `waxwing.log` in the data folder. Two servers cannot share a data folder.',
    'The very first start, when there are no accounts, creates one for the administrator (the first of `admins` in the configuration, else `admin@` the first host) and prints its random password. The password is shown only once, and only where it is not stored: if standard output is a file or the systemd journal, no account is created, and the server prints how to create one.',
    ...commands.flatMap(section),
    '## Over the socket',
    `Every command that is not local is also available as \`POST\` over the socket, with its parameters as a JSON object. The response is \`{"result": …}\` or \`{"error": {"code", "message"}}\`. With \`Accept: ${linesType}\` the response is a line \`{"progress": "…"}\` for each progress report, then the result or error. For example:`,
    `\`\`\`sh\ncurl --unix-socket data/admin.sock -d '{"jid": "alice@example.org", "generate": true}' http://localhost${pathOf('user add')}\n\`\`\``,
  ];
  return `${parts.join('\n\n')}\n`;
}

function section(command: Command): string[] {
  const { name, summary, details, where, parameters } = command;
  const global = Object.keys(globalOptions);
  const rows = [
    ...positionalsOf(command).map(([slot, { description, choices }]) => [
      `\`${slot.toUpperCase()}\``,
      described(description, choices),
    ]),
    ...Object.entries(optionsOf(command))
      .filter(([option]) => !global.includes(option))
      .map(([option, one]) => [`\`${optionUsage(option, one)}\``, described(one.description, one.choices)]),
  ];
  const socket =
    where === 'local' ? '' : ` Over the socket: \`${pathOf(name)}\`${fieldsText(Object.keys(parameters))}.`;
  return [
    `## \`waxwing ${usageOf(command)}\``,
    `${summary}.${details === undefined ? '' : ` ${details}`}`,
    `${whereText[where]}${socket}`,
    ...(rows.length === 0 ? [] : [table(['', 'Meaning'], rows)]),
  ];
}

function fieldsText(fields: readonly string[]): string {
  return fields.length === 0 ? '' : ` with ${fields.map((field) => `\`${field}\``).join(', ')}`;
}

function optionTable(options: ReturnType<typeof optionsOf>): string {
  const rows = Object.entries(options).map(([name, option]) => [
    `\`${optionUsage(name, option)}\``,
    option.description,
  ]);
  return table(['Option', 'Meaning'], rows);
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}
