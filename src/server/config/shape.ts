/** Introspection of zod schemas: their keys and metadata. */
import { z } from 'zod';
import type { KeyMeta } from './keys.js';
import type { KeyPath } from './positions.js';
import type { Quantity } from './units.js';

export type Schema = z.core.$ZodType;

export type Meta = KeyMeta & { readonly description?: string; readonly quantity?: Quantity };

/** Returns the schema without its wrappers (defaults, optional, preprocessing), and their merged metadata. */
export function unwrap(schema: Schema): { readonly core: Schema; readonly meta: Meta } {
  const layers: Meta[] = [];
  let core = schema;
  for (;;) {
    layers.unshift((z.globalRegistry.get(core) ?? {}) as Meta);
    const inner = innerOf(core);
    if (inner === undefined) return { core, meta: Object.assign({}, ...layers) };
    core = inner;
  }
}

function innerOf(schema: Schema): Schema | undefined {
  const { def } = (schema as z.core.$ZodTypes)._zod;
  switch (def.type) {
    case 'default':
    case 'prefault':
    case 'optional':
    case 'nullable':
    case 'nonoptional':
    case 'readonly':
    case 'catch':
      return def.innerType;
    case 'pipe':
      // a preprocess has its schema after the transformation, a transform before it
      return (def.in as z.core.$ZodTypes)._zod.def.type === 'transform' ? def.out : def.in;
    default:
      return undefined;
  }
}

/** Returns the keys of a table with fixed keys, or undefined for other schemas. */
export function keysOf(schema: Schema): Readonly<Record<string, Schema>> | undefined {
  const { core } = unwrap(schema);
  return core instanceof z.ZodObject ? core.shape : undefined;
}

/** Returns the value schema of a table with free keys (a record), or undefined for other schemas. */
export function entriesOf(schema: Schema): Schema | undefined {
  const { core } = unwrap(schema);
  return core instanceof z.ZodRecord ? (core.valueType as Schema) : undefined;
}

/** Returns the schema below a key or index, or undefined if there can be none. */
export function childOf(schema: Schema, step: string | number): Schema | undefined {
  const keys = keysOf(schema);
  if (keys !== undefined) return Object.hasOwn(keys, step) ? keys[step] : undefined;
  const { core } = unwrap(schema);
  return entriesOf(schema) ?? (core instanceof z.ZodArray ? (core.element as Schema) : undefined);
}

/** Returns the schemas along a path, starting with the root, as far as they are known. */
export function along(schema: Schema, path: KeyPath): Schema[] {
  const found = [schema];
  for (const step of path) {
    const next = childOf(found.at(-1)!, step);
    if (next === undefined) break;
    found.push(next);
  }
  return found;
}

/** Whether the schema refuses unknown keys. */
export function refusesOthers(schema: Schema): boolean {
  const { core } = unwrap(schema);
  if (!(core instanceof z.ZodObject)) return false;
  const { catchall } = core._zod.def;
  return catchall === undefined || catchall._zod.def.type === 'never';
}

/** Formats a path in TOML syntax: `hosts."example.org".admins[0]`. */
export function formatPath(path: KeyPath): string {
  return path
    .map((step, index) => (typeof step === 'number' ? `[${step}]` : `${index > 0 ? '.' : ''}${formatKey(step)}`))
    .join('');
}

export function formatKey(key: string): string {
  return /^[A-Za-z0-9_-]+$/.test(key) ? key : JSON.stringify(key);
}

export function isTable(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date);
}
