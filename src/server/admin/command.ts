/**
 * A command of `waxwing`: an entry in a table, served on the command line and over the admin socket. It declares its
 * parameters; `run` returns data as JSON, and `text` formats the data for a terminal.
 *
 * Every call of the program loads the table, so commands import what they need only when they run.
 */
import type { Accounts } from '../accounts/index.js';
import type { Places } from '../config/places.js';
import type { Config } from '../config/schema.js';
import type { CommandDefinition, Failure, Parameters, RawValues } from '../module/cli.js';
import type { ModuleDefinition } from '../module/index.js';
import type { Server } from '../server.js';

export {
  CommandError,
  type Failure,
  type Parameter,
  type Parameters,
  type RawValues,
  type Values,
} from '../module/cli.js';

/**
 * - `server`: in the running server.
 * - `either`: in the running server, or on its configuration and storage if none runs.
 * - `local`: in the calling program.
 */
export type Where = 'server' | 'either' | 'local';

/** For commands that also run without a server. */
export interface Context {
  readonly config: Config;
  /** All modules, running or not. */
  readonly modules: readonly ModuleDefinition[];
  /** The running server, if the command runs in it. */
  readonly server: Server | undefined;
  /** The accounts; opens the storage if no server runs. */
  accounts(): Promise<Accounts>;
  /** The running server, or one without ports on the storage. */
  opened(): Promise<Server>;
  /** Reports progress to the caller. */
  progress(text: string): void;
  /** Sends a piece of the output to the caller. Resolves once there is room for more. */
  output(text: string): Promise<void>;
}

/** How the server was started, to start another one the same way. */
export interface Launch {
  readonly file: string | undefined;
  /** The data folder, if given on the command line. */
  readonly data: string | undefined;
  /** Base of relative paths if there is no configuration file. */
  readonly folder: string;
}

export interface ServerContext extends Context {
  readonly server: Server;
  readonly launch: Launch;
  /** Stops the server. Resolves once everything is durable and another server may start. */
  shutdown(progress: (text: string) => void): Promise<void>;
}

export interface Command extends CommandDefinition<Parameters, never, never> {
  readonly where: Where;
  readonly parameters: Parameters;
}

/** The program as a local command sees it: paths of its server, and the terminal. */
export interface Terminal {
  /** Paths of the server's files. Throws ConfigError if the configuration cannot be read. */
  places(options?: { readonly lenient?: boolean }): Promise<Places>;
  /** Absolute paths from the command line. */
  readonly given: { readonly file: string | undefined; readonly data: string | undefined };
  /** All known commands; prints a warning if some cannot be loaded. */
  commands(): Promise<readonly Command[]>;
  /** Prints progress to standard error. */
  progress(text: string): void;
  /**
   * Runs a command in the server, or on its storage if none runs. `output` gets what it sends besides its data. Rejects with
   * CommandError.
   */
  call(command: Command, raw: RawValues, output?: (text: string) => Promise<void>): Promise<unknown>;
  /** Prints data to standard output before the command ends. */
  print(data: unknown, text: string): void;
}

const made =
  <C>(where: Where) =>
  <const P extends Parameters, D>(definition: CommandDefinition<P, C, D>): Command =>
    ({ parameters: {}, ...definition, where }) as unknown as Command;

export const serverCommand = made<ServerContext>('server');
export const eitherCommand = made<Context>('either');
export const localCommand = made<Terminal>('local');

/** Names of the commands in local.ts, which modules may not use. */
export const localNames = ['start', 'restart', 'check', 'completion', 'help', 'version'] as const;

/** Exit codes. */
export const exitCodes = {
  done: 0,
  failed: 1,
  usage: 2,
  notRunning: 3,
  errorsFound: 4,
  /** sysexits(3), EX_TEMPFAIL: systemd and containers restart the server (`Restart=on-failure`). */
  restart: 75,
} as const;

export function exitCodeOf(failure: Failure): number {
  switch (failure) {
    case 'usage':
      return exitCodes.usage;
    case 'not-running':
      return exitCodes.notRunning;
    case 'configuration':
      return exitCodes.errorsFound;
    default:
      return exitCodes.failed;
  }
}
