/** `waxwing report …`: reports of abuse (XEP-0377). */
import { type CliContext, CommandError, cliCommand } from '../../server/module/index.js';
import { oneLine, plain } from '../../server/plain.js';
import { columns, count, facts, time } from '../../server/words.js';
import type { KeptReport, Reports } from './services.js';

const host = { type: 'text', description: 'The host. Required if the server has several.' } as const;

/** A report as JSON. */
interface ReportData extends Omit<KeptReport, 'at' | 'room'> {
  /** ISO. */
  readonly at: string;
  readonly room: string | null;
}

const described = ({ at, room, ...rest }: KeptReport): ReportData => ({
  ...rest,
  at: new Date(at).toISOString(),
  room: room ?? null,
});

/** Indents text of users, so that none of its lines looks like part of our output. */
const quoted = (text: string): string => plain(text).replace(/^/gm, '  ');

const shortReason = (reason: string): string => reason.replace(/^urn:xmpp:reporting:/, '');

const list = cliCommand({
  name: 'report list',
  summary: 'Lists reports of abuse, the latest first',
  reads: true,
  parameters: {
    host,
    before: { type: 'text', description: 'Only reports before the one with this id: the next page.' },
    limit: { type: 'count', description: 'Maximum number of reports (100).' },
  },
  async run(context, { host, before, limit = 100 }) {
    const found = await reportsOf(context, host).list({ limit, before });
    return { reports: found.map(described), next: found.length < limit ? null : found.at(-1)!.id };
  },
  text({ reports, next }) {
    if (reports.length === 0) return 'There are no reports.';
    const rows = reports.map(({ id, at, by, jid, room, reason, text }) => [
      id,
      time(at),
      room === null ? jid : `${jid} in ${room}`,
      shortReason(reason),
      by,
      text.split('\n', 1)[0]!.slice(0, 60),
    ]);
    const more = next === null ? '' : `\nThere may be more: --before ${next}`;
    return columns(rows, ['REPORT', 'TIME', 'ABOUT', 'REASON', 'BY', '']) + more;
  },
});

const show = cliCommand({
  name: 'report show',
  summary: 'Shows a report of abuse with the reported messages',
  reads: true,
  parameters: { id: { type: 'text', positional: true, required: true, description: 'The id of the report.' }, host },
  async run(context, { id, host }) {
    const found = await reportsOf(context, host).get(id);
    if (found === undefined) throw unknown(id);
    return described(found);
  },
  text({ id, at, by, jid, room, reason, text, messages, evidence }) {
    const head = facts([
      ['Report', id],
      ['Time', time(at)],
      ['About', jid],
      ['Room', room ?? ''],
      ['Reason', shortReason(reason)],
      ['By', by],
      ['Messages', messages.length === 0 ? '' : `${messages.length} named, ${evidence.length} stored`],
    ]);
    return [head, ...[text, ...evidence].filter((part) => part !== '').map(quoted)].join('\n\n');
  },
});

const forget = cliCommand({
  name: 'report forget',
  summary: 'Deletes a report of abuse, or all of them',
  parameters: {
    id: { type: 'text', positional: true, description: 'The id of the report.' },
    all: { type: 'flag', description: 'Deletes all reports.' },
    host,
  },
  async run(context, { id, all, host }) {
    if (all === (id !== undefined)) throw new CommandError('usage', 'give the id of a report, or --all');
    const gone = await reportsOf(context, host).forget(id === undefined ? 'all' : [id]);
    if (gone === 0 && id !== undefined) throw unknown(id);
    return { forgotten: gone };
  },
  text: ({ forgotten }) => `${count(forgotten, 'report')} removed.`,
});

/** Throws CommandError. */
function reportsOf({ hosts }: CliContext, domain: string | undefined): Reports {
  if (domain === undefined && hosts.length > 1)
    throw new CommandError('usage', 'this server has several hosts: choose one with --host');
  const host = domain === undefined ? hosts[0] : hosts.find((one) => one.domain === domain);
  if (host === undefined) throw new CommandError('not-found', `this server does not serve ${domain}`);
  const reports = host.provided('reports');
  if (reports === undefined) throw new CommandError('failed', 'the module "reports" is disabled for this host');
  return reports;
}

const unknown = (id: string) => new CommandError('not-found', `there is no report ${oneLine(id)}`);

export const cli = [list, show, forget];
