/**
 * Paths of the server, read from the configuration file without validating the rest: for commands that only need to
 * find the running server and should not load the schemas.
 */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { parse, TomlError } from 'smol-toml';

/** Paths tried if no configuration file is given. */
export const defaultFiles = ['waxwing.toml', '/etc/waxwing/waxwing.toml'] as const;

/** Relative to the folder of the configuration file, and to the data folder. */
export const defaultPlaces = { data: 'data', socket: 'admin.sock' } as const;

/** Returns the first default file that exists. */
export function findConfigFile(): string | undefined {
  return defaultFiles.find((file) => existsSync(file));
}

/** All paths are absolute. */
export interface Places {
  /** Undefined if there is no file and the defaults apply. */
  readonly file: string | undefined;
  readonly data: string;
  /** Socket for commands to the running server. */
  readonly socket: string;
  /** Log of a server in the background, if the configuration names none. */
  readonly logFile: string;
}

/**
 * `data` overrides the file. `lenient` also finds the paths in a file that is not valid TOML, line by line. Throws read
 * and parse errors.
 */
export function findPlaces(options: {
  readonly file?: string | undefined;
  readonly data?: string | undefined;
  readonly lenient?: boolean | undefined;
}): Places {
  const named = options.file ?? findConfigFile();
  const file = named === undefined ? undefined : resolve(named);
  const folder = file === undefined ? process.cwd() : dirname(file);
  const raw = file === undefined ? {} : read(readFileSync(file, 'utf8'), options.lenient === true);
  const data = resolve(folder, options.data ?? text(raw.data) ?? defaultPlaces.data);
  const logFile = text(table(raw.log).file) ?? '';
  return {
    file,
    data,
    socket: resolve(data, text(table(raw.admin).socket) ?? defaultPlaces.socket),
    logFile: logFile === '' ? join(data, 'waxwing.log') : resolve(folder, logFile),
  };
}

function read(source: string, isLenient: boolean): Record<string, unknown> {
  try {
    return parse(source);
  } catch (error) {
    if (!isLenient || !(error instanceof TomlError)) throw error;
    return readLines(source);
  }
}

/** Finds the lines with paths in a file that is not valid TOML, perhaps because it is being edited. */
function readLines(source: string): Record<string, unknown> {
  const found: Record<string, Record<string, unknown>> = {};
  let section = '';
  for (const line of source.split(/\r?\n/)) {
    section = /^\s*\[\s*([\w-]+)\s*\]/.exec(line)?.[1] ?? (/^\s*\[/.test(line) ? 'another' : section);
    if (!/^\s*(data|socket|file)\s*=/.test(line)) continue;
    try {
      Object.assign((found[section] ??= {}), parse(line));
    } catch (error) {
      if (!(error instanceof TomlError)) throw error;
    }
  }
  return { ...found, data: found['']?.data };
}

function table(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

const text = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined);
