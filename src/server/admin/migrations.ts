/** The command that copies all data from one storage to another. It runs in the calling program. */
import type { Storage } from '../../storage/contract.js';
import type { Migrated, MigrationReport } from '../../storage/migrate.js';
import type { Driver } from '../../storage/open.js';
import type { Config } from '../config/schema.js';
import { columns, count, megabytes } from '../words.js';
import { CommandError, exitCodes, localCommand, type Terminal } from './command.js';
import { asCommandError } from './run.js';
import { withoutLossy } from './without-lossy.js';

const place = { type: 'text', required: true } as const;

interface MigrateData extends Migrated {
  readonly from: string;
  readonly to: string;
  /** Folders of uploaded files, which are not part of a storage. */
  readonly files: { readonly from: string; readonly to: string };
}

export const migrate = localCommand({
  name: 'storage migrate',
  summary: 'Copies all data from one storage to another, such as from SQLite to another driver',
  details:
    'The server must not be running, and the target must be empty. A storage is named by its driver, with the settings that the configuration has for it (sqlite), by a SQLite file (sqlite:FILE), or by another configuration (FILE.toml): then it is all storage of that configuration. If the command is interrupted, call it again: it continues where it was. A server refuses to start with a target that is not complete. At the end the number of records and bytes of every owner in every store is compared. The source is not changed. Uploaded files are not part of a storage: the command says what to copy, if anything.',
  parameters: {
    from: { ...place, description: 'The storage to copy.' },
    to: { ...place, description: 'The storage to copy to.' },
    stores: {
      type: 'text',
      description:
        'Only these stores, separated by commas, such as archive, to move them to another driver with storage.stores.',
    },
    restart: {
      type: 'flag',
      description: 'Deletes what an earlier call has copied, and begins again: needed if the source was used since.',
    },
  },
  async run(terminal, { from, to, stores, restart }): Promise<MigrateData> {
    const source = await storageNamed(terminal, from);
    const target = await storageNamed(terminal, to);
    if (source.place === target.place)
      throw new CommandError('usage', `both are the same storage, ${source.place}; use another one for --to`);
    await source.demandPresent();
    const only = stores
      ?.split(',')
      .map((name) => name.trim())
      .filter((name) => name !== '')
      .sort();
    if (to === 'cassandra') await demandFitting(only);
    const { migrate } = await import('../../storage/migrate.js');
    const { ProgressBar } = await import('./progress-bar.js');
    const bar = new ProgressBar();
    const opened: Storage[] = [];
    try {
      for (const { open } of [source, target]) opened.push(await open());
      const migrated = await migrate(opened[0]!, opened[1]!, {
        name: source.place,
        only,
        restart,
        report: (report) => bar.show(partOf(report), () => progressText(report)),
      });
      return { from: source.place, to: target.place, files: { from: source.files, to: target.files }, ...migrated };
    } catch (error) {
      throw asCommandError(error);
    } finally {
      bar.end();
      for (const storage of opened) await storage.close();
    }
  },
  text({ from, to, files, continued, stores, differences, damaged }) {
    const rows = stores.map(({ name, shape, owners, records, bytes }) => [
      name,
      shape,
      String(owners),
      String(records),
      megabytes(bytes),
    ]);
    const unread = damaged.map(({ name, owner, key }) => `  ${name} of ${owner}${key === null ? '' : `: ${key}`}`);
    const folders =
      files.from === files.to
        ? `Uploaded files stay in ${files.from}.`
        : `Uploaded files are not copied: copy ${named(files.from)} to ${files.to}.`;
    return [
      columns(rows, ['STORE', 'SHAPE', 'OWNERS', 'RECORDS', 'SIZE']),
      ...(unread.length === 0 ? [] : ['', 'Damaged in the source, and not copied:', ...unread]),
      '',
      ...(differences.length === 0
        ? [`All of this is in ${to}${continued ? ', after an interruption' : ''}; counts and sizes were compared.`]
        : [
            `The migration is not complete: ${to} differs from ${from}. Call it again with --restart.`,
            ...differences.map((text) => `  ${text}`),
          ]),
      folders,
    ].join('\n');
  },
  exitCode: ({ differences }) => (differences.length > 0 ? exitCodes.failed : exitCodes.done),
});

