/**
 * Loads the configuration: TOML, validated as a whole before anything starts. Reports all findings, each with file,
 * line and a correction. A configuration with findings is not used.
 */
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { parse, TomlError } from 'smol-toml';
import { z } from 'zod';
import { nearest } from '../nearest.js';
import { contradictions } from './contradictions.js';
import { type Complaint, ConfigError, explain, type Finding } from './findings.js';
import { findConfigFile } from './places.js';
import { type KeyPath, type Locate, locator } from './positions.js';
import { renameKeys } from './renamed.js';
import { type Config, configSchema } from './schema.js';
import { along, childOf, entriesOf, formatPath, isTable, keysOf, refusesOthers, type Schema, unwrap } from './shape.js';

export { ConfigError, type Finding, formatFinding } from './findings.js';
export { defaultFiles, findConfigFile } from './places.js';

/** What the configuration needs to know of a module. */
export interface ModuleSettings {
  readonly name: string;
  readonly config?: z.ZodObject | undefined;
  /** Whether the module only runs with `enabled = true`. */
  readonly optional?: boolean | undefined;
  readonly summary?: string | undefined;
  readonly implements?: Readonly<Record<string, string>> | undefined;
}

export interface Source {
  /** The file to read. Its folder, or else the working directory, is the base of relative paths. */
  readonly file?: string | undefined;
  /** The text itself; `file` is then only its name. */
  readonly text?: string | undefined;
}

export interface LoadOptions extends Source {
  /** All modules, running or not: each schema validates its table. */
  readonly modules: readonly ModuleSettings[];
  /** Overrides the file, from the command line or the program. Tables are merged, other values replaced. */
  readonly overrides?: Readonly<Record<string, unknown>> | undefined;
  /** Receives a finding for each key that has a new name. */
  readonly warn?: ((finding: Finding) => void) | undefined;
}

/** Throws ConfigError. Without `file` and `text` the default files are tried; if there are none, the defaults apply. */
export function loadConfig(options: LoadOptions): Config {
  const { file, folder, raw: text, locate } = read(options);
  const inFile = renameKeys(text);
  const overrides = renameKeys(options.overrides ?? {});
  const raw = merge(inFile.raw, overrides.raw);
  const schema = completeSchema(options.modules);
  const findingInFile = (complaint: Complaint) => findingOf(complaint, file, locate);
  const findingInOverrides = (complaint: Complaint) => findingOf(complaint, undefined, undefined);

  const complaints = unknownKeys(schema, raw, [], schema);
  let result = schema.safeParse(raw, { reportInput: true });
  if (!result.success) {
    for (const issue of result.error.issues) complaints.push(...complaintsOf(issue, schema, raw, complaints));
  }
  complaints.push(...unknownModules(raw, options.modules));
  // wrong values are dropped, so that the rest can be checked for contradictions
  if (complaints.length > 0) result = schema.safeParse(without(raw, complaints));
  const config = result.success ? withWholePaths(result.data as Config, schema, folder) : undefined;
  if (config !== undefined) {
    const broken = complaints.map(({ path }) => `${wholeKey(path).join('.')}.`);
    const isBroken = (key: string) => broken.some((path) => path.startsWith(`${key}.`) || `${key}.`.startsWith(path));
    complaints.push(...contradictions(config, isBroken));
  }
  const findings = [
    ...inFile.complaints.map(findingInFile),
    ...overrides.complaints.map(findingInOverrides),
    ...complaints.map((complaint) =>
      isIn(overrides.raw, complaint.path)
        ? findingInOverrides({ ...complaint, path: overrides.written(complaint.path) })
        : findingInFile({ ...complaint, path: inFile.written(complaint.path) }),
    ),
  ];
  if (findings.length > 0 || config === undefined) throw new ConfigError(findings.sort((a, b) => order(a) - order(b)));
  const warnings = [...inFile.warnings.map(findingInFile), ...overrides.warnings.map(findingInOverrides)];
  for (const warning of warnings.sort((a, b) => order(a) - order(b))) options.warn?.(warning);
  return config;
}

/**
 * Returns the additional modules to load: npm package names and absolute paths. Needed first, because their schemas
 * validate the rest. Throws ConfigError if the file is not valid TOML.
 */
export function modulesToLoad(options: Omit<LoadOptions, 'modules'>): string[] {
  const { folder, raw } = read(options);
  const modules = merge(raw, options.overrides ?? {}).modules;
  const list = isTable(modules) && Array.isArray(modules.load) ? modules.load : [];
  return list.filter((entry) => typeof entry === 'string').map((entry) => wholeImport(entry, folder));
}

