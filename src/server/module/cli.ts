/**
 * Commands that a module adds to `waxwing` (`cli` in its definition), also used for help, completion, documentation and
 * the admin socket. They run in the server, on all hosts; if the module is disabled the command reports that.
 *
 * The program reads the declarations without starting a module. What a command needs at run time, other than types and
 * the contents of this file, must be imported when it runs.
 */

import type { Jid } from '../address/jid.js';
import type { Maybe } from '../maybe.js';
import type { Services } from './services.js';

/** A parameter of a command. Its name is the JSON field, the option `--name`, or the argument `NAME`. */
export interface Parameter {
  /** account: `user@host`. address: the same with an optional resource. secret: never taken from the command line. */
  readonly type: 'text' | 'account' | 'address' | 'count' | 'flag' | 'secret';
  readonly description: string;
  /** Identified by position instead of by name. */
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

/** The values of the parameters for `run`. */
export type Values<P extends Parameters> = { readonly [K in keyof P]: Value<P[K]> };

/** Raw values in JSON, not yet validated. */
export type RawValues = Readonly<Record<string, unknown>>;

/** Bytes stored for an account or a room. */
export interface UsageData {
  readonly archive: number;
  readonly data: number;
  readonly stores: Readonly<Record<string, number>>;
  /** null: unlimited. */
  readonly archiveQuota: number | null;
  readonly dataQuota: number | null;
}

/** A host in the view of commands. */
export interface CliHost {
  readonly domain: string;
  /** Returns undefined if no running module provides the service. */
  provided<K extends keyof Services>(name: K): Services[K] | undefined;
}

/** The server in the view of a module's command. */
export interface CliContext {
  /** The hosts of the server, in the order of the configuration. */
  readonly hosts: readonly CliHost[];
  usageOf(owner: string): Promise<UsageData>;
  /** Reports progress to the caller. */
  progress(text: string): void;
}

export interface CommandDefinition<P extends Parameters, C, D> {
  /** The words of the command: `user add`. */
  readonly name: string;
  /** One line without a full stop. */
  readonly summary: string;
  /** Complete sentences. */
  readonly details?: string;
  readonly parameters?: P;
  /** The command changes nothing. */
  readonly reads?: true;
  /** Confirmation to ask on a terminal before running; without a terminal `--yes` is needed. */
  readonly confirm?: (raw: RawValues) => string;
  /** Throws CommandError for errors to report to the caller. */
  run(context: C, values: Values<P>): Maybe<D>;
  /** Output without the final line break; nothing is printed if empty. */
  text(data: D): Maybe<string>;
  /** Exit code of a successful command. */
  exitCode?(data: D): number;
}

export interface CliCommand extends CommandDefinition<Parameters, never, never> {
  readonly parameters: Parameters;
}

/** Declares a module's command. Type inference gives `run` the types of its parameters and `text` that of the data. */
export const cliCommand = <const P extends Parameters, D>(
  definition: CommandDefinition<P, CliContext, D>,
): CliCommand => ({ parameters: {}, ...definition }) as unknown as CliCommand;

/** Reason for a failed command, for programs. */
export type Failure =
  /** Wrong usage. */
  | 'usage'
  | 'not-found'
  | 'conflict'
  /** The command needs a running server. */
  | 'not-running'
  /** The configuration is not usable. */
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

/** A service of the host that a command names, or of the only one. Throws CommandError. `module`: what provides it. */
export function serviceOf<K extends keyof Services>(
  { hosts }: CliContext,
  domain: string | undefined,
  name: K,
  module: string,
): { readonly service: Services[K]; readonly domain: string } {
  const [first, ...more] = hosts;
  if (domain === undefined && more.length > 0)
    throw new CommandError('usage', `Name the host: --host ${hosts.map((one) => one.domain).join(' or ')}`);
  const found = domain === undefined ? first : hosts.find((one) => one.domain === domain);
  if (found === undefined) throw new CommandError('not-found', `The server has no host ${domain}.`);
  const service = found.provided(name);
  if (service === undefined) throw new CommandError('configuration', `The module ${module} is disabled.`);
  return { service, domain: found.domain };
}
