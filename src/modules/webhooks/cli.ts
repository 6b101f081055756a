/** `waxwing webhooks …`: events that no receiver has taken. */
import { type CliContext, cliCommand, serviceOf } from '../../server/module/index.js';
import { oneLine } from '../../server/plain.js';
import { columns, count, time } from '../../server/words.js';
import type { Webhooks } from './services.js';

const host = { type: 'text', description: 'The host. Required if the server has several.' } as const;
const key = { type: 'text', description: 'The event, as "webhooks list" lists it. Default: all.' } as const;

const list = cliCommand({
  name: 'webhooks list',
  summary: 'Lists the events that receivers of webhooks did not take',
  details: 'They were tried (modules.webhooks.tries) and given up.',
  reads: true,
  parameters: {
    after: { type: 'text', description: 'Only events after this one: the next page.' },
    limit: { type: 'count', description: 'Maximum number of events (100).' },
    host,
  },
  async run(context, { after, limit = 100, host }) {
    const found = await webhooksOf(context, host).failed({ after, limit });
    return {
      failed: found.map(({ at, ...rest }) => ({ ...rest, at: new Date(at).toISOString() })),
      next: found.length < limit ? null : found.at(-1)!.key,
    };
  },
  text({ failed, next }) {
    if (failed.length === 0) return 'There are none.';
    const rows = failed.map(({ at, receiver, kind, owner, tries, why, key }) => [
      time(at),
      receiver,
      kind,
      owner,
      String(tries),
      oneLine(why),
      key,
    ]);
    const more = next === null ? '' : `\nThere may be more: --after "${next}"`;
    return columns(rows, ['HAPPENED', 'RECEIVER', 'EVENT', 'OF', 'TRIES', 'WHY', 'KEY']) + more;
  },
});

const retry = cliCommand({
  name: 'webhooks retry',
  summary: 'Tries to deliver events again that were given up',
  parameters: { key, host },
  async run(context, { key, host }) {
    return { retried: await webhooksOf(context, host).retry(key === undefined ? undefined : [key]) };
  },
  text: ({ retried }) => `${count(retried, 'event')} will be tried again.`,
});

const drop = cliCommand({
  name: 'webhooks drop',
  summary: 'Forgets events that were given up',
  parameters: { key, host },
  async run(context, { key, host }) {
    return { dropped: await webhooksOf(context, host).drop(key === undefined ? undefined : [key]) };
  },
  text: ({ dropped }) => `${count(dropped, 'event')} dropped.`,
});

export const cli = [list, retry, drop];

const webhooksOf = (context: CliContext, host: string | undefined): Webhooks =>
  serviceOf(context, host, 'webhooks', 'webhooks').service;
