/** The tables, their creation, and whose they are. docs/decisions/0035-cassandra.md has the reasons. */
import { StorageError } from '../contract.js';
import type { Session } from './session.js';

/** The version that this program creates and knows. */
export const version = '1';

type Kind = 'partition_key' | 'clustering' | 'regular';
type Columns = Readonly<Record<string, readonly [Kind, type: string]>>;

const place: Columns = { store: ['partition_key', 'text'], owner: ['partition_key', 'text'] };
const inBucket: Columns = { ...place, bucket: ['partition_key', 'text'] };

/** All tables. The partitions of `entry` and `entry_with` are the same, so that one write can concern both. */
const tables: Readonly<Record<string, Columns>> = {
  owner: { store: ['partition_key', 'text'], shard: ['partition_key', 'int'], owner: ['clustering', 'text'] },
  bucket: { ...place, kind: ['clustering', 'text'], bucket: ['clustering', 'text'] },
  entry: {
    ...inBucket,
    id: ['clustering', 'text'],
    peer: ['regular', 'text'],
    tag: ['regular', 'text'],
    value: ['regular', 'text'],
  },
  entry_with: { ...inBucket, peer: ['clustering', 'text'], id: ['clustering', 'text'] },
  about: { key: ['partition_key', 'text'], value: ['regular', 'text'] },
};

export interface SchemaOptions {
  /** Copies by datacenter, to create the keyspace. Empty: it has to exist. */
  readonly replication: Readonly<Record<string, number>>;
  /** Days that a file of entries holds. */
  readonly windowDays: number;
}

/** Tables whose files hold some days each, so that those that have expired are deleted as a whole. */
const windowed: ReadonlySet<string> = new Set(['entry', 'entry_with']);

const keyspaces = 'SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = ?';

/** Quotes a name. */
export const named = (name: string): string => `"${name.replaceAll('"', '""')}"`;
const quoted = (text: string): string => `'${text.replaceAll("'", "''")}'`;

/** Creates what is missing, and checks the rest. Rejects with StorageError. */
export async function prepare(session: Session, { replication, windowDays }: SchemaOptions): Promise<void> {
  const keyspace = named(session.keyspace);
  if ((await session.read(keyspaces, [session.keyspace])).length === 0) {
    const copies = Object.entries(replication);
    if (copies.length === 0)
      throw new StorageError(
        'unavailable',
        `${session.where} does not exist; create it, or set storage.cassandra.replication`,
      );
    const factors = copies.map(([name, count]) => `, ${quoted(name)}: ${count}`).join('');
    await session.change(
      `CREATE KEYSPACE IF NOT EXISTS ${keyspace} WITH replication = {'class': 'NetworkTopologyStrategy'${factors}}`,
    );
  }
  const found = await tablesOf(session);
  if (found.has('about')) await demandVersion(session);
  else await create(session, found, windowDays);
  const differences = differencesOf(await tablesOf(session));
  if (differences.length > 0)
    throw new StorageError(
      'corrupt',
      `${session.where}: the schema was changed: ${differences.join('; ')}; restore it`,
    );
  await demandVersion(session);
}

/** What a check finds, which changes nothing: whether there is a schema, and what is wrong with it. */
export async function inspect(
  session: Session,
): Promise<{ isThere: boolean; isKeyspace: boolean; problems: string[] }> {
  const isKeyspace = (await session.read(keyspaces, [session.keyspace])).length > 0;
  const found = await tablesOf(session);
  if (found.size === 0) return { isThere: false, isKeyspace, problems: [] };
  const problems = differencesOf(found);
  if (found.has('about')) {
    const present = await session.read(`SELECT value FROM ${named(session.keyspace)}.about WHERE key = ?`, ['version']);
    const [row] = present;
    if (row !== undefined && row.value !== version) problems.push(otherVersion(row.value));
  }
  return { isThere: true, isKeyspace, problems };
}

