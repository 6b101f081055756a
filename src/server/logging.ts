/** Structured logs (pino): one JSON object per line, or readable lines. Never message bodies, never secrets. */
import { closeSync, openSync } from 'node:fs';
import { type DestinationStream, destination, type LogFn, type Logger, levels, pino, stdTimeFunctions } from 'pino';
import { StorageError } from '../storage/contract.js';
import type { Config } from './config/schema.js';
import { oneLine } from './plain.js';
import { makePrivate, privateMode } from './private-file.js';

/** The server's log; `area()` gives each part its own level. */
export interface Logs {
  readonly root: Logger;
  /** The log of one area: `streams`, `storage`, `modules` …, which may have its own level in the configuration. */
  area(name: string): Logger;
  /** The levels in use. */
  readonly levels: Pick<Config['log'], 'level' | 'areas'>;
  /** Applies changed levels. */
  configure(config: Pick<Config['log'], 'level' | 'areas'>): void;
  /** Flushes buffered lines. */
  flush(): void;
}

export function openLogs(config: Config['log'], to?: DestinationStream): Logs {
  if (to === undefined && config.file !== '') checkFile(config.file);
  const out =
    to ?? destination({ dest: config.file === '' ? 1 : config.file, mode: privateMode, sync: config.file === '' });
  const root = pino(
    { level: config.level, base: null, timestamp: stdTimeFunctions.isoTime, hooks: { logMethod: unlessBusy } },
    isForPeople(config, to) ? prettyTo(out) : out,
  );
  let current: Logs['levels'] = config;
  const areas = new Map<string, Logger>();
  return {
    root,
    area(name) {
      let logger = areas.get(name);
      if (logger === undefined) {
        logger = root.child({ area: name }, { level: current.areas[name] ?? current.level });
        areas.set(name, logger);
      }
      return logger;
    },
    get levels() {
      return current;
    },
    configure(next) {
      current = next;
      root.level = next.level;
      for (const [name, logger] of areas) logger.level = next.areas[name] ?? next.level;
    },
    flush() {
      if ('flushSync' in out && typeof out.flushSync === 'function') out.flushSync();
    },
  };
}

/** The breaker logs an outage once, with a count at its end; each request that it refused only has a line if `debug` is on. */
function unlessBusy(this: Logger, args: Parameters<LogFn>, log: LogFn): void {
  const [about] = args as unknown[];
  const error = typeof about === 'object' && about !== null && 'err' in about ? about.err : undefined;
  const isBusy = error instanceof StorageError && error.failure === 'busy';
  if (!isBusy || this.isLevelEnabled('debug')) log.apply(this, args);
}

/** The log cannot be written. */
export class LogError extends Error {
  override readonly name = 'LogError';
}

/** Throws LogError before the start; the stream would fail only later. */
function checkFile(file: string): void {
  try {
    makePrivate(file);
    closeSync(openSync(file, 'a', privateMode));
  } catch (error) {
    throw new LogError(`log.file ${file}: cannot be written (${(error as NodeJS.ErrnoException).code})`, {
      cause: error,
    });
  }
}

function isForPeople({ format, file }: Config['log'], to: DestinationStream | undefined): boolean {
  return format === 'auto' ? to === undefined && file === '' && process.stdout.isTTY : format === 'pretty';
}

/** "12:34:56 warn  streams: text key=value", for terminals. */
function prettyTo(out: DestinationStream): DestinationStream {
  return {
    write(line: string) {
      const { level, time, area, msg, err, ...rest } = JSON.parse(line) as Record<string, unknown>;
      const clock = String(time).slice(11, 19);
      const label = (levels.labels[Number(level)] ?? '').padEnd(5);
      const extra = Object.entries(rest).map(
        ([key, value]) => ` ${key}=${oneLine(typeof value === 'string' ? value : JSON.stringify(value))}`,
      );
      const where = area === undefined ? '' : `${area}: `;
      const trace = typeof err === 'object' && err !== null ? `\n  ${(err as { stack?: string }).stack ?? ''}` : '';
      out.write(`${clock} ${label} ${where}${oneLine(String(msg ?? ''))}${extra.join('')}${trace}\n`);
    },
  };
}
