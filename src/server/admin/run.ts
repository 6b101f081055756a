/** Runs a command on its data, and maps its errors for the caller. */
import { type Command, CommandError, type Context, type Failure, type RawValues } from './command.js';

/** Resolves with the command's data. Rejects with CommandError; with any other error only for a bug. */
export async function run(command: Command, context: Context, raw: RawValues): Promise<unknown> {
  const { readValues } = await import('./values.js');
  const values = readValues(command, raw);
  try {
    return await command.run(context as never, values as never);
  } catch (error) {
    throw asCommandError(error);
  }
}

/** The CommandError for a known error; others unchanged. Matches by name, so as not to load every error class. */
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
    case 'MigrationError':
    case 'PortableError':
    case 'ModuleError':
    case 'HookError':
    case 'LogError':
    case 'CertificateError':
    case 'ListenError':
    case 'JoinError':
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
