import { StanzaError } from '../stanza/errors.js';
import { CommandError } from './cli.js';

/** For commands: what a service refuses with a StanzaError becomes a CommandError('failed'). */
export const orCommandError = <T>(change: Promise<T>): Promise<T> =>
  change.catch((error: unknown) => {
    throw error instanceof StanzaError ? new CommandError('failed', error.message) : error;
  });
