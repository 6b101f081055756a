import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { wall } from '../../clock.js';
import type { Finding, Subject } from './finding.js';

/** How far a file may be ahead of the clock, in ms: network file systems use other clocks. */
const tolerance = 60_000;

/** Checks that the clock is not earlier than the program's files and the data files. */
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
      what: `the clock says ${new Date(now).toISOString()}, but files were written on ${new Date(latest).toISOString()}`,
      why: 'The order of messages, and the validity of certificates and login tokens, depend on it.',
      advice: 'Set the clock, and synchronize it with NTP (timedatectl set-ntp true).',
    },
  ];
}
