/** Runs a command that works on data, and sorts out what its errors are to whoever called it. */
import { type Command, CommandError, type Context, type Failure, type RawValues } from './command.js';
import { readValues } from './values.js';

/** The data that the command makes. Rejects with CommandError, and with anything else only for what is a bug. */
export async function run(command: Command, context: Context, raw: RawValues): Promise<unknown> {
  const values = readValues(command, raw);
  try {
    return await command.run(context as never, values as never);
  } catch (error) {
    throw asCommandError(error);
  }
}

/** The CommandError that says the same; what nobody foresaw stays as it is. Errors are known by name, not to load all. */
export function asCommandError(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const failure = failureOf(error);
  return failure === undefined ? error : new CommandError(failure, error.message);
}

function failureOf(error: Error & { readonly failure?: string }): Failure | undefined {
  switch (error.name) {
    case 'AccountError':
      return accountFailure(error.failure);
    case 'ConfigError':
      return 'configuration';
    case 'StorageError':
    case 'ModuleError':
    case 'HookError':
    case 'LogError':
    case 'CertificateError':
    case 'ListenError':
      return 'failed';
    default:
      return undefined;
  }
}

function accountFailure(failure: string | undefined): Failure {
  switch (failure) {
    case 'conflict':
    case 'not-found':
    case 'busy':
      return failure;
    default:
      return 'usage';
  }
}
