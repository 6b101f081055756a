import type { Config } from '../../config/schema.js';
import { type Finding, unusable } from './finding.js';

type Settings = Config['storage']['postgresql'];

/** Of the PostgreSQL server: whether the server can start, and whether what is acknowledged is safe. */
export async function checkPostgresql(settings: Settings): Promise<Finding[]> {
  const { examine } = await import('../../../storage/postgresql/examine.js');
  const area = 'storage';
  try {
    const found = await examine(settings);
    const { where, version, schema, replicas } = found;
    const findings: Finding[] = [];
    const refused = (what: string, advice: string): void => {
      findings.push({ area, level: 'error', what: `${where}: ${what}`, why: 'The server will not start.', advice });
    };
    if (found.versionNumber < 13_0000) refused(`version ${version}`, 'Use PostgreSQL 13 or later.');
    if (found.encoding !== 'UTF8') refused(`encoding ${found.encoding}`, 'Create the database with the encoding UTF8.');
    if (found.isStandby) refused('it is a standby', 'Set storage.postgresql.host to the primary.');
    if (schema.version > schema.known)
      refused(
        `schema "${settings.schema}" has version ${schema.version}, this version of the program knows ${schema.known}`,
        'Use the newer version of Waxwing that wrote it.',
      );
    const { synchronous_commit: commit, fsync, full_page_writes: pages } = found.settings;
    if (commit === 'off')
      refused('synchronous_commit is off', 'Set it to on: else a crash loses acknowledged messages.');
    if (commit === 'local' && replicas.isAwaited)
      findings.push({
        area,
        level: 'warning',
        what: `${where}: synchronous_commit is local`,
        why: 'Commits do not wait for the replica in synchronous_standby_names, which lacks the latest after a failover.',
        advice: 'Set it to on.',
      });
    for (const [name, value] of [
      ['fsync', fsync],
      ['full_page_writes', pages],
    ] as const) {
      if (value === 'on') continue;
      findings.push({
        area,
        level: 'warning',
        what: `${where}: ${name} is ${value}`,
        why: 'A power failure can damage the database, and lose acknowledged messages.',
        advice: 'Set it to on.',
      });
    }
    if (replicas.connected > 0 && !replicas.isAwaited)
      findings.push({
        area,
        level: 'warning',
        what: `${where}: it has replicas (${replicas.connected}), and synchronous_standby_names is empty`,
        why: 'A replica lacks the latest commits: a failover to it loses acknowledged messages.',
        advice: 'Set synchronous_standby_names, unless the replicas are only for reading or for backups.',
      });
    if (!findings.some(({ level }) => level === 'error'))
      findings.push({ area, level: 'ok', what: `${where}: version ${version}, ${settings.lanes + 1} connections` });
    return findings;
  } catch (error) {
    return unusable(
      error,
      'The server will not start.',
      'Compare [storage.postgresql] with docs/storage.md, and try the same with psql.',
    );
  }
}
