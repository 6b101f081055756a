/** The configuration without secrets, for display and logs. */
import { completeSchema, type ModuleSettings } from './load.js';
import type { Config } from './schema.js';
import { childOf, isTable, type Schema, unwrap } from './shape.js';

/** Replaces a secret. */
const hidden = '(hidden)';

/** Names of text that is secret even if a module did not mark it `secret`. */
const secretName = /(?:password|passphrase|secret|token|credential|api_?key)s?$/i;

/** Returns a copy without secrets. */
export function redact(config: Config, modules: readonly ModuleSettings[]): Config {
  return visit(config, completeSchema(modules), '') as Config;
}

function visit(value: unknown, schema: Schema | undefined, name: string): unknown {
  const isSecret = schema !== undefined && unwrap(schema).meta.secret === true;
  if (isSecret) return isEmpty(value) ? value : hidden;
  if (typeof value === 'string') return value !== '' && secretName.test(name) ? hidden : value;
  if (Array.isArray(value)) return value.map((entry, index) => visit(entry, schema && childOf(schema, index), name));
  if (!isTable(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, entry]) => [key, visit(entry, schema && childOf(schema, key), key)]),
  );
}

function isEmpty(value: unknown): boolean {
  return value === undefined || value === '' || (Array.isArray(value) && value.length === 0);
}
