/** `waxwing s2s …`: streams to and from other servers. */
import { Jid } from '../address/jid.js';
import type { Federation } from '../federation.js';
import type { Server } from '../server.js';
import { type Pause, remoteOf, type ServerStream } from '../stream/s2s/inspection.js';
import { columns, count, facts, time } from '../words.js';
import { CommandError, serverCommand } from './command.js';

/** Streams on a page, unless the caller wants another number. */
const usualPage = 100;

/** Throws CommandError if there is no federation. */
function demandFederation({ federation }: Server): Federation {
  if (typeof federation !== 'string') return federation;
  throw new CommandError('failed', `there are no streams with other servers: ${federation}`);
}

/** Returns the domain in its normal form. Throws CommandError. */
export function demandDomain(text: string): string {
  const jid = Jid.tryParse(text);
  if (jid !== undefined && jid.full === jid.domain) return jid.domain;
  throw new CommandError('usage', `${JSON.stringify(text)} is not a domain; use one such as example.org`);
}

export const list = serverCommand({
  name: 's2s list',
  summary: 'Lists streams to and from other servers',
  details: 'In a cluster these are the streams of the node that answers.',
  reads: true,
  parameters: {
    domain: { type: 'text', positional: true, description: 'Only streams with this domain and its subdomains.' },
    limit: { type: 'count', description: `Most streams on a page (${usualPage}).` },
    page: { type: 'count', description: 'The page to show, from 1.' },
  },
  run({ server }, { domain, limit = usualPage, page = 1 }) {
    const wanted = domain === undefined ? undefined : demandDomain(domain);
    const isWanted = (name: string) => wanted === undefined || name === wanted || name.endsWith(`.${wanted}`);
    const all = demandFederation(server)
      .describe()
      .filter((stream) => isWanted(remoteOf(stream)) || stream.pairs.some(({ remote }) => isWanted(remote)));
    const pages = Math.max(1, Math.ceil(all.length / limit));
    return { streams: all.slice((page - 1) * limit, page * limit), total: all.length, page, pages };
  },
  text({ streams, total, page, pages }) {
    if (total === 0) return 'No streams.';
    if (streams.length === 0) return `There is no page ${page}; the last is ${pages}.`;
    return `${streamTable(streams)}${pages > 1 ? `\nPage ${page} of ${pages}; ${count(total, 'stream')}.` : ''}`;
  },
});

function streamTable(streams: readonly ServerStream[]): string {
  const rows = streams.flatMap((stream) => {
    const [first, ...others] = stream.pairs;
    const { claimed } = stream;
    const names = first ?? { remote: `(${claimed?.remote ?? 'unknown'})`, local: claimed?.local ?? '' };
    const { direction, tls, authentication, since, received, sent, queued } = stream;
    return [
      [
        names.remote,
        direction === 'in' ? '->' : '<-',
        names.local,
        ...[stream.state, tls?.protocol ?? 'no TLS', authentication ?? '', time(since)],
        ...[received, sent, queued].map(String),
      ],
      ...others.map(({ remote, local }) => [remote, '', local]),
    ];
  });
  return columns(rows, ['DOMAIN', '', 'HERE', 'STATE', 'TLS', 'LOGIN', 'SINCE', 'RECEIVED', 'SENT', 'QUEUED']);
}

export const show = serverCommand({
  name: 's2s show',
  summary: 'Shows the streams with another server, and its back-off',
  reads: true,
  parameters: {
    domain: { type: 'text', positional: true, required: true, description: 'Domain of the other server.' },
  },
  run({ server }, { domain: text }) {
    const domain = demandDomain(text);
    const federation = demandFederation(server);
    const { connect } = server.config.s2s;
    const counts = federation.domains.named.get(domain);
    return {
      domain,
      streams: federation.describe().filter((one) => remoteOf(one) === domain || hasPair(one, domain)),
      pauses: federation.pauses(domain),
      connect: Object.hasOwn(connect, domain) ? connect[domain]! : null,
      // Null unless the domain is among the busiest, which are counted one by one.
      counts: counts && { ...counts, failures: Object.fromEntries(counts.failures) },
    };
  },
  text({ domain, streams, pauses, connect, counts }) {
    const failures = Object.entries(counts?.failures ?? {}).map(([step, number]) => `${step} ${number}`);
    const about = facts([
      ['Domain', domain],
      ['Address', connect === null ? undefined : `${connect} (s2s.connect)`],
      ['Received', counts && count(counts.received, 'stanza')],
      ['Sent', counts && count(counts.sent, 'stanza')],
      ['Failures', failures.join(', ')],
    ]);
    return [about, ...streams.map(streamFacts), ...pauses.map(pauseText)].join('\n\n') || 'Nothing is known.';
  },
});

const hasPair = ({ pairs }: ServerStream, domain: string): boolean => pairs.some(({ remote }) => remote === domain);

function streamFacts(stream: ServerStream): string {
  const { direction, state, pairs, claimed, address, tls, authentication, since, received, sent } = stream;
  return facts([
    [direction === 'in' ? 'Stream from it' : 'Stream to it', state],
    [
      'Domains',
      pairs
        .map(({ local, remote }) => (direction === 'in' ? `${remote} -> ${local}` : `${local} -> ${remote}`))
        .join(', '),
    ],
    ['Claims', pairs.length > 0 ? undefined : (claimed?.remote ?? 'no domain')],
    ['Address', address ?? undefined],
    ['TLS', tls === null ? 'none yet' : `${tls.protocol}, ${tls.cipher}`],
    ['Login', authentication ?? 'not yet'],
    ['Since', time(since)],
    ['Received', direction === 'in' ? String(received) : undefined],
    ['Sent', direction === 'out' ? String(sent) : undefined],
    ['Queued', direction === 'out' ? `${count(stream.queued, 'stanza')}, ${stream.queuedBytes} bytes` : undefined],
  ]);
}

function pauseText({ local, remote, failures, condition, text, until }: Pause): string {
  const why = text === null ? condition : `${condition}: ${text}`;
  return `Stanzas from ${local} are refused until ${time(until)}, after ${count(failures, 'failed attempt')} (${why})\nTo try at once: waxwing s2s kick ${remote}`;
}

export const kick = serverCommand({
  name: 's2s kick',
  summary: 'Closes the streams with another server, and ends its back-off',
  details:
    'Queued and later stanzas open new streams, in both directions. To block a server, deny its domain in s2s.domains.',
  parameters: {
    domain: { type: 'text', positional: true, required: true, description: 'Domain of the other server.' },
  },
  run({ server }, { domain: text }) {
    const domain = demandDomain(text);
    const federation = demandFederation(server);
    const paused = federation.pauses(domain).length;
    return { domain, closed: federation.kick(domain), paused };
  },
  text({ domain, closed, paused }) {
    const streams =
      closed === 0 ? `There were no streams with ${domain}.` : `Closed ${count(closed, 'stream')} with ${domain}.`;
    return paused === 0 ? streams : `${streams} Its back-off has ended.`;
  },
});
