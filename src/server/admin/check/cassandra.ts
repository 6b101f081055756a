import type { Config } from '../../config/schema.js';
import { type Finding, unusable } from './finding.js';

/** Of the Cassandra cluster: whether the server can start, and whether what is acknowledged is safe. */
export async function checkCassandra(settings: Config['storage']['cassandra']): Promise<Finding[]> {
  const { examine } = await import('../../../storage/cassandra/examine.js');
  const area = 'storage';
  try {
    const found = await examine(settings);
    const { where, isKeyspace, replication, problems, isDurable } = found;
    const findings: Finding[] = problems.map((what) => ({
      area,
      level: 'error',
      what: `${where}: ${what}`,
      why: 'The server will not start.',
      advice:
        'Use the version of Waxwing that wrote it, restore the schema, or use another storage.cassandra.keyspace.',
    }));
    if (!isKeyspace && Object.keys(settings.replication).length === 0)
      findings.push({
        area,
        level: 'error',
        what: `${where} does not exist`,
        why: 'The server will not start.',
        advice: 'Create it, or set storage.cassandra.replication, so that the server does.',
      });
    for (const { address, version } of found.down)
      findings.push({
        area,
        level: 'warning',
        what: `${where}: the node ${address} (${version ?? 'unknown version'}) does not answer`,
        why: 'Copies on it are missing what is written meanwhile.',
        advice: 'Start it, or remove it from the cluster.',
      });
    const copies = replication.reduce((sum, [, count]) => sum + count, 0);
    if (isKeyspace && copies < 3)
      findings.push({
        area,
        level: 'warning',
        what: `${where}: ${copies} ${copies === 1 ? 'copy' : 'copies'} of each message`,
        why: 'If a node fails, archives cannot be read or written, or are lost.',
        advice: 'Use three nodes or more with three copies (ALTER KEYSPACE, then nodetool repair --full).',
      });
    if (isKeyspace && !isDurable)
      findings.push({
        area,
        level: 'error',
        what: `${where}: durable_writes is false`,
        why: 'A crash of the nodes loses acknowledged messages.',
        advice: 'ALTER KEYSPACE … WITH durable_writes = true.',
      });
    if (settings.consistency === 'one' || settings.consistency === 'local_one')
      findings.push({
        area,
        level: 'warning',
        what: `storage.cassandra.consistency is "${settings.consistency}"`,
        why: 'A node that fails can take acknowledged messages with it.',
        advice: 'Use "local_quorum", except for tests.',
      });
    findings.push({
      area,
      level: 'note',
      what: 'archives in Cassandra are limited by age alone (modules.mam.keep, storage.cassandra.expiry_seconds), and not by modules.mam.keep_messages or limits.archive_bytes; they cannot be searched for words',
    });
    if (!findings.some(({ level }) => level === 'error')) {
      const versions = [...new Set(found.up.map(({ version }) => version ?? 'unknown'))].join(', ');
      findings.push({ area, level: 'ok', what: `${where}: ${found.up.length} up, version ${versions}` });
    }
    return findings;
  } catch (error) {
    return unusable(
      error,
      'The server will not start.',
      'Compare [storage.cassandra] with docs/storage.md, and try the same with cqlsh.',
    );
  }
}
