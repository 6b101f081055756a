/** Commands that copy the whole database, and put a copy back. They wait for the disk in the program that was called. */
import { resolve } from 'node:path';
import { wall } from '../clock.js';
import type { Config } from '../config/schema.js';
import { megabytes } from '../words.js';
import { CommandError, localCommand, type Terminal } from './command.js';
import { asCommandError } from './run.js';

const file = { type: 'text', positional: true, required: true } as const;

export const backup = localCommand({
  name: 'backup',
  summary: 'Writes a copy of the whole database to a file',
  details:
    'The copy is of one moment, is checked, and is on disk when the command ends; a running server is not held up. It holds messages and the keys of passwords: only its owner may read it. The configuration and certificates are files of their own, to be copied beside it.',
  parameters: {
    file: { ...file, description: 'The file to write.' },
    force: { type: 'flag', description: 'Replaces a file that is there.' },
  },
  async run(terminal, { file, force }) {
    const { database } = await placesOf(terminal);
    const to = resolve(file);
    const { backUp } = await import('../../storage/sqlite/backup.js');
    const { bytes } = attempt(() => backUp(database, to, { overwrite: force }));
    return { database, file: to, bytes };
  },
  text: ({ file, bytes }) => `${file} has the whole database (${megabytes(bytes)}), and was checked.`,
});

export const restore = localCommand({
  name: 'restore',
  summary: 'Puts a backup in the place of the database',
  details:
    'The server must not run. The backup is checked first. The database that was there is kept beside the new one, under a name with the date; remove it when you do not need it any more.',
  parameters: { file: { ...file, description: 'A file that waxwing backup has written.' } },
  async run(terminal, { file }) {
    const { database, socket } = await placesOf(terminal);
    const { isAnswering } = await import('./client.js');
    if (await isAnswering(socket))
      throw new CommandError('conflict', 'the server runs: stop it first, by waxwing stop');
    const { mkdir } = await import('node:fs/promises');
    const { dirname } = await import('node:path');
    await mkdir(dirname(database), { recursive: true, mode: 0o700 });
    const from = resolve(file);
    const stamp = new Date(wall()).toISOString().replace(/[-:]|\.\d+/g, '');
    const { restore } = await import('../../storage/sqlite/backup.js');
    const { bytes, kept } = attempt(() => restore(database, from, `before-${stamp}`));
    return { database, file: from, bytes, kept: kept ?? null };
  },
  text({ database, file, bytes, kept }) {
    const done = `${database} is the backup ${file} now (${megabytes(bytes)}).`;
    if (kept === null) return done;
    return `${done}\nWhat was there is kept as ${kept}; to go back: waxwing restore ${kept}`;
  },
});

async function placesOf(terminal: Terminal): Promise<{ readonly database: string; readonly socket: string }> {
  const { file, socket } = await terminal.places();
  const { loadConfiguration } = await import('./configuration.js');
  const { config } = await loadConfiguration(file, terminal.given.data);
  const { sqlite } = config.storage;
  if (!isOnDisk(config))
    throw new CommandError('failed', 'storage.driver is "memory": nothing is on disk that could be copied');
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
