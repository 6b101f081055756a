import { readFile } from 'node:fs/promises';
import type { Finding, Subject } from './finding.js';

/** Open files of the server besides its connections. */
const reserve = 100;

/** Checks that the system's limit of open files allows as many connections as the configuration. */
export async function checkLimits(
  { config, running }: Pick<Subject, 'config' | 'running'>,
  openFiles = openFilesOf(running?.pid),
): Promise<Finding[]> {
  const limit = await openFiles;
  const { connections } = config.limits;
  if (limit === undefined)
    return [{ area: 'limits', level: 'note', what: 'the limit of open files is not known on this system' }];
  const what = `${limit} open files${running === undefined ? ' for processes of this user' : ' for the running server'}`;
  if (limit >= Math.min(connections, 100_000) + reserve) return [{ area: 'limits', level: 'ok', what }];
  return [
    {
      area: 'limits',
      level: limit < 1000 ? 'warning' : 'note',
      what: `${what}, and limits.connections is ${connections === Infinity ? 'unlimited' : connections}`,
      why: `The server can accept at most about ${Math.max(0, limit - reserve)} connections.`,
      advice: 'Raise it (LimitNOFILE= of systemd, ulimit -n), or lower limits.connections.',
    },
  ];
}

/** The limit of a process, or of the server if started from here: Node raises the soft limit to the hard one. */
async function openFilesOf(pid: number | undefined): Promise<number | undefined> {
  const text = await readFile(`/proc/${pid ?? 'self'}/limits`, 'utf8').catch(() => '');
  const soft = /^Max open files\s+(\S+)/m.exec(text)?.[1];
  return soft === 'unlimited' ? Infinity : soft === undefined ? undefined : Number(soft);
}
