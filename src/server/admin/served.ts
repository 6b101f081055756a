/** Commands other than those in local.ts: the server's own, and those of modules. */
import type { CliCommand, CliContext, ModuleDefinition } from '../module/index.js';
import * as backups from './backups.js';
import * as certificates from './certificates.js';
import * as cluster from './cluster.js';
import { type Command, CommandError, localNames, type ServerContext } from './command.js';
import * as components from './components.js';
import * as migrations from './migrations.js';
import * as portable from './portable.js';
import * as running from './running.js';
import * as s2s from './s2s.js';
import * as sessions from './sessions.js';
import * as users from './users.js';

/** In the order of the help. */
export const own: readonly Command[] = [
  running.stop,
  running.status,
  running.reload,
  backups.backup,
  backups.restore,
  migrations.migrate,
  portable.exportAccounts,
  portable.importAccounts,
  users.add,
  users.passwd,
  users.list,
  users.show,
  users.quota,
  users.disable,
  users.enable,
  users.remove,
  certificates.list,
  certificates.show,
  certificates.renew,
  cluster.status,
  cluster.drain,
  cluster.join,
  cluster.remove,
  sessions.list,
  sessions.kick,
  components.list,
  components.kick,
  s2s.list,
  s2s.show,
  s2s.kick,
  s2s.test,
  running.modules,
  running.config,
  running.logLevel,
];

/** What local commands of the same names run in the server. */
export const behindLocal: readonly Command[] = [portable.exporting, portable.importing];

/** Commands of modules come last, by name. */
export function servedCommands(modules: readonly ModuleDefinition[]): readonly Command[] {
  const brought = modules.flatMap(({ cli = [] }) => cli.map(commandOf));
  return [...own, ...brought.sort((a, b) => (a.name < b.name ? -1 : 1))];
}

const commandOf = (command: CliCommand): Command => ({
  ...command,
  where: 'server',
  run: (context: ServerContext, values: never) => command.run(contextOf(context) as never, values),
});

function contextOf({ server, config, progress }: ServerContext): CliContext {
  return {
    hosts: Object.keys(config.hosts).flatMap((domain) => server.host(domain) ?? []),
    usageOf: (owner) => users.usageOf(server, owner),
    progress,
  };
}

/** Throws CommandError if a command of a module has an invalid name, or one that is already taken. */
export function demandCommands(modules: readonly ModuleDefinition[]): void {
  const owners = new Map<string, string>(
    [...localNames, ...own.map(({ name }) => name)].map((name) => [name, 'the server']),
  );
  for (const { name, cli = [] } of modules) {
    for (const command of cli) {
      const written = JSON.stringify(command.name);
      if (!/^[a-z][a-z-]*( [a-z][a-z-]*)?$/.test(command.name))
        throw new CommandError(
          'configuration',
          `module ${name}: invalid command name ${written}; use one or two lowercase words`,
        );
      const other = owners.get(command.name);
      if (other !== undefined)
        throw new CommandError(
          'configuration',
          `module ${name} declares the command ${written}, which ${other} already has`,
        );
      owners.set(command.name, `module ${name}`);
    }
  }
}
