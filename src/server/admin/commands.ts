/** The table of commands, in the order of the help. */
import type { Command } from './command.js';
import * as local from './local.js';
import * as running from './running.js';
import * as sessions from './sessions.js';
import * as users from './users.js';

export const commands: readonly Command[] = [
  local.start,
  running.stop,
  local.restart,
  running.status,
  running.reload,
  local.check,
  users.add,
  users.passwd,
  users.list,
  users.show,
  users.disable,
  users.enable,
  users.remove,
  sessions.list,
  sessions.kick,
  running.modules,
  running.config,
  running.logLevel,
  local.completion,
  local.help,
  local.version,
];
