/**
 * Where the server's things lie, read from the configuration file without checking the rest of it: what a command needs
 * that only looks for the running server, and should not have to load the schemas for that.
 */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { parse } from 'smol-toml';

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

/** `data`: instead of what the file says. Throws what reading and parsing throw. */
export function findPlaces(options: {
  readonly file?: string | undefined;
  readonly data?: string | undefined;
}): Places {
  const named = options.file ?? findConfigFile();
  const file = named === undefined ? undefined : resolve(named);
  const folder = file === undefined ? process.cwd() : dirname(file);
  const raw = file === undefined ? {} : parse(readFileSync(file, 'utf8'));
  const data = resolve(folder, options.data ?? text(raw.data) ?? defaultPlaces.data);
  const logFile = text(table(raw.log).file) ?? '';
  return {
    file,
    data,
    socket: resolve(data, text(table(raw.admin).socket) ?? defaultPlaces.socket),
    logFile: logFile === '' ? join(data, 'waxwing.log') : resolve(folder, logFile),
  };
}

function table(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

const text = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined);
