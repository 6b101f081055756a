/**
 * Commands of `waxwing` that a module brings (`cli` of its definition): help, completion, documents and the admin socket have
 * them from there. They run in the server, on whatever hosts there are; a module that does not run says so when it is asked.
 *
 * The program reads them to know its commands, without starting a module: what a command needs besides types and what is
 * here is imported where it runs.
 */
import type { Jid } from '../stanza/jid.js';
import type { Services } from './services.js';

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

/** Bytes that an account or a room stores. */
export interface UsageData {
  readonly archive: number;
  readonly data: number;
  readonly stores: Readonly<Record<string, number>>;
  /** null: no limit. */
  readonly archiveQuota: number | null;
  readonly dataQuota: number | null;
}

/** A host as commands see it. */
export interface CliHost {
  readonly domain: string;
  /** undefined: no running module provides it. */
  provided<K extends keyof Services>(name: K): Services[K] | undefined;
}

/** What a module's command works on. */
export interface CliContext {
  /** Those of the server, in the order of the configuration. */
  readonly hosts: readonly CliHost[];
  usageOf(owner: string): Promise<UsageData>;
  /** Tells whoever waits how far it is. */
  progress(text: string): void;
}

export interface CommandDefinition<P extends Parameters, C, D> {
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

export interface CliCommand extends CommandDefinition<Parameters, never, never> {
  readonly parameters: Parameters;
}

/** A command of a module; inference gives `run` the types of its parameters, and `text` that of the data. */
export const cliCommand = <const P extends Parameters, D>(
  definition: CommandDefinition<P, CliContext, D>,
): CliCommand => ({ parameters: {}, ...definition }) as unknown as CliCommand;

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
