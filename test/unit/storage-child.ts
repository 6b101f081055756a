/** Another process with the database: run by the storage tests as `node storage-child.js TASK FILE`. */
import Sqlite from 'better-sqlite3';
import { openSqlite } from '../../src/storage/sqlite/index.js';

const [task, file] = process.argv.slice(2) as [string, string];
const say = (line: string): void => void process.stdout.write(`${line}\n`);

if (task === 'append') {
  // Until it is killed: prints the entries that are durable.
  const storage = await openSqlite({ file, walBytes: 256 * 1024, indexInterval: 1, isBusy: () => false });
  const log = storage.log('archive', { text: (value) => value });
  const document = storage.document<number>('last');
  let n = 0;
  const write = async (): Promise<void> => {
    for (;;) {
      const number = n++;
      const owner = `${number % 10}`;
      const id = `${process.pid}-${String(number).padStart(8, '0')}`;
      await log.append(owner, { id, value: `night ${'x'.repeat(number % 2000)}` });
      say(`${owner} ${id}`);
    }
  };
  const count = async (): Promise<void> => {
    for (let value = 0; ; value++) {
      await document.set('counter', value);
      say(`counter ${value}`);
    }
  };
  await Promise.all([...Array.from({ length: 40 }, write), count()]);
} else if (task === 'open') {
  // Locks the database until it is stopped or killed.
  const storage = await openSqlite({ file });
  say('open');
  process.stdin.once('data', () => void storage.close());
} else if (task === 'lock') {
  // Like a user of SQLite's shell: writes, and commits when told.
  const db = new Sqlite(file);
  db.exec('BEGIN IMMEDIATE');
  say('locked');
  process.stdin.once('data', () => {
    db.exec('COMMIT');
    db.close();
    process.stdin.destroy();
  });
} else if (task === 'read') {
  // Like a backup: reads, and prevents its pages from being overwritten.
  const db = new Sqlite(file, { readonly: true });
  db.exec('BEGIN');
  db.prepare('SELECT count(*) FROM sqlite_schema').get();
  say('reading');
  process.stdin.once('data', () => {
    db.close();
    process.stdin.destroy();
  });
}
