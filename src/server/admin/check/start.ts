/** Whether the server would start: its modules are started for each host, over a storage in memory and without ports. */
import { accessSync, constants, mkdtempSync, rmSync, type Stats, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Writable } from 'node:stream';
import { MemoryStorage } from '../../../storage/memory.js';
import { createServer } from '../../index.js';
import { demandCommands } from '../served.js';
import type { Finding, Subject } from './finding.js';

export interface Source {
  readonly file: string | undefined;
}

export async function checkStart({ config, running }: Pick<Subject, 'config' | 'running'>, { file }: Source) {
  return [...places(config, running !== undefined), ...(await dryRun(file))];
}

const refuses = (what: string, advice?: string): Finding => ({
  area: 'server',
  level: 'error',
  what,
  why: 'The server does not start.',
  ...(advice !== undefined && { advice }),
});

/** What it makes and writes besides its storage. */
function places({ log, admin, data }: Subject['config'], isRunning: boolean): Finding[] {
  const findings: Finding[] = [];
  if (log.file !== '') {
    const problem = writableFile(log.file);
    if (problem !== undefined)
      findings.push(refuses(`log.file ${log.file}: ${problem}`, 'Name another file, or let this user write it.'));
  }
  if (!isRunning) {
    const found = statOf(admin.socket);
    if (found !== undefined && !found.isSocket())
      findings.push(
        refuses(`admin.socket ${admin.socket}: is there already, and no socket`, 'Name another, or remove it.'),
      );
    else if (found === undefined) {
      const folder = dirname(admin.socket);
      // The data folder is made by the server, no other.
      const isMissing = folder !== data && statOf(folder) === undefined;
      const problem = isMissing ? `${folder} is not there` : writableFile(admin.socket);
      if (problem !== undefined)
        findings.push(refuses(`admin.socket ${admin.socket}: ${problem}`, 'Name another, or let this user make it.'));
    }
  }
  return findings;
}

/** undefined: it is not there, or no folder is on the way to it. */
function statOf(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOTDIR') return undefined;
    throw error;
  }
}

/** Why the file can be neither written nor made; undefined: it can. */
function writableFile(file: string): string | undefined {
  try {
    const found = statSync(file, { throwIfNoEntry: false });
    if (found?.isDirectory()) return 'is a folder';
    let place = found === undefined ? dirname(file) : file;
    while (statSync(place, { throwIfNoEntry: false }) === undefined && dirname(place) !== place) place = dirname(place);
    accessSync(place, found === undefined ? constants.W_OK | constants.X_OK : constants.W_OK);
    return found === undefined && !statSync(place).isDirectory() ? `${place} is not a folder` : undefined;
  } catch (error) {
    return `cannot be written (${(error as NodeJS.ErrnoException).code})`;
  }
}

async function dryRun(file: string | undefined): Promise<Finding[]> {
  const data = mkdtempSync(join(tmpdir(), 'waxwing-check-'));
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() });
  try {
    const server = await createServer({
      file,
      overrides: { data },
      storage: new MemoryStorage(),
      logTo: nowhere,
    });
    await server.stop();
    demandCommands(server.modules);
    return [];
  } catch (error) {
    return [refuses(error instanceof Error ? error.message : String(error))];
  } finally {
    rmSync(data, { recursive: true, force: true });
  }
}
