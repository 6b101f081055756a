/** Commands that back up and restore the database. They run in the calling program and wait for its disk I/O. */
import { resolve } from 'node:path';
import { wall } from '../clock.js';
import type { Config } from '../config/schema.js';
import { megabytes } from '../words.js';
import { CommandError, localCommand, type Terminal } from './command.js';
import { asCommandError } from './run.js';

const file = { type: 'text', positional: true, required: true } as const;

export const backup = localCommand({
  name: 'backup',
  summary: 'Writes a backup of the whole database to a file',
  details:
    'The backup is consistent, verified, and durable when the command ends; a running server is not blocked. It contains messages and password keys, so only its owner may read it. It does not contain the configuration, certificates and uploaded files: copy those separately, uploaded files (storage.files.folder) after the database.',
  parameters: {
    file: { ...file, description: 'The file to write.' },
    force: { type: 'flag', description: 'Overwrites an existing file.' },
  },
  async run(terminal, { file, force }) {
    const { database } = await placesOf(terminal);
    const to = resolve(file);
    const { backUp } = await import('../../storage/sqlite/backup.js');
    const { bytes } = attempt(() => backUp(database, to, { overwrite: force }));
    return { database, file: to, bytes };
  },
  text: ({ file, bytes }) =>
    `${file} contains the whole database (${megabytes(bytes)}); the backup was verified. Uploaded files are not in it.`,
});

export const restore = localCommand({
  name: 'restore',
  summary: 'Replaces the database with a backup',
  details:
    'The server must not be running. The backup is verified first. The previous database is renamed with the date; delete it once you no longer need it.',
  parameters: { file: { ...file, description: 'A file written by waxwing backup.' } },
  async run(terminal, { file }) {
    const { database, socket } = await placesOf(terminal);
    const { isAnswering } = await import('./client.js');
    if (await isAnswering(socket))
      throw new CommandError('conflict', 'the server is running; stop it first with waxwing stop');
    const { mkdir } = await import('node:fs/promises');
    const { dirname } = await import('node:path');
    await mkdir(dirname(database), { recursive: true, mode: 0o700 });
    const from = resolve(file);
    const stamp = new Date(wall()).toISOString().replace(/[-:]|\.\d+/g, '');
    const { restore } = await import('../../storage/sqlite/backup.js');
    const { bytes, previous = null } = attempt(() => restore(database, from, `before-${stamp}`));
    // `kept` is the deprecated name of `previous`.
    return { database, file: from, bytes, previous, kept: previous };
  },
  text({ database, file, bytes, previous }) {
    const done = `${database} was restored from ${file} (${megabytes(bytes)}).`;
    if (previous === null) return done;
    return `${done}\nThe previous database is ${previous}; to go back: waxwing restore ${previous}`;
  },
});

async function placesOf(terminal: Terminal): Promise<{ readonly database: string; readonly socket: string }> {
  const { file, socket } = await terminal.places();
  const { loadConfiguration } = await import('./configuration.js');
  const { config } = await loadConfiguration(file, terminal.given.data);
  const { sqlite } = config.storage;
  if (!isOnDisk(config)) {
    const { driver } = config.storage;
    const advice = driver === 'postgresql' ? '; use pg_dump' : '';
    throw new CommandError('failed', `storage.driver is "${driver}": there is no database file${advice}`);
  }
  return { database: sqlite.file, socket };
}

const isOnDisk = ({ storage }: Config): boolean =>
  storage.driver === 'sqlite' || Object.values(storage.stores).includes('sqlite');

function attempt<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw asCommandError(error);
  }
}
