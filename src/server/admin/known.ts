/** All commands the program knows: its own, and those of modules, including modules loaded by the configuration. */
import { standardModules } from '../../modules/index.js';
import { ConfigError, modulesToLoad } from '../config/load.js';
import { importModules, ModuleError } from '../loader.js';
import type { Command } from './command.js';
import { allCommands } from './commands.js';

export interface Known {
  readonly commands: readonly Command[];
  /** Why commands of loaded modules are missing. */
  readonly missing: string | undefined;
}

/** `file`: the configuration file, if there is one. */
export async function knownCommands(file: string | undefined): Promise<Known> {
  try {
    const further = await importModules(modulesToLoad({ file, ...(file === undefined && { text: '' }) }));
    return { commands: allCommands([...standardModules, ...further]), missing: undefined };
  } catch (error) {
    if (!(error instanceof ConfigError || error instanceof ModuleError)) throw error;
    return { commands: allCommands(standardModules), missing: error.message };
  }
}
