import { readFile } from 'node:fs/promises';
import type { Finding, Subject } from './finding.js';

/** Files that the server has open besides its connections. */
const reserve = 100;

/** Whether the system lets the server have as many connections as the configuration does. */
export async function checkLimits(
  { config, running }: Pick<Subject, 'config' | 'running'>,
  openFiles = openFilesOf(running?.pid),
): Promise<Finding[]> {
  const limit = await openFiles;
  const { connections } = config.limits;
  if (limit === undefined)
    return [{ area: 'limits', level: 'note', what: 'the limit of open files cannot be told on this system' }];
  const what = `${limit} open files${running === undefined ? ' for what this user starts here' : ' for the running server'}`;
  if (limit >= Math.min(connections, 100_000) + reserve) return [{ area: 'limits', level: 'ok', what }];
  return [
    {
      area: 'limits',
      level: limit < 1000 ? 'warning' : 'note',
      what: `${what}, and limits.connections is ${connections === Infinity ? 'unlimited' : connections}`,
      why: `Above about ${Math.max(0, limit - reserve)} connections no more can be accepted.`,
      advice: 'Raise it (LimitNOFILE= of systemd, ulimit -n), or lower limits.connections.',
    },
  ];
}

/** Of a process, or of what this one starts: Node has raised its soft limit to the hard one. */
async function openFilesOf(pid: number | undefined): Promise<number | undefined> {
  const text = await readFile(`/proc/${pid ?? 'self'}/limits`, 'utf8').catch(() => '');
  const soft = /^Max open files\s+(\S+)/m.exec(text)?.[1];
  return soft === 'unlimited' ? Infinity : soft === undefined ? undefined : Number(soft);
}
