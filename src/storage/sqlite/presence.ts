/**
 * Checks the database files before SQLite opens them: a start stops on unexpected files instead of creating an empty
 * database or combining a database with the log of another.
 *
 * An empty file `…-made` next to the database records that a database was created.
 */
import { closeSync, existsSync, openSync, readSync, statSync, writeFileSync } from 'node:fs';
import { StorageError } from '../contract.js';

const headerBytes = 100;
/** Offsets in the database file format: journal mode and application id. */
const journalAt = 18;
const applicationAt = 68;

/** Identifies our files (shown by `file`): "Waxw". */
export const applicationId = 0x57617877;

const sizeOf = (file: string): number => statSync(file, { throwIfNoEntry: false })?.size ?? 0;

/** Whether the last process did not close the database. Throws StorageError if the server must not start. */
export function inspect(file: string): { readonly isUnclean: boolean } {
  const log = `${file}-wal`;
  const isUnclean = sizeOf(log) > 0;
  const advice = `Restore the database next to it, or restore a backup with: waxwing restore FILE.`;
  if (sizeOf(file) === 0) {
    const what = existsSync(file) ? 'is empty' : 'is missing';
    if (isUnclean)
      throw refusal(
        `${file} ${what}, and ${log} contains its latest writes. ${advice} To start over, move ${log} away.`,
      );
    if (existsSync(made(file)))
      throw refusal(
        `${file} ${what}, but there was a database before. Restore it, or restore a backup with: waxwing restore FILE. ` +
          `To start over, remove ${made(file)}.`,
      );
    return { isUnclean };
  }
  const header = headerOf(file);
  if (header.toString('latin1', 0, 16) !== 'SQLite format 3\0')
    throw new StorageError(
      'corrupt',
      `${file}: file is not a database (SQLITE_NOTADB): its header is damaged, or it is another file. Restore a backup with: waxwing restore FILE`,
    );
  const application = header.readUInt32BE(applicationAt);
  if (application !== applicationId && application !== 0) throw foreign(file);
  if (isUnclean && header[journalAt] === 1)
    throw refusal(
      `${log} belongs to another database than ${file}, which was copied there. Move ${log} away to start with the copy, ` +
        'or use waxwing restore FILE, which does this for you',
    );
  return { isUnclean };
}

export const foreign = (file: string): StorageError => refusal(`${file} is a database of another program`);

/** Records that the database exists, so that a missing one is detected. */
export function noteMade(file: string): void {
  if (!existsSync(made(file))) writeFileSync(made(file), '', { mode: 0o600 });
}

const made = (file: string): string => `${file}-made`;

const refusal = (message: string): StorageError => new StorageError('unavailable', message);

/** Call only before this process opens the database: see file.ts on closing descriptors. */
function headerOf(file: string): Buffer {
  const header = Buffer.alloc(headerBytes);
  const descriptor = openSync(file, 'r');
  try {
    readSync(descriptor, header, 0, headerBytes, 0);
  } finally {
    closeSync(descriptor);
  }
  return header;
}
