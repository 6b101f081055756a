/** A private file that appears under its name only once it is complete. */
import { once } from 'node:events';
import { existsSync, rmSync } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { privateMode } from '../private-file.js';
import { CommandError } from './command.js';

const endings = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

export interface TargetFile {
  /** Undefined for standard output. */
  readonly path: string | undefined;
  write(text: string): Promise<void>;
  /** Makes it durable. Resolves with its length in bytes. */
  complete(): Promise<number>;
  discard(): Promise<void>;
}

/** `-` is standard output. A signal that ends the process also removes what is not complete. Rejects with CommandError. */
export async function openTarget(name: string, { force }: { readonly force: boolean }): Promise<TargetFile> {
  let bytes = 0;
  if (name === '-') {
    return {
      path: undefined,
      async write(text) {
        bytes += Buffer.byteLength(text);
        if (!process.stdout.write(text)) await once(process.stdout, 'drain');
      },
      complete: async () => bytes,
      discard: async () => {},
    };
  }
  const path = resolve(name);
  const demandFree = () => {
    if (existsSync(path) && !force) throw new CommandError('conflict', `${path} exists; overwrite it with --force`);
  };
  demandFree();
  const partial = `${path}.part-${process.pid}`;
  const failed = (error: NodeJS.ErrnoException) =>
    new CommandError('failed', `${path} cannot be written (${error.code})`);
  const file = await open(partial, 'wx', privateMode).catch((error: NodeJS.ErrnoException) => {
    throw failed(error);
  });
  // What was written has secrets in it.
  const ended = (signal: NodeJS.Signals): void => {
    rmSync(partial, { force: true });
    process.kill(process.pid, signal);
  };
  for (const signal of endings) process.once(signal, ended);
  const left = (): void => {
    for (const signal of endings) process.off(signal, ended);
  };
  return {
    path,
    async write(text) {
      const data = Buffer.from(text);
      bytes += data.length;
      await file.writeFile(data).catch((error: NodeJS.ErrnoException) => {
        throw failed(error);
      });
    },
    async complete() {
      try {
        await file.sync();
        await file.close();
        demandFree();
        await rename(partial, path);
        const folder = await open(dirname(path), 'r');
        await folder.sync().finally(() => folder.close());
      } catch (error) {
        throw error instanceof CommandError ? error : failed(error as NodeJS.ErrnoException);
      }
      left();
      return bytes;
    },
    async discard() {
      await file.close().catch(() => {});
      await rm(partial, { force: true });
      left();
    },
  };
}
