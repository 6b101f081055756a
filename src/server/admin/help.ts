/** What the program says of its commands, on a terminal and as docs/cli.md. */

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
    'waxwing help COMMAND explains one.',
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

/** `user add JID`: the words and what stands by its place. */
function usageOf(command: Command): string {
  const slots = positionalsOf(command).map(([name, { required }]) => {
    const slot = name.toUpperCase();
    return required ? slot : `[${slot}]`;
  });
  return [command.name, ...slots].join(' ');
}

const whereText: Readonly<Record<Command['where'], string>> = {
  server: 'Needs the running server.',
  either: 'Works on the running server, or where none runs on its configuration and storage.',
  local: 'Needs no running server.',
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
    '<!-- Made from the table of commands by `npm run docs`; changes belong there. -->',
    '# Commands',
    '`waxwing COMMAND …` starts and stops the server, looks for problems, and administers accounts and sessions. Commands reach the running server over a Unix socket in its data folder (`admin.socket` in the configuration), which only its own user can open. Commands on accounts and configuration work without a running server too: they then open the storage themselves, alone, and end with an error if another program has it.',
    'A command finds the server by the same configuration that the server was started with: `--config`, else `waxwing.toml` in the working directory, else `/etc/waxwing/waxwing.toml`, else the defaults.',
    'Passwords are never taken from the command line, where others could read them, and never logged: they are asked for on a terminal without showing them, read from standard input (`--password-stdin`), or chosen by the program (`--generate`).',
    '## Options of all commands',
    optionTable(globalOptions),
    '## Exit codes',
    table(
      ['Code', 'Meaning'],
      [
        [String(exitCodes.done), 'Done.'],
        [String(exitCodes.failed), 'It failed; standard error says why.'],
        [String(exitCodes.usage), 'It was called wrongly.'],
        [String(exitCodes.notRunning), 'It needs the running server, and none runs.'],
        [String(exitCodes.errorsFound), '`check` found errors, or the configuration has errors.'],
        ['130', '`start` was ended at once by a second SIGINT.'],
      ],
    ),
    'With `--json`, standard output has one JSON value: the data of the command, or `{"error": {"code", "message"}}`.',
    '## The server as a process',
    '`waxwing start` runs in the foreground, for a terminal, systemd or a container. SIGTERM and SIGINT let it end in order, a second SIGINT at once, SIGHUP makes it read its configuration and certificates again. `waxwing start --background` and `waxwing restart` leave it running by itself; what it would print goes to `log.file`, or to `waxwing.log` in the data folder. Two servers cannot have one data folder.',
    'The first start of all, when there is no account, makes one for the administrator (the first of `admins` in the configuration, else `admin@` the first host) and prints its random password. It is shown this once, and only where it is not kept: not if standard output is a file or the journal of systemd. Then nothing is made, and the server tells how.',
    ...commands.flatMap(section),
    '## Over the socket',
    `Every command that is not local is also \`POST\` over the socket, with its values as a JSON object, and answers \`{"result": …}\` or \`{"error": {"code", "message"}}\`. With \`Accept: ${linesType}\` the answer is lines: \`{"progress": "…"}\` as long as it takes, then the same. For instance:`,
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