/** `about` comes last: where it is, all are. */
async function create(session: Session, found: Tables, windowDays: number): Promise<void> {
  const foreign = [...found.keys()].filter((name) => tables[name] === undefined);
  if (foreign.length > 0)
    throw new StorageError(
      'locked',
      `${session.where} has tables of something else (${foreign.slice(0, 3).join(', ')}); use another keyspace`,
    );
  const windows = ` WITH compaction = {'class': 'TimeWindowCompactionStrategy', 'compaction_window_unit': 'DAYS', 'compaction_window_size': ${windowDays}}`;
  for (const [name, columns] of Object.entries(tables)) {
    const more = windowed.has(name) ? windows : '';
    await session.change(
      `CREATE TABLE IF NOT EXISTS ${named(session.keyspace)}.${name} (${definition(columns)})${more}`,
    );
  }
}

function definition(columns: Columns): string {
  const of = (wanted: Kind): string[] => Object.keys(columns).filter((name) => columns[name]![0] === wanted);
  const clustering = of('clustering').map((name) => `, ${name}`);
  const listed = Object.entries(columns).map(([name, [, type]]) => `${name} ${type}`);
  return `${listed.join(', ')}, PRIMARY KEY ((${of('partition_key').join(', ')})${clustering.join('')})`;
}

type Tables = ReadonlyMap<string, ReadonlyMap<string, string>>;

/** The columns of each table in the keyspace, each with its kind and type. */
async function tablesOf(session: Session): Promise<Tables> {
  const rows = await session.read(
    'SELECT table_name, column_name, kind, type FROM system_schema.columns WHERE keyspace_name = ?',
    [session.keyspace],
  );
  const found = new Map<string, Map<string, string>>();
  for (const { table_name, column_name, kind, type } of rows) {
    let columns = found.get(table_name as string);
    if (columns === undefined) found.set(table_name as string, (columns = new Map()));
    columns.set(column_name as string, `${kind} ${type}`);
  }
  return found;
}

function differencesOf(found: Tables): string[] {
  const differences: string[] = [];
  for (const [name, columns] of Object.entries(tables)) {
    const present = found.get(name);
    if (present === undefined) {
      differences.push(`the table ${name} is missing`);
      continue;
    }
    for (const [column, [kind, type]] of Object.entries(columns)) {
      const there = present.get(column);
      if (there === undefined) differences.push(`${name}.${column} is missing`);
      else if (there !== `${kind} ${type}`) differences.push(`${name}.${column} is ${there}, and not ${kind} ${type}`);
    }
    for (const [column, kind] of present)
      if (columns[column] === undefined) differences.push(`${name}.${column} (${kind}) is not ours`);
  }
  for (const name of found.keys()) if (tables[name] === undefined) differences.push(`the table ${name} is not ours`);
  return differences.slice(0, 5);
}

const otherVersion = (found: unknown): string =>
  `the schema has version ${String(found)}, this version of the program knows ${version}`;

/** The first to come writes the version. Rejects with StorageError. */
async function demandVersion(session: Session): Promise<void> {
  const found = await claim(session, 'version', version);
  if (found !== version) throw new StorageError('locked', `${session.where}: ${otherVersion(found)}`);
}

/** Writes a property unless it is there. Resolves with its value. */
async function claim(session: Session, key: string, value: string): Promise<unknown> {
  const about = `${named(session.keyspace)}.about`;
  const [present] = await session.read(`SELECT value FROM ${about} WHERE key = ?`, [key]);
  if (present !== undefined) return present.value;
  const insert = `INSERT INTO ${about} (key, value) VALUES (?, ?) IF NOT EXISTS`;
  const { isApplied, row } = await session.compare(insert, [key, value]);
  return isApplied ? value : row.value;
}

/** Rejects with StorageError if the keyspace belongs to another server. `id`: of the server, the same for all its nodes. */
export async function demandOwn(session: Session, id: string): Promise<void> {
  const found = await claim(session, 'server', id);
  if (found !== id)
    throw new StorageError(
      'locked',
      `${session.where} belongs to another server (${String(found)}; this one is ${id}). Give this server a storage.cassandra.keyspace of its own. If it replaces the other one, which will not start again, delete the row "server" of the table about`,
    );
}