/** A folder, or a bucket with its prefix. */
const named = (place: string): string => (place.startsWith('s3://') ? place : `the folder ${place}`);

const partOf = ({ done, total }: MigrationReport): number => (total === 0 ? 1 : done / total);

function progressText({ phase, store, done, total, records }: MigrationReport): string {
  const owners = `${done} of ${count(total, 'owner')}`;
  return phase === 'copying'
    ? `${store.name}: ${owners}, ${count(records, 'record')}`
    : `comparing ${store.name}: ${owners}`;
}

interface NamedStorage {
  /** Describes it; equal for equal storages. */
  readonly place: string;
  /** Folder of uploaded files, or `s3://BUCKET/PREFIX`. */
  readonly files: string;
  /** Rejects with CommandError if there is nothing to copy. */
  demandPresent(): Promise<void>;
  open(): Promise<Storage>;
}

/** Rejects with CommandError if a server uses the storage, or if there is no such driver. */
async function storageNamed(terminal: Terminal, text: string): Promise<NamedStorage> {
  const { resolve } = await import('node:path');
  const isConfiguration = text.endsWith('.toml');
  const [, database] = /^sqlite:(.+)$/s.exec(text) ?? [];
  const { findPlaces } = await import('../config/places.js');
  const places = isConfiguration ? findPlaces({ file: resolve(text) }) : await terminal.places();
  const { loadConfiguration } = await import('./configuration.js');
  const data = isConfiguration ? undefined : terminal.given.data;
  const { config } = await loadConfiguration(places.file, data);
  const { isAnswering } = await import('./client.js');
  if (await isAnswering(places.socket))
    throw new CommandError('conflict', 'the server is running; stop it first with waxwing stop');
  const chosen = choose(config, isConfiguration ? undefined : database === undefined ? text : 'sqlite');
  const used: Used =
    database === undefined
      ? chosen
      : { ...chosen, storage: { ...chosen.storage, sqlite: { ...chosen.storage.sqlite, file: resolve(database) } } };
  const { driver, stores, sqlite, files, s3 } = used.storage;
  const drivers = [...new Set([driver, ...Object.values(stores)])];
  if (drivers.includes('memory')) throw new CommandError('usage', 'data in memory cannot be copied');
  const { existsSync, mkdirSync } = await import('node:fs');
  const { dirname } = await import('node:path');
  return {
    place: drivers.map((name) => (name === 'sqlite' ? sqlite.file : name)).join(' and '),
    files: files.driver === 's3' ? `s3://${s3.bucket}/${s3.prefix}` : files.folder,
    async demandPresent() {
      if (drivers.includes('sqlite') && !existsSync(sqlite.file))
        throw new CommandError('failed', `${sqlite.file} does not exist`);
    },
    async open() {
      if (drivers.includes('sqlite')) mkdirSync(dirname(sqlite.file), { recursive: true, mode: 0o700 });
      const { openAll, openDriver } = await import('../../storage/open.js');
      const warn = (message: string) => terminal.progress(message);
      return openAll(used, (name) => openDriver(name, used, { warn }));
    },
  };
}

/** Rejects with CommandError unless all of these stores can be in Cassandra. */
async function demandFitting(only: readonly string[] | undefined): Promise<void> {
  const { misplacedStores } = await import('../config/cassandra.js');
  const misplaced = only && misplacedStores(Object.fromEntries(only.map((name) => [name, 'cassandra'])));
  if (misplaced === undefined || misplaced.length > 0)
    throw new CommandError('usage', 'Cassandra is for the archive alone; use --stores archive');
}

/** A configuration whose driver for everything may be one that holds logs alone. */
type Used = Omit<Config, 'storage'> & { storage: Omit<Config['storage'], 'driver'> & { readonly driver: Driver } };

/** The configuration with one driver for everything. Throws CommandError if there is no such driver. */
function choose(config: Config, name: string | undefined): Used {
  if (name === undefined) return withoutLossy(config);
  const known: readonly string[] = ['sqlite', 'postgresql', 'cassandra'] satisfies readonly Driver[];
  if (!known.includes(name))
    throw new CommandError('usage', `unknown storage ${name}; use one of ${known.join(', ')}, sqlite:FILE, FILE.toml`);
  return { ...config, storage: { ...config.storage, driver: name as Driver, stores: {} } };
}
