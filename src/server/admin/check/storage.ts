import { constants } from 'node:fs';
import { access, stat, statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { megabytes } from '../../words.js';
import type { Finding, Subject } from './finding.js';

/** Bytes of a database above which only --full reads it whole. */
const quicklyRead = 256e6;
/** Bytes of free space that are too little, and those that soon may be. */
const tooLittle = 200e6;
const little = 1e9;

export async function checkStorage({ config, running, full }: Subject): Promise<Finding[]> {
  const { driver, stores, sqlite } = config.storage;
  const isOnDisk = driver === 'sqlite' || Object.values(stores).includes('sqlite');
  const findings = await folder(config.data);
  if (driver === 'memory') {
    findings.push({
      area: 'storage',
      level: 'warning',
      what: 'storage.driver is "memory"',
      why: 'Accounts and messages are lost when the server stops.',
      advice: 'Set it to "sqlite" for anything but tests.',
    });
  }
  const isBroken = findings.some(({ level }) => level === 'error');
  return isOnDisk && !isBroken
    ? [
        ...findings,
        ...(await folderOf(sqlite.file, config.data)),
        ...(await database(sqlite.file, running !== undefined, full)),
      ]
    : findings;
}

/** The server makes its data folder, and no other. */
async function folderOf(file: string, data: string): Promise<Finding[]> {
  const path = dirname(file);
  if (path === data || (await isWritable(path))) return [];
  return [
    {
      area: 'storage',
      level: 'error',
      what: `storage.sqlite.file ${file}: ${path} is not there, or this user may not write into it`,
      why: 'The server does not start.',
      advice: 'Make the folder, and give it to this user.',
    },
  ];
}

async function folder(path: string): Promise<Finding[]> {
  const error = (what: string, advice: string): Finding => ({
    area: 'storage',
    level: 'error',
    what: `${path}: ${what}`,
    why: 'The server does not start.',
    advice,
  });
  const stats = await stat(path).catch((caught: NodeJS.ErrnoException) => caught);
  if (stats instanceof Error) {
    if (stats.code !== 'ENOENT') return [error(`cannot be looked at (${stats.code})`, 'Let this user into it.')];
    const above = await nearestFolder(path);
    return (await isWritable(above))
      ? [
          { area: 'storage', level: 'ok', what: `${path} is not there yet; the server makes it` },
          ...(await space(above)),
        ]
      : [error(`is not there, and this user may not make it in ${above}`, 'Make it, and give it to this user.')];
  }
  if (!stats.isDirectory()) return [error('is not a folder', 'Name another by data in the configuration.')];
  if (!(await isWritable(path))) return [error('this user may not write into it', 'Give it to this user (chown).')];
  const findings: Finding[] = [];
  if ((stats.mode & 0o022) !== 0) {
    findings.push({
      area: 'storage',
      level: 'warning',
      what: `${path}: others may write into it`,
      why: 'They could put their own files in the place of the database and the keys.',
      advice: `chmod 700 ${path}`,
    });
  }
  return [...findings, ...(await space(path))];
}

async function nearestFolder(path: string): Promise<string> {
  const above = dirname(path);
  const isThere = await stat(above).then(
    () => true,
    () => false,
  );
  return isThere || above === path ? above : nearestFolder(above);
}

async function isWritable(path: string): Promise<boolean> {
  return access(path, constants.W_OK | constants.X_OK).then(
    () => true,
    () => false,
  );
}

async function space(path: string): Promise<Finding[]> {
  const { bavail, bsize } = await statfs(path);
  const free = bavail * bsize;
  const what = `${megabytes(free)} are free at ${path}`;
  if (free >= little) return [{ area: 'storage', level: 'ok', what }];
  return [
    {
      area: 'storage',
      level: free < tooLittle ? 'error' : 'warning',
      what: `only ${what}`,
      why: 'On a full disk messages are refused.',
      advice: 'Make room, or move the data folder.',
    },
  ];
}

/** What keeps the server from starting with what lies there. */
async function misplaced(file: string): Promise<Finding | undefined> {
  const { inspect } = await import('../../../storage/sqlite/presence.js');
  try {
    inspect(file);
    return undefined;
  } catch (error) {
    const { name, message } = error as Error;
    if (name !== 'StorageError') throw error;
    return { area: 'storage', level: 'error', what: message, why: 'The server does not start.' };
  }
}

async function database(file: string, isRunning: boolean, full: boolean): Promise<Finding[]> {
  const stats = await stat(file).catch((error: NodeJS.ErrnoException) => error);
  if (stats instanceof Error) {
    if (stats.code !== 'ENOENT' && stats.code !== 'ENOTDIR') throw stats;
    const missed = isRunning ? undefined : await misplaced(file);
    return [missed ?? { area: 'storage', level: 'ok', what: `${file} is not there yet` }];
  }
  const misfit = isRunning ? undefined : await misplaced(file);
  if (misfit !== undefined) return [misfit];
  const findings: Finding[] = [];
  const broken = (what: string, advice: string): Finding => ({
    area: 'storage',
    level: 'error',
    what: `${file}: ${what}`,
    why: 'The server does not start, or loses data.',
    advice,
  });
  if ((stats.mode & 0o077) !== 0) {
    findings.push({
      area: 'storage',
      level: 'warning',
      what: `${file}: others may read or write it`,
      why: 'It holds messages and the keys of passwords.',
      advice: `chmod 600 ${file}`,
    });
  }
  const isLarge = stats.size > quicklyRead && !full;
  const [{ default: Sqlite }, { isLocked }, { lockFile }, { migrations }] = await Promise.all([
    import('better-sqlite3'),
    import('../../../storage/sqlite/errors.js'),
    import('../../../storage/sqlite/file.js'),
    import('../../../storage/sqlite/migrations.js'),
  ]);
  try {
    // Without a server nobody should have it; with one, reading beside it is allowed.
    if (!isRunning) lockFile(file).close();
    const db = new Sqlite(file, { readonly: true, timeout: 1000 });
    try {
      const schema = db.prepare("SELECT value FROM waxwing WHERE property = 'schema'").pluck().get();
      if (typeof schema !== 'number' || schema > migrations.length)
        return [...findings, broken('was written by a newer version', 'Run that version, or a newer one.')];
      const result = isLarge ? 'ok' : String(db.pragma('quick_check(1)', { simple: true }));
      if (result !== 'ok')
        return [...findings, broken(`is damaged: ${result}`, 'Stop the server, and put back a backup.')];
    } finally {
      db.close();
    }
  } catch (error) {
    const { message, name } = error as Error;
    if (name === 'StorageError' || isLocked(error))
      return [...findings, broken(message.replace(`${file} `, ''), 'Find the process by fuser, and stop it.')];
    if (name === 'SqliteError')
      return [...findings, broken(message, 'See whether it is a database of this server, or put back a backup.')];
    throw error;
  }
  const size = megabytes(stats.size);
  findings.push(
    isLarge
      ? { area: 'storage', level: 'note', what: `${file} opens (${size}, read whole only by waxwing check --full)` }
      : { area: 'storage', level: 'ok', what: `${file} is sound (${size})` },
  );
  return findings;
}
