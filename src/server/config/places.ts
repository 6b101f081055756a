/**
 * Where the server's things lie, read from the configuration file without checking the rest of it: what a command needs
 * that only looks for the running server, and should not have to load the schemas for that.
 */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { parse, TomlError } from 'smol-toml';

/** Where a configuration is looked for when none is named. */
export const usualFiles = ['waxwing.toml', '/etc/waxwing/waxwing.toml'] as const;

/** Relative to the folder of the configuration file, and to the data folder. */
export const defaultPlaces = { data: 'data', socket: 'admin.sock' } as const;

/** The first usual file that is there. */
export function findConfigFile(): string | undefined {
  return usualFiles.find((file) => existsSync(file));
}

/** All paths are absolute. */
export interface Places {
  /** undefined: there is none, and the defaults hold. */
  readonly file: string | undefined;
  readonly data: string;
  /** Where commands reach the running server. */
  readonly socket: string;
  /** What a server in the background writes, if the configuration names no log. */
  readonly logFile: string;
}

/**
 * `data`: instead of what the file says. `lenient`: finds them in a file that is no TOML as well, line by line. Throws what
 * reading and parsing throw.
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

/** The lines that say where something lies, in a file that somebody is writing. */
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