/** Whether the configuration enables a module. */
export function isEnabled(config: Config, name: string): boolean {
  const table = config.modules[name];
  return !config.modules.disabled.includes(name) && isTable(table) && table.enabled === true;
}

/** Returns the schema of the server's and the modules' tables together. */
export function completeSchema(modules: readonly ModuleSettings[]) {
  const { disabled, load } = configSchema.shape.modules.unwrap().shape;
  const tables: Record<string, z.ZodType> = {};
  for (const { name, config, optional, summary } of modules) {
    if (name === 'disabled' || name === 'load') throw new Error(`a module cannot be called ${name}`);
    const enabled = z
      .boolean()
      .default(optional !== true)
      .describe('Whether the module runs.');
    tables[name] = (config ?? z.object({}))
      .safeExtend({ enabled })
      .prefault({})
      .describe(summary ?? '');
  }
  return configSchema.extend({
    modules: z
      .strictObject({ ...tables, disabled, load })
      .prefault({})
      .describe(configSchema.shape.modules.description!),
  });
}

interface Text {
  readonly file: string | undefined;
  readonly folder: string;
  readonly raw: Record<string, unknown>;
  readonly locate: Locate;
}

function read({ file: named, text: given }: Source): Text {
  const file = named ?? (given === undefined ? findConfigFile() : undefined);
  const folder = file === undefined ? process.cwd() : dirname(resolve(file));
  const text = given ?? (file === undefined ? '' : readText(file));
  try {
    return { file, folder, raw: parse(text), locate: locator(text) };
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const { line, column } = error;
    const problem = error.message.split('\n')[0]!.replace(/^Invalid TOML document: /, 'is not valid TOML: ');
    throw new ConfigError([{ file, line, column, path: '', problem, hint: 'see https://toml.io for the syntax' }]);
  }
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    const problem = code === 'ENOENT' ? 'no such file' : `cannot be read (${code})`;
    const hint =
      code === 'EACCES' ? 'make it readable for the user that runs the server' : 'set the file with --config';
    throw new ConfigError([{ file, line: undefined, column: undefined, path: '', problem, hint }]);
  }
}

function findingOf({ path, problem, hint }: Complaint, file: string | undefined, locate: Locate | undefined): Finding {
  const position = locate?.(path, problem.startsWith('no such') ? 'key' : 'value');
  return {
    file: locate === undefined ? undefined : file,
    line: position?.line,
    column: position?.column,
    path: formatPath(path),
    problem,
    hint,
  };
}

/** Orders findings by their place in the file; those in no file come last. */
function order({ line = 1e9, column = 0 }: Finding): number {
  return line * 1e4 + column;
}

/** Finds unknown keys: a misspelt limit would have no effect. */
function unknownKeys(schema: Schema, raw: unknown, path: KeyPath, whole: Schema): Complaint[] {
  if (Array.isArray(raw)) {
    return raw.flatMap((entry, index) => {
      const below = childOf(schema, index);
      return below === undefined ? [] : unknownKeys(below, entry, [...path, index], whole);
    });
  }
  if (!isTable(raw) || (keysOf(schema) === undefined && entriesOf(schema) === undefined)) return [];
  return Object.entries(raw).flatMap(([key, value]) => {
    const here = [...path, key];
    const below = childOf(schema, key);
    if (below !== undefined) return unknownKeys(below, value, here, whole);
    return refusesOthers(schema) ? [unknownKey(here, schema, whole)] : [];
  });
}

function unknownKey(path: KeyPath, schema: Schema, whole: Schema): Complaint {
  const key = String(path.at(-1));
  const isModule = path[0] === 'modules' && path.length === 2;
  const known = Object.keys(keysOf(schema) ?? {}).filter(
    (name) => !isModule || (name !== 'disabled' && name !== 'load'),
  );
  const meant = nearest(key, known);
  const elsewhere = meant === undefined ? findKey(whole, key, []) : undefined;
  const hint =
    meant !== undefined
      ? `did you mean ${formatPath([...path.slice(0, -1), meant])}?`
      : elsewhere !== undefined
        ? `did you mean ${formatPath(elsewhere)}?`
        : `use one of ${known.join(', ')}`;
  return { path, problem: isModule ? 'no such module' : 'no such key', hint };
}

