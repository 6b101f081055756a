import type { Config } from '../../config/schema.js';
import { type Finding, unusable } from './finding.js';

/** Of the Redis server: whether the server can use it, and whether it fills up. */
export async function checkRedis(settings: Config['storage']['redis']): Promise<Finding[]> {
  const [{ examine }, { format }] = await Promise.all([
    import('../../../storage/redis/examine.js'),
    import('../../../storage/redis/keyspace.js'),
  ]);
  const area = 'storage';
  try {
    const { where, engine, version, eviction, maxMemory, marker } = await examine(settings);
    const keys = `the keys under ${settings.prefix}:`;
    if (marker === null || (marker !== undefined && marker.format !== format))
      return [
        {
          area,
          level: 'error',
          what: `${where}: ${keys} ${marker === null ? 'are not of Waxwing' : `have the form ${marker.format}, and this version writes ${format}`}`,
          why: 'The server will not start.',
          advice: 'Choose another storage.redis.prefix, or delete the keys if no server uses them any more.',
        },
      ];
    const whose = marker === undefined ? 'are nobody’s yet' : `belong to the server ${marker.server}`;
    const findings: Finding[] = [
      { area, level: 'ok', what: `${where}: ${engine} ${version} can be used; ${keys} ${whose}` },
    ];
    if (maxMemory > 0 && eviction === 'noeviction')
      findings.push({
        area,
        level: 'note',
        what: `${where}: maxmemory-policy is noeviction`,
        why: 'When its memory is used up, nothing more is stored.',
        advice: 'Set it to allkeys-lru, if it holds only what may be lost.',
      });
    return findings;
  } catch (error) {
    return unusable(
      error,
      'What it would hold is missing. The server does not start if the settings are wrong, but does if Redis is only away.',
      'Compare [storage.redis] with docs/storage.md.',
    );
  }
}
