/**
 * `waxwing`: finds the command, runs it, and prints its result. Loads only what the command needs: the server's code
 * only for `start`, or if no server runs.
 */
import { resolve } from 'node:path';
import { findConfigFile, findPlaces, type Places } from '../config/places.js';
import { plain, plainJson } from '../plain.js';
import { type Call, readArguments, secretOf } from './arguments.js';
import { type Command, CommandError, exitCodeOf, exitCodes, type RawValues, type Terminal } from './command.js';
import { ownCommands } from './commands.js';
import type { Known } from './known.js';
import { withoutModules } from './local.js';
import { askNewPassword, askWhether, readLine } from './terminal.js';

/** Runs the program. Resolves with the exit code. `args`: everything after the program's name. */
export async function main(args: readonly string[]): Promise<number> {
  // `waxwing user list | head` closes the pipe early
  for (const output of [process.stdout, process.stderr])
    output.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));
  const isJson = args.includes('--json');
  try {
    return await runCall(await readCall(args));
  } catch (error) {
    const { asCommandError } = await import('./run.js');
    const known = asCommandError(error);
    if (!(known instanceof CommandError)) throw error;
    const { failure, message } = known;
    if (isJson) printJson({ error: { code: failure, message } });
    else process.stderr.write(plain(`${message.includes('\n') ? '' : 'waxwing: '}${message}\n`));
    return exitCodeOf(failure);
  }
}

/**
 * Parses the command line. Loads commands of modules only if the built-in ones do not match. Rejects with
 * CommandError('usage').
 */
async function readCall(args: readonly string[]): Promise<Call> {
  try {
    return readArguments(ownCommands, args);
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    const { commands, missing } = await known(configIn(args));
    try {
      return readArguments(commands, args);
    } catch (error) {
      if (missing === undefined || !(error instanceof CommandError)) throw error;
      throw new CommandError('usage', `${error.message}\n${withoutModules(missing)}`);
    }
  }
}

async function known(config: string | undefined): Promise<Known> {
  const file = config === undefined ? findConfigFile() : resolve(config);
  return (await import('./known.js')).knownCommands(file);
}

function warnOf(missing: string | undefined): void {
  if (missing !== undefined) process.stderr.write(plain(`${withoutModules(missing)}\n`));
}

/** The configuration file on a command line, even if the rest of it is invalid. */
function configIn(args: readonly string[]): string | undefined {
  const at = args.findIndex((arg) => arg === '--config' || arg.startsWith('--config='));
  return at < 0 ? undefined : (/^--config=(.*)$/s.exec(args[at]!)?.[1] ?? args[at + 1]);
}

async function runCall(call: Call): Promise<number> {
  const { command, json } = call;
  if (command === undefined || call.help) {
    const { explain, overview } = await import('./help.js');
    if (command !== undefined) process.stdout.write(`${explain(command)}\n`);
    else {
      const { commands, missing } = await known(call.config);
      process.stdout.write(`${overview(commands)}\n`);
      warnOf(missing);
    }
    return command === undefined && !call.help ? exitCodes.usage : exitCodes.done;
  }
  const terminal = terminalOf(call);
  const raw = await complete(command, call);
  const data = await perform(command, raw, terminal);
  if (data !== undefined) {
    if (json) printJson(data);
    else printText(await command.text(data as never));
  }
  return command.exitCode?.(data as never) ?? exitCodes.done;
}

async function perform(command: Command, raw: RawValues, terminal: Terminal): Promise<unknown> {
  if (command.where === 'local') {
    const flags = Object.entries(command.parameters).filter(([, { type }]) => type === 'flag');
    const values = { ...Object.fromEntries(flags.map(([name]) => [name, false])), ...raw };
    return command.run(terminal as never, values as never);
  }
  return terminal.call(command, raw);
}

/** Asks for a confirmation and a password. */
async function complete(command: Command, { raw, yes, secretFromStdin }: Call): Promise<RawValues> {
  const isInteractive = process.stdin.isTTY === true && process.stderr.isTTY === true;
  if (command.confirm !== undefined && !yes) {
    if (!isInteractive) throw new CommandError('usage', `${command.name} cannot be undone: confirm it with --yes`);
    if (!(await askWhether(command.confirm(raw)))) throw new CommandError('failed', 'nothing was done');
  }
  const secret = secretOf(command);
  if (secret === undefined || raw.generate === true) {
    if (secretFromStdin) throw new CommandError('usage', `--${secret}-stdin and --generate cannot be used together`);
    return raw;
  }
  if (secretFromStdin) return { ...raw, [secret]: await readLine() };
  if (isInteractive) return { ...raw, [secret]: await askNewPassword() };
  throw new CommandError('usage', `no terminal to ask for the password: use --${secret}-stdin or --generate`);
}

function terminalOf({ config, data, json }: Call): Terminal {
  const given = {
    file: config === undefined ? undefined : resolve(config),
    data: data === undefined ? undefined : resolve(data),
  };
  let places: Places | undefined;
  const terminal: Terminal = {
    given,
    async places({ lenient = false } = {}) {
      try {
        if (lenient) return findPlaces({ ...given, lenient });
        places ??= findPlaces(given);
        return places;
      } catch (error) {
        // Throws the error with the line of the mistake.
        const { modulesToLoad } = await import('../config/load.js');
        modulesToLoad({ file: given.file });
        throw error;
      }
    },
    async commands() {
      const { commands, missing } = await known(config);
      warnOf(missing);
      return commands;
    },
    progress: (text) => process.stderr.write(plain(`${text} …\n`)),
    async call(command, raw, output = () => Promise.resolve()) {
      // The running server needs no configuration file, which may be invalid while it is being edited.
      const { socket } = await terminal.places({ lenient: true });
      const { call } = await import('./client.js');
      try {
        return await call(socket, command.name, raw, terminal.progress, output);
      } catch (error) {
        const isMissing = error instanceof CommandError && error.failure === 'not-running';
        if (!isMissing || command.where === 'server') throw error;
        const { runOffline } = await import('./offline.js');
        return runOffline(command, raw, terminal, output);
      }
    },
    print: (value, text) => (json ? printJson(value) : printText(text)),
  };
  return terminal;
}

function printJson(value: unknown): void {
  process.stdout.write(`${plainJson(value)}\n`);
}

function printText(text: string): void {
  if (text !== '') process.stdout.write(`${plain(text)}\n`);
}
