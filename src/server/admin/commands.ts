/** The table of commands, in the order of the help: local ones, the server's own, and those of modules. */
import type { ModuleDefinition } from '../module/index.js';
import type { Command } from './command.js';
import * as local from './local.js';
import { own, servedCommands } from './served.js';

/** Local commands, by the command they are listed before. */
const before = new Map<string, Command>([
  ['stop', local.start],
  ['status', local.restart],
  ['backup', local.check],
]);
const last = [local.completion, local.help, local.version];

const withLocal = (commands: readonly Command[]): readonly Command[] =>
  commands.flatMap((command) => [before.get(command.name) ?? [], command].flat());

/** Commands that need no modules. */
export const ownCommands: readonly Command[] = [...withLocal(own), ...last];

/** Commands of modules come last, by name. */
export const allCommands = (modules: readonly ModuleDefinition[]): readonly Command[] => [
  ...ownCommands,
  ...servedCommands(modules).slice(own.length),
];
