/** Checks that the server would start: starts the modules of each host on memory storage and without ports. */
import { accessSync, constants, mkdtempSync, rmSync, type Stats, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Writable } from 'node:stream';
import { MemoryStorage } from '../../../storage/memory.js';
import { createServer, type Host } from '../../index.js';
import { certifiedDomains } from '../../tls/served.js';
import { demandCommands } from '../served.js';
import type { Finding, Subject } from './finding.js';

export interface Source {
  readonly file: string | undefined;
}

export interface StartChecked {
  readonly findings: readonly Finding[];
  /** By host: the domains of its services and components. Without services if the server would not start. */
  readonly domains: ReadonlyMap<string, readonly string[]>;
}

export async function checkStart(
  { config, running }: Pick<Subject, 'config' | 'running'>,
  { file }: Source,
): Promise<StartChecked> {
  const started = await dryRun(file);
  const findings = [...places(config, running !== undefined), ...started.findings];
  const hosts =
    started.hosts ?? Object.keys(config.hosts).map((domain) => ({ domain, declared: { services: () => [] } }));
  return { findings, domains: certifiedDomains(hosts, Object.keys(config.components)) };
}

const refuses = (what: string, advice?: string): Finding => ({
  area: 'server',
  level: 'error',
  what,
  why: 'The server will not start.',
  ...(advice !== undefined && { advice }),
});

/** Checks the files it creates besides its storage. */
function places({ log, admin, data }: Subject['config'], isRunning: boolean): Finding[] {
  const findings: Finding[] = [];
  if (log.file !== '') {
    const problem = writableFile(log.file);
    if (problem !== undefined)
      findings.push(
        refuses(`log.file ${log.file}: ${problem}`, 'Choose another file, or make it writable for this user.'),
      );
  }
  if (!isRunning) {
    const found = statOf(admin.socket);
    if (found !== undefined && !found.isSocket())
      findings.push(
        refuses(`admin.socket ${admin.socket}: exists and is not a socket`, 'Choose another path, or remove the file.'),
      );
    else if (found === undefined) {
      const folder = dirname(admin.socket);
      // The server creates its data folder, but no others.
      const isMissing = folder !== data && statOf(folder) === undefined;
      const problem = isMissing ? `${folder} does not exist` : writableFile(admin.socket);
      if (problem !== undefined)
        findings.push(
          refuses(
            `admin.socket ${admin.socket}: ${problem}`,
            'Choose another path, or make its folder writable for this user.',
          ),
        );
    }
  }
  return findings;
}

/** Returns undefined if the file does not exist, or a folder in its path is not one. */
function statOf(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOTDIR') return undefined;
    throw error;
  }
}

/** Why the file cannot be written or created. Returns undefined if it can. */
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

async function dryRun(
  file: string | undefined,
): Promise<{ readonly findings: readonly Finding[]; readonly hosts?: readonly Host[] }> {
  const data = mkdtempSync(join(tmpdir(), 'waxwing-check-'));
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() });
  try {
    const server = await createServer({
      file,
      overrides: { data },
      storage: new MemoryStorage(),
      logTo: nowhere,
    });
    const hosts = Object.keys(server.config.hosts).flatMap((domain) => server.host(domain) ?? []);
    await server.stop();
    demandCommands(server.modules);
    return { findings: [], hosts };
  } catch (error) {
    return { findings: [refuses(error instanceof Error ? error.message : String(error))] };
  } finally {
    rmSync(data, { recursive: true, force: true });
  }
}
