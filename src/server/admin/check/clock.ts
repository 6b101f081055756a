import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { wall } from '../../clock.js';
import type { Finding, Subject } from './finding.js';

/** Milliseconds that a file may be ahead of the clock: file systems of other machines have clocks of their own. */
const tolerance = 60_000;

/** Looks whether the clock stands before what has certainly been: the program was made, files were written. */
export async function checkClock({ config }: Pick<Subject, 'config'>, now = wall()): Promise<Finding[]> {
  const program = [new URL(import.meta.url), new URL('../../../../../package.json', import.meta.url)];
  const names = await readdir(config.data).catch(() => []);
  const files = [...program, ...names.slice(0, 100).map((name) => join(config.data, name))];
  const times = await Promise.all(
    files.map((file) =>
      stat(file).then(
        ({ mtimeMs }) => mtimeMs,
        () => 0,
      ),
    ),
  );
  const latest = Math.max(...times);
  if (latest <= now + tolerance) return [{ area: 'clock', level: 'ok', what: new Date(now).toISOString() }];
  return [
    {
      area: 'clock',
      level: 'error',
      what: `it is said to be ${new Date(now).toISOString()}, but files were written on ${new Date(latest).toISOString()}`,
      why: 'Messages are ordered by it, certificates and login tokens are valid by it.',
      advice: 'Set the clock, and keep it right by NTP (timedatectl set-ntp true).',
    },
  ];
}
