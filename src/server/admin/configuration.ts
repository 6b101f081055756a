/** Loads the configuration without a server, checked with the schemas of all modules. */
import { standardModules } from '../../modules/index.js';
import { type Finding, loadConfig, modulesToLoad } from '../config/load.js';
import type { Config } from '../config/schema.js';
import { importModules } from '../loader.js';
import type { ModuleDefinition } from '../module/index.js';

export interface Configuration {
  readonly config: Config;
  /** All modules, running or not. */
  readonly modules: readonly ModuleDefinition[];
  /** Findings about keys that have a new name. */
  readonly warnings: readonly Finding[];
}

/** `data` overrides the data folder. Rejects with ConfigError and ModuleError. */
export async function loadConfiguration(file: string | undefined, data: string | undefined): Promise<Configuration> {
  const source = { file, ...(data !== undefined && { overrides: { data } }) };
  const modules = [...standardModules, ...(await importModules(modulesToLoad(source)))];
  const warnings: Finding[] = [];
  const config = loadConfig({ ...source, modules, warn: (finding) => warnings.push(finding) });
  return { config, modules, warnings };
}
