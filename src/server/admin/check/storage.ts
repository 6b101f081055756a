import { constants } from 'node:fs';
import { access, stat, statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { megabytes } from '../../words.js';
import { checkCassandra } from './cassandra.js';
import type { Finding, Subject } from './finding.js';
import { checkPostgresql } from './postgresql.js';
import { checkRedis } from './redis.js';
import { checkS3 } from './s3.js';

/** Larger databases are only read completely with --full, in bytes. */
const quicklyRead = 256e6;
/** Free space below which there is an error, and a warning, in bytes. */
const tooLittle = 200e6;
const little = 1e9;

export async function checkStorage({ config, running, full }: Subject): Promise<Finding[]> {
  const { driver, stores, sqlite, postgresql, cassandra } = config.storage;
  const isOnPostgresql = driver === 'postgresql' || Object.values(stores).includes('postgresql');
  const isOnDisk = driver === 'sqlite' || Object.values(stores).includes('sqlite');
  const findings = await folder(config.data);
  if (driver === 'memory') {
    findings.push({
      area: 'storage',
      level: 'warning',
      what: 'storage.driver is "memory"',
      why: 'Accounts and messages are lost when the server stops.',
      advice: 'Set it to "sqlite" or "postgresql", except for tests.',
    });
  }
  const isBroken = findings.some(({ level }) => level === 'error');
  if (config.storage.files.driver === 's3') findings.push(...(await checkS3(config.storage.s3)));
  else if (!isBroken) findings.push(...(await filesFolder(config.storage.files.folder, config.data)));
  if (Object.values(stores).includes('redis')) findings.push(...(await checkRedis(config.storage.redis)));
  if (isOnPostgresql) findings.push(...(await checkPostgresql(postgresql)));
  if (Object.values(stores).includes('cassandra')) findings.push(...(await checkCassandra(cassandra)));
  return isOnDisk && !isBroken
    ? [
        ...findings,
        ...(await folderOf(sqlite.file, config.data)),
        ...(await database(sqlite.file, running !== undefined, full)),
      ]
    : findings;
}

/** The server creates its data folder, but no others. */
async function folderOf(file: string, data: string): Promise<Finding[]> {
  const path = dirname(file);
  if (path === data || (await isWritable(path))) return [];
  return [
    {
      area: 'storage',
      level: 'error',
      what: `storage.sqlite.file ${file}: ${path} does not exist, or is not writable for this user`,
      why: 'The server will not start.',
      advice: 'Create the folder, and make this user its owner.',
    },
  ];
}

/** The server creates this folder with the first upload. */
async function filesFolder(path: string, data: string): Promise<Finding[]> {
  const exists = await stat(path).then(
    () => true,
    () => false,
  );
  const place = exists ? path : await nearestFolder(path);
  if (!(await isWritable(place))) {
    const what = exists ? 'not writable for this user' : `does not exist, and this user cannot create it in ${place}`;
    return [
      {
        area: 'storage',
        level: 'error',
        what: `storage.files.folder ${path}: ${what}`,
        why: 'Files cannot be uploaded.',
        advice: 'Create the folder, and make this user its owner.',
      },
    ];
  }
  return path.startsWith(`${data}/`) ? [] : space(place);
}

async function folder(path: string): Promise<Finding[]> {
  const error = (what: string, advice: string): Finding => ({
    area: 'storage',
    level: 'error',
    what: `${path}: ${what}`,
    why: 'The server will not start.',
    advice,
  });
  const stats = await stat(path).catch((caught: NodeJS.ErrnoException) => caught);
  if (stats instanceof Error) {
    if (stats.code !== 'ENOENT') return [error(`cannot be accessed (${stats.code})`, 'Grant this user access.')];
    const above = await nearestFolder(path);
    return (await isWritable(above))
      ? [
          { area: 'storage', level: 'ok', what: `${path} does not exist yet; the server creates it` },
          ...(await space(above)),
        ]
      : [
          error(
            `does not exist, and this user cannot create it in ${above}`,
            'Create it, and make this user its owner.',
          ),
        ];
  }
  if (!stats.isDirectory()) return [error('is not a folder', 'Set data in the configuration to a folder.')];
  if (!(await isWritable(path))) return [error('not writable for this user', 'Make this user its owner (chown).')];
  const findings: Finding[] = [];
  if ((stats.mode & 0o022) !== 0) {
    findings.push({
      area: 'storage',
      level: 'warning',
      what: `${path}: writable for other users`,
      why: 'They could replace the database and the keys.',
      advice: `chmod 700 ${path}`,
    });
  }
  return [...findings, ...(await space(path))];
}

async function nearestFolder(path: string): Promise<string> {
  const above = dirname(path);
  const exists = await stat(above).then(
    () => true,
    () => false,
  );
  return exists || above === path ? above : nearestFolder(above);
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
  const what = `${megabytes(free)} free at ${path}`;
  if (free >= little) return [{ area: 'storage', level: 'ok', what }];
  return [
    {
      area: 'storage',
      level: free < tooLittle ? 'error' : 'warning',
      what: `only ${what}`,
      why: 'Messages are refused when the disk is full.',
      advice: 'Free some space, or move the data folder.',
    },
  ];
}

/** Why the server cannot start with the file. Returns undefined if it can. */
async function misplaced(file: string): Promise<Finding | undefined> {
  const { inspect } = await import('../../../storage/sqlite/presence.js');
  try {
    inspect(file);
    return undefined;
  } catch (error) {
    const { name, message } = error as Error;
    if (name !== 'StorageError') throw error;
    return { area: 'storage', level: 'error', what: message, why: 'The server will not start.' };
  }
}

async function database(file: string, isRunning: boolean, full: boolean): Promise<Finding[]> {
  const stats = await stat(file).catch((error: NodeJS.ErrnoException) => error);
  if (stats instanceof Error) {
    if (stats.code !== 'ENOENT' && stats.code !== 'ENOTDIR') throw stats;
    const missed = isRunning ? undefined : await misplaced(file);
    return [missed ?? { area: 'storage', level: 'ok', what: `${file} does not exist yet` }];
  }
  const misfit = isRunning ? undefined : await misplaced(file);
  if (misfit !== undefined) return [misfit];
  const findings: Finding[] = [];
  const broken = (what: string, advice: string): Finding => ({
    area: 'storage',
    level: 'error',
    what: `${file}: ${what}`,
    why: 'The server will not start, or will lose data.',
    advice,
  });
  if ((stats.mode & 0o077) !== 0) {
    findings.push({
      area: 'storage',
      level: 'warning',
      what: `${file}: accessible for other users`,
      why: 'It contains messages and password keys.',
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
    // Without a running server, no process may have it open; with one, it can still be read.
    if (!isRunning) lockFile(file).close();
    const db = new Sqlite(file, { readonly: true, timeout: 1000 });
    try {
      const schema = db.prepare("SELECT value FROM waxwing WHERE property = 'schema'").pluck().get();
      if (typeof schema !== 'number' || schema > migrations.length)
        return [...findings, broken('was written by a newer version', 'Use that version, or a newer one.')];
      const result = isLarge ? 'ok' : String(db.pragma('quick_check(1)', { simple: true }));
      if (result !== 'ok')
        return [...findings, broken(`is damaged: ${result}`, 'Stop the server, and restore a backup.')];
    } finally {
      db.close();
    }
  } catch (error) {
    const { message, name } = error as Error;
    if (name === 'StorageError' || isLocked(error))
      return [...findings, broken(message.replace(`${file} `, ''), 'Find the process with fuser, and stop it.')];
    if (name === 'SqliteError')
      return [...findings, broken(message, 'Make sure that it is a Waxwing database, or restore a backup.')];
    throw error;
  }
  const size = megabytes(stats.size);
  findings.push(
    isLarge
      ? {
          area: 'storage',
          level: 'note',
          what: `${file} can be opened (${size}; use waxwing check --full to read it completely)`,
        }
      : { area: 'storage', level: 'ok', what: `${file} is valid (${size})` },
  );
  return findings;
}
