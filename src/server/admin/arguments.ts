/** Parses a command line with the table of commands. */
import { nearest } from '../nearest.js';
import { type Command, CommandError, type Parameter, type RawValues } from './command.js';

/** Options of every command. */
export const globalOptions: Readonly<Record<string, Parameter & { readonly value?: string }>> = {
  config: {
    type: 'text',
    value: 'FILE',
    description: 'The configuration file. Default: waxwing.toml, then /etc/waxwing/waxwing.toml.',
  },
  data: { type: 'text', value: 'FOLDER', description: 'The data folder, instead of the configured one.' },
  json: { type: 'flag', description: 'Prints JSON.' },
  help: { type: 'flag', description: 'Shows help for the command.' },
};

/** For commands that ask for confirmation. */
const yesOption: Parameter = { type: 'flag', description: 'Does not ask for confirmation.' };
/** For commands that take a password. */
const stdinOption: Parameter = {
  type: 'flag',
  description: 'Reads the password from the first line of standard input.',
};

/** The options of a command on the command line, by name. */
export function optionsOf(command: Command): Readonly<Record<string, Parameter & { readonly value?: string }>> {
  const own = Object.entries(command.parameters).filter(([, { positional, type }]) => !positional && type !== 'secret');
  return {
    ...Object.fromEntries(own),
    ...(secretOf(command) !== undefined && { [`${secretOf(command)}-stdin`]: stdinOption }),
    ...(command.confirm !== undefined && { yes: yesOption }),
    ...globalOptions,
  };
}

export function positionalsOf(command: Command): readonly (readonly [string, Parameter])[] {
  return Object.entries(command.parameters).filter(([, { positional }]) => positional);
}

/** The name of the secret parameter. Returns undefined if there is none. */
export function secretOf({ parameters }: Command): string | undefined {
  return Object.entries(parameters).find(([, { type }]) => type === 'secret')?.[0];
}

export interface Call {
  /** Undefined if no command was given. */
  readonly command: Command | undefined;
  readonly raw: RawValues;
  readonly config: string | undefined;
  readonly data: string | undefined;
  readonly json: boolean;
  readonly help: boolean;
  readonly yes: boolean;
  readonly secretFromStdin: boolean;
}

/** Parses a command line. Throws CommandError('usage'). */
export function readArguments(commands: readonly Command[], args: readonly string[]): Call {
  const options: Record<string, unknown> = {};
  const left = [...args];
  const readOption = (known: Readonly<Record<string, Parameter>>) => {
    const word = left.shift()!;
    const [, written = word, attached] = /^--([^=]*)(?:=(.*))?$/s.exec(word) ?? [];
    const parameter = Object.hasOwn(known, written) ? known[written] : undefined;
    if (parameter === undefined) throw unknownOption(written, Object.keys(known));
    if (parameter.type === 'flag') {
      if (attached !== undefined) throw usage(`--${written} takes no value`);
      options[written] = true;
      return;
    }
    const value = attached ?? left.shift();
    if (value === undefined) throw usage(`--${written} needs a value`);
    options[written] = parameter.type === 'count' ? wholeNumber(written, value) : value;
  };
  const isOption = () => left[0]?.startsWith('-') === true && left[0] !== '-' && left[0] !== '--';

  while (isOption()) {
    if (left[0] === '-h') left[0] = '--help';
    if (left[0] === '--version' || left[0] === '-v') left[0] = 'version';
    else readOption(globalOptions);
  }
  const command = takeCommand(commands, left, options.help === true);
  if (command?.name === 'help') options.help = false;
  const given: string[] = [];
  const known = command === undefined ? globalOptions : optionsOf(command);
  while (left.length > 0) {
    if (left[0] === '--') {
      given.push(...left.splice(0).slice(1));
    } else if (left[0] === '-h') left[0] = '--help';
    else if (isOption()) readOption(known);
    else given.push(left.shift()!);
  }
  const { config, data, json = false, help = false, yes = false, ...own } = options;
  const secret = command && secretOf(command);
  const secretFromStdin = secret !== undefined && own[`${secret}-stdin`] === true;
  delete own[`${secret}-stdin`];
  const raw = help || command === undefined ? own : { ...own, ...place(command, given) };
  return { command, raw, config, data, json, help, yes, secretFromStdin } as Call;
}

/** Takes the words of a command from the front. Returns undefined if there are none. Throws CommandError('usage'). */
function takeCommand(commands: readonly Command[], left: string[], wantsHelp: boolean): Command | undefined {
  if (left.length === 0) return undefined;
  for (const words of [2, 1]) {
    const name = left.slice(0, words).join(' ');
    const command = commands.find((one) => one.name === name);
    if (command !== undefined) {
      left.splice(0, words);
      return command;
    }
  }
  const [first = '', second = ''] = left;
  const group = commands.filter(({ name }) => name.startsWith(`${first} `)).map(({ name }) => name);
  if (group.length > 0 && (wantsHelp || second === '--help' || second === '-h')) return takeHelp(commands, left, first);
  const known = group.length > 0 ? group : commands.map(({ name }) => name);
  const written = group.length > 0 ? `${first} ${second}`.trim() : first;
  const meant = nearest(written, known) ?? (group.length > 0 ? undefined : nearest(`${first} ${second}`, known));
  const hint =
    meant !== undefined ? `did you mean ${meant}?` : group.length > 0 ? `use ${group.join(', ')}` : 'see waxwing help';
  throw usage(`unknown command: ${written}; ${hint}`);
}

/** `waxwing user --help` is `waxwing help user`. */
function takeHelp(commands: readonly Command[], left: string[], group: string): Command | undefined {
  const [, second] = left;
  // Options may follow, such as --config; a word that is not part of a command is ignored.
  if (second === '--help' || second === '-h') left.splice(0, 2, group);
  else left.splice(0, second?.startsWith('-') === false ? 2 : 1, group);
  return commands.find(({ name }) => name === 'help');
}

/** Assigns positional values to parameters. Optional parameters before required ones may be missing. */
function place(command: Command, given: readonly string[]): RawValues {
  const slots = positionalsOf(command);
  // the words of a command name are one value
  const values = command.name === 'help' && given.length > 0 ? [given.join(' ')] : [...given];
  const raw: Record<string, unknown> = {};
  slots.forEach(([name, { required, choices, type }], index) => {
    const requiredAfter = slots.slice(index).filter(([, parameter]) => parameter.required).length;
    if (!required && values.length <= requiredAfter) return;
    const value = values.shift();
    if (value === undefined) throw usage(`missing argument ${name.toUpperCase()}; see waxwing help ${command.name}`);
    if (choices !== undefined && !choices.includes(value))
      throw usage(`invalid ${name} ${JSON.stringify(value)}; use one of ${choices.join(', ')}`);
    raw[name] = type === 'count' ? wholeNumber(name, value) : value;
  });
  if (values.length > 0)
    throw usage(`unexpected argument ${JSON.stringify(values[0])}; see waxwing help ${command.name}`);
  return raw;
}

function wholeNumber(name: string, text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw usage(`${name}: ${JSON.stringify(text)} is not a whole number`);
  return Number(text);
}

function unknownOption(written: string, known: readonly string[]): CommandError {
  if (written === 'password') return usage('other users can read a password on the command line; use --password-stdin');
  const meant = nearest(written, known);
  const option = written.startsWith('-') ? written : `--${written}`;
  return usage(`unknown option ${option}${meant === undefined ? '' : `; did you mean --${meant}?`}`);
}

const usage = (message: string) => new CommandError('usage', message);
