/** The table of commands, in the order of the help: those of the program, the server's own, and those that modules bring. */
import type { ModuleDefinition } from '../module/index.js';
import type { Command } from './command.js';
import * as local from './local.js';
import { own, servedCommands } from './served.js';

/** Where commands of the program stand: in front of which others. */
const before = new Map<string, Command>([
  ['stop', local.start],
  ['status', local.restart],
  ['backup', local.check],
]);
const last = [local.completion, local.help, local.version];

const withLocal = (commands: readonly Command[]): readonly Command[] =>
  commands.flatMap((command) => [before.get(command.name) ?? [], command].flat());

/** They are known without a module. */
export const ownCommands: readonly Command[] = [...withLocal(own), ...last];

/** Those of modules come last, in the order of their names. */
export const allCommands = (modules: readonly ModuleDefinition[]): readonly Command[] => [
  ...ownCommands,
  ...servedCommands(modules).slice(own.length),
];
