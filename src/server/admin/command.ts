/**
 * What a command of `waxwing` is: one entry of a table, served on the command line and over the admin socket. The entry
 * says what it takes and gives; `run` makes data, which is JSON, and `text` puts the data into words for a terminal.
 *
 * The table is loaded by every call of the program, so what a command needs besides types is imported where it runs.
 */
import type { Accounts } from '../accounts.js';
import type { Config } from '../config/schema.js';
import type { Server } from '../index.js';
import type { ModuleDefinition } from '../module/index.js';
import type { Jid } from '../stanza/jid.js';
import type { Terminal } from './terminal.js';

/**
 * - `server`: in the running server.
 * - `either`: in the running server, or on its configuration and storage where none runs.
 * - `local`: in the program that was called.
 */
export type Where = 'server' | 'either' | 'local';

/** What a command takes. Its name is the field in JSON, the option `--name`, or the argument `NAME`. */
export interface Parameter {
  /** account: `user@host`. address: that, perhaps with a resource. secret: never an argument of the command line. */
  readonly type: 'text' | 'account' | 'address' | 'count' | 'flag' | 'secret';
  readonly description: string;
  /** It is told apart by its place and not by its name. */
  readonly positional?: true;
  readonly required?: true;
  readonly choices?: readonly string[];
}

export type Parameters = Readonly<Record<string, Parameter>>;

type Plain<P extends Parameter> = P['type'] extends 'account' | 'address'
  ? Jid
  : P['type'] extends 'count'
    ? number
    : P extends { readonly choices: readonly (infer Choice)[] }
      ? Choice
      : string;

type Value<P extends Parameter> = P['type'] extends 'flag'
  ? boolean
  : P extends { readonly required: true }
    ? Plain<P>
    : Plain<P> | undefined;

/** What `run` gets for its parameters. */
export type Values<P extends Parameters> = { readonly [K in keyof P]: Value<P[K]> };

/** Values as they are written and sent: JSON, not yet checked. */
export type RawValues = Readonly<Record<string, unknown>>;

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

interface Definition<P extends Parameters, C, D> {
  /** Its words: `user add`. */
  readonly name: string;
  /** One line, without a full stop. */
  readonly summary: string;
  /** Whole sentences. */
  readonly details?: string;
  readonly parameters?: P;
  /** It changes nothing. */
  readonly reads?: true;
  /** What is asked on a terminal before it runs; elsewhere `--yes` is needed. */
  readonly confirm?: (raw: RawValues) => string;
  /** Throws CommandError for what is the caller's to hear. */
  run(context: C, values: Values<P>): D | Promise<D>;
  /** Without the last line break; empty: nothing is printed. */
  text(data: D): string | Promise<string>;
  /** The exit code where the command worked. */
  exitCode?(data: D): number;
}

export interface Command extends Definition<Parameters, never, never> {
  readonly where: Where;
  readonly parameters: Parameters;
}

const made =
  <C>(where: Where) =>
  <const P extends Parameters, D>(definition: Definition<P, C, D>): Command =>
    ({ parameters: {}, ...definition, where }) as unknown as Command;

export const serverCommand = made<ServerContext>('server');
export const eitherCommand = made<Context>('either');
export const localCommand = made<Terminal>('local');

/** Why a command failed, for programs. */
export type Failure =
  /** It was called wrongly. */
  | 'usage'
  | 'not-found'
  | 'conflict'
  /** No server runs, and the command needs one. */
  | 'not-running'
  /** The configuration cannot be used. */
  | 'configuration'
  | 'busy'
  | 'failed';

export class CommandError extends Error {
  override readonly name = 'CommandError';
  constructor(
    readonly failure: Failure,
    message: string,
  ) {
    super(message);
  }
}

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
