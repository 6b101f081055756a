/**
 * What lies where the database should be, looked at before SQLite touches it: a start that finds something else than it
 * left stops, instead of beginning anew or mixing one database with the log of another.
 *
 * Beside the database lies an empty file, `…-made`, from when there was one for the first time.
 */
import { closeSync, existsSync, openSync, readSync, statSync, writeFileSync } from 'node:fs';
import { StorageError } from '../contract.js';

const headerBytes = 100;
/** Of the database file format: whether it is written by a write-ahead log, and whose it is. */
const journalAt = 18;
const applicationAt = 68;

/** Marks the file as ours (`file` shows it): "Waxw". */
export const applicationId = 0x57617877;

const sizeOf = (file: string): number => statSync(file, { throwIfNoEntry: false })?.size ?? 0;

/** Whether the last process did not close the database in order. Throws StorageError where the server must not start. */
export function inspect(file: string): { readonly isUnclean: boolean } {
  const log = `${file}-wal`;
  const isUnclean = sizeOf(log) > 0;
  const advice = `Put the database back beside it, or a backup by: waxwing restore FILE.`;
  if (sizeOf(file) === 0) {
    const what = existsSync(file) ? 'is empty' : 'is missing';
    if (isUnclean)
      throw refusal(
        `${file} ${what}, and ${log} has what was written to it last. ${advice} To begin anew, move ${log} away.`,
      );
    if (existsSync(made(file)))
      throw refusal(
        `${file} ${what}, and there was a database before. Put it back, or a backup by: waxwing restore FILE. ` +
          `To begin anew, remove ${made(file)}.`,
      );
    return { isUnclean };
  }
  const header = headerOf(file);
  if (header.toString('latin1', 0, 16) !== 'SQLite format 3\0')
    throw new StorageError(
      'corrupt',
      `${file}: file is not a database (SQLITE_NOTADB): its header is damaged, or it is another file. Put back a backup by: waxwing restore FILE`,
    );
  const application = header.readUInt32BE(applicationAt);
  if (application !== applicationId && application !== 0) throw foreign(file);
  if (isUnclean && header[journalAt] === 1)
    throw refusal(
      `${log} belongs to another database than ${file}, which was copied there. Move ${log} away to start with the copy; ` +
        'waxwing restore FILE does all that is needed',
    );
  return { isUnclean };
}

export const foreign = (file: string): StorageError => refusal(`${file} is a database of another program`);

/** From now on the database is missed if it is not there. */
export function noteMade(file: string): void {
  if (!existsSync(made(file))) writeFileSync(made(file), '', { mode: 0o600 });
}

const made = (file: string): string => `${file}-made`;

const refusal = (message: string): StorageError => new StorageError('unavailable', message);

/** Only before this process opens the database: see file.ts on closing descriptors. */
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
