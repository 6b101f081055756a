/**
 * Runs commands without a running server: on the configuration, and on the storage, which no other process may have
 * open.
 */
import { createServer, type Server } from '../index.js';
import type { Command, Context, RawValues } from './command.js';
import { CommandError, type Terminal } from './command.js';
import { loadConfiguration } from './configuration.js';
import { run } from './run.js';

/** How long to wait for another command that has the data open, in ms. */
const storageWithin = 15_000;

/** Resolves with the command's data. Rejects as run() does. */
export async function runOffline(
  command: Command,
  raw: RawValues,
  terminal: Terminal,
  output: (text: string) => Promise<void>,
): Promise<unknown> {
  const { file } = await terminal.places();
  const { data } = terminal.given;
  const { config, modules } = await loadConfiguration(file, data);
  let server: Promise<Server> | undefined;
  const context: Context = {
    config,
    modules,
    server: undefined,
    accounts: async () => (await context.opened()).accounts,
    async opened() {
      if ((config.storage.stores.accounts ?? config.storage.driver) === 'memory')
        throw new CommandError('not-running', 'accounts are stored in memory only, and no server is running');
      // A server without ports: its modules update what depends on the accounts.
      server ??= createServer({
        file,
        overrides: { ...(data !== undefined && { data }), log: { level: 'warn', areas: {} } },
        storageWithin,
        logTo: { write: (line) => process.stderr.write(line) },
      });
      return server;
    },
    progress: terminal.progress,
    output,
  };
  try {
    return await run(command, context, raw);
  } finally {
    await (await server?.catch(() => undefined))?.stop();
  }
}
