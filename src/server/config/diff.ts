/** Finds the differences between two configurations, and whether the running server can apply them. */
import { isDeepStrictEqual } from 'node:util';
import { completeSchema, type ModuleSettings } from './load.js';
import type { KeyPath } from './positions.js';
import type { Config } from './schema.js';
import { along, formatPath, isTable, type Schema, unwrap } from './shape.js';

export interface Changes {
  /** Paths of changed keys that `reload` applies. */
  readonly live: readonly string[];
  /** Paths of changed keys that need a restart. */
  readonly restart: readonly string[];
}

/** Compares two configurations from `loadConfig`, both with the same modules. */
export function diffConfig(before: Config, after: Config, modules: readonly ModuleSettings[]): Changes {
  const schema = completeSchema(modules);
  const paths = changed(before, after, []);
  return {
    live: paths.filter((path) => isLive(schema, path)).map(formatPath),
    restart: paths.filter((path) => !isLive(schema, path)).map(formatPath),
  };
}

/** Returns the paths of changed keys. An added or removed table is one path. */
function changed(before: unknown, after: unknown, path: KeyPath): KeyPath[] {
  if (isDeepStrictEqual(before, after)) return [];
  if (!isTable(before) || !isTable(after)) return [path];
  const keys = new Set([...Object.keys(before), ...Object.keys(after)]);
  return [...keys].flatMap((key) => changed(before[key], after[key], [...path, key]));
}

/** Whether the key, or a table that contains it, is marked live. */
function isLive(schema: Schema, path: KeyPath): boolean {
  return along(schema, path).some((part) => unwrap(part).meta.live === true);
}
