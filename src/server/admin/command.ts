/**
 * What a command of `waxwing` is: one entry of a table, served on the command line and over the admin socket. The entry
 * says what it takes and gives; `run` makes data, which is JSON, and `text` puts the data into words for a terminal.
 *
 * The table is loaded by every call of the program, so what a command needs besides types is imported where it runs.
 */
import type { Accounts } from '../accounts/index.js';
import type { Places } from '../config/places.js';
import type { Config } from '../config/schema.js';
import type { CommandDefinition, Failure, Parameters } from '../module/cli.js';
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
 * - `either`: in the running server, or on its configuration and storage where none runs.
 * - `local`: in the program that was called.
 */
export type Where = 'server' | 'either' | 'local';

/** For commands that run without the server too. */
export interface Context {
  readonly config: Config;
  /** Every module that there is, running or not. */
  readonly modules: readonly ModuleDefinition[];
  /** The running server, if this is it. */
  readonly server: Server | undefined;
  /** The accounts; opens the storage where no server has it open. */
  accounts(): Promise<Accounts>;
  /** Tells whoever waits how far it is. */
  progress(text: string): void;
}

/** How the server was started, so that another can be started like it. */
export interface Launch {
  readonly file: string | undefined;
  /** The data folder, where the command line named it. */
  readonly data: string | undefined;
  /** Where paths begin if there is no configuration file. */
  readonly folder: string;
}

export interface ServerContext extends Context {
  readonly server: Server;
  readonly launch: Launch;
  /** Stops the server; resolves when all is on disk and another may start. */
  shutdown(progress: (text: string) => void): Promise<void>;
}

export interface Command extends CommandDefinition<Parameters, never, never> {
  readonly where: Where;
  readonly parameters: Parameters;
}

/** The program as a local command sees it: where its server lies, and who sits before it. */
export interface Terminal {
  /** Where the server's things lie. Throws ConfigError where the configuration cannot be read. */
  places(options?: { readonly lenient?: boolean }): Promise<Places>;
  /** What the command line says of them, in whole paths. */
  readonly given: { readonly file: string | undefined; readonly data: string | undefined };
  /** All commands that the program knows; those that cannot be had are told of. */
  commands(): Promise<readonly Command[]>;
  /** To standard error: what happens while one waits. */
  progress(text: string): void;
  /** To standard output: data of a command that goes on, as it would be printed at the end. */
  print(data: unknown, text: string): void;
}

const made =
  <C>(where: Where) =>
  <const P extends Parameters, D>(definition: CommandDefinition<P, C, D>): Command =>
    ({ parameters: {}, ...definition, where }) as unknown as Command;

export const serverCommand = made<ServerContext>('server');
export const eitherCommand = made<Context>('either');
export const localCommand = made<Terminal>('local');

/** Names of the commands of local.ts, for whoever must not have them. */
export const localNames = ['start', 'restart', 'check', 'completion', 'help', 'version'] as const;

/** What the program ends with. */
export const exitCodes = {
  done: 0,
  failed: 1,
  usage: 2,
  notRunning: 3,
  errorsFound: 4,
  /** sysexits(3), EX_TEMPFAIL: systemd and containers start the server again (`Restart=on-failure`). */
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
