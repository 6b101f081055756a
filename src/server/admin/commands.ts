/** The table of commands, in the order of the help. */
import * as backups from './backups.js';
import type { Command } from './command.js';
import * as local from './local.js';
import * as reports from './reports.js';
import * as rooms from './rooms.js';
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
  backups.backup,
  backups.restore,
  users.add,
  users.passwd,
  users.list,
  users.show,
  users.quota,
  users.disable,
  users.enable,
  users.remove,
  sessions.list,
  sessions.kick,
  rooms.list,
  rooms.show,
  rooms.create,
  rooms.destroy,
  reports.list,
  reports.show,
  reports.forget,
  running.modules,
  running.config,
  running.logLevel,
  local.completion,
  local.help,
  local.version,
];