/** Finds a key of this name anywhere in the configuration. */
function findKey(schema: Schema, key: string, path: KeyPath): KeyPath | undefined {
  for (const [name, below] of Object.entries(keysOf(schema) ?? {})) {
    if (name === key) return [...path, name];
    const found = findKey(below, key, [...path, name]);
    if (found !== undefined) return found;
  }
  return undefined;
}

function unknownModules(raw: Record<string, unknown>, modules: readonly ModuleSettings[]): Complaint[] {
  const disabled = isTable(raw.modules) ? raw.modules.disabled : undefined;
  if (!Array.isArray(disabled)) return [];
  const names = modules.map(({ name }) => name);
  return disabled.flatMap((name, index) => {
    if (typeof name !== 'string' || names.includes(name)) return [];
    const meant = nearest(name, names);
    const hint = meant === undefined ? `use one of ${names.join(', ')}` : `did you mean ${JSON.stringify(meant)}?`;
    return [{ path: ['modules', 'disabled', index], problem: `no such module: ${JSON.stringify(name)}`, hint }];
  });
}

function complaintsOf(
  issue: z.core.$ZodIssue,
  schema: Schema,
  raw: unknown,
  reported: readonly Complaint[],
): Complaint[] {
  const path = issue.path as (string | number)[];
  if (issue.code === 'unrecognized_keys') {
    // those of tables inside a union; the others are reported already
    const isReported = (key: string) =>
      reported.some((complaint) => formatPath(complaint.path) === formatPath([...path, key]));
    return issue.keys
      .filter((key) => !isReported(key))
      .map((key) => ({ path: [...path, key], problem: 'no such key', hint: 'remove it' }));
  }
  const at = along(schema, path);
  const value = path.reduce<unknown>(
    (node, step) => (node as Record<string | number, unknown> | undefined)?.[step],
    raw,
  );
  const input = issue.code === 'invalid_key' ? issue.input : (issue.input ?? value);
  return [
    {
      path,
      ...explain({ ...issue, input } as z.core.$ZodIssue, at.length === path.length + 1 ? at.at(-1)! : z.unknown()),
    },
  ];
}

/** Returns a copy without the values that have complaints; a list is removed as a whole. */
function without(raw: Record<string, unknown>, complaints: readonly Complaint[]): Record<string, unknown> {
  const copy = structuredClone(raw);
  for (const { path } of complaints) {
    const steps = wholeKey(path);
    let table: unknown = copy;
    for (const step of steps.slice(0, -1)) table = isTable(table) ? table[step] : undefined;
    const last = steps.at(-1);
    if (isTable(table) && last !== undefined) delete table[last];
  }
  return copy;
}

/** Returns the part of the path before the first list index. */
function wholeKey(path: KeyPath): KeyPath {
  const end = path.findIndex((step) => typeof step === 'number');
  return end < 0 ? path : path.slice(0, end);
}

function merge(below: Record<string, unknown>, above: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const merged = { ...below };
  for (const [key, value] of Object.entries(above)) {
    const old = merged[key];
    if (value !== undefined) merged[key] = isTable(old) && isTable(value) ? merge(old, value) : value;
  }
  return merged;
}

function isIn(table: Readonly<Record<string, unknown>>, path: KeyPath): boolean {
  let node: unknown = table;
  for (const step of path) {
    if (!isTable(node)) return node !== undefined;
    if (!Object.hasOwn(node, step)) return false;
    node = node[step];
  }
  return path.length > 0;
}

/** Makes relative paths absolute: `data` first, because others are relative to it. */
function withWholePaths(config: Config, schema: Schema, folder: string): Config {
  const data = resolve(folder, config.data);
  const visit = (value: unknown, at: Schema): unknown => {
    const { path } = unwrap(at).meta;
    if (path !== undefined && typeof value === 'string') {
      if (path === 'import') return wholeImport(value, folder);
      return value === '' ? value : resolve(path === 'data' ? data : folder, value);
    }
    if (Array.isArray(value))
      return value.map((entry) => visit(entry, path === undefined ? (childOf(at, 0) ?? at) : at));
    if (!isTable(value)) return value;
    return Object.fromEntries(
      Object.entries(value).map(([key, entry]) => {
        const below = childOf(at, key);
        return [key, below === undefined ? entry : visit(entry, below)];
      }),
    );
  };
  return visit(config, schema) as Config;
}

function wholeImport(text: string, folder: string): string {
  return /^\.\.?\//.test(text) ? resolve(folder, text) : text;
}
