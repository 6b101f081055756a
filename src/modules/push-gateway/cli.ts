/** `waxwing push …`: notifications that the gateway has given up. */
import { type CliContext, cliCommand, serviceOf } from '../../server/module/index.js';
import { oneLine } from '../../server/plain.js';
import { columns, count, time } from '../../server/words.js';
import type { PushGateway } from './services.js';

const host = { type: 'text', description: 'The host. Required if the server has several.' } as const;
const key = { type: 'text', description: 'The notification, as "push list" lists it. Default: all.' } as const;

const list = cliCommand({
  name: 'push list',
  summary: 'Lists the notifications that push services did not take',
  details: 'The gateway (modules.push_gateway) has given them up. Devices that no longer exist are not among them.',
  reads: true,
  parameters: {
    after: { type: 'text', description: 'Only notifications after this one: the next page.' },
    limit: { type: 'count', description: 'Maximum number of notifications (100).' },
    host,
  },
  async run(context, { after, limit = 100, host }) {
    const found = await gatewayOf(context, host).failed({ after, limit });
    return {
      failed: found.map(({ at, ...rest }) => ({ ...rest, at: new Date(at).toISOString() })),
      next: found.length < limit ? null : found.at(-1)!.key,
    };
  },
  text({ failed, next }) {
    if (failed.length === 0) return 'There are none.';
    const rows = failed.map(({ at, user, tries, why, key }) => [time(at), user, String(tries), oneLine(why), key]);
    const more = next === null ? '' : `\nThere may be more: --after "${next}"`;
    return columns(rows, ['PUBLISHED', 'ACCOUNT', 'TRIES', 'WHY', 'KEY']) + more;
  },
});

const retry = cliCommand({
  name: 'push retry',
  summary: 'Tries to deliver notifications again that were given up',
  parameters: { key, host },
  async run(context, { key, host }) {
    return { retried: await gatewayOf(context, host).retry(key === undefined ? undefined : [key]) };
  },
  text: ({ retried }) => `${count(retried, 'notification')} will be tried again.`,
});

const drop = cliCommand({
  name: 'push drop',
  summary: 'Forgets notifications that were given up',
  parameters: { key, host },
  async run(context, { key, host }) {
    return { dropped: await gatewayOf(context, host).drop(key === undefined ? undefined : [key]) };
  },
  text: ({ dropped }) => `${count(dropped, 'notification')} dropped.`,
});

export const cli = [list, retry, drop];

const gatewayOf = (context: CliContext, host: string | undefined): PushGateway =>
  serviceOf(context, host, 'pushGateway', 'push_gateway').service;
