/** `waxwing s2s …`: streams to and from other servers. */
import { isPrivateName } from '../config/public-names.js';
import type { Federation } from '../federation.js';
import type { Peers, PeersAsked } from '../federation-nodes.js';
import { oneLine } from '../plain.js';
import type { Server } from '../server.js';
import type { Pause, ServerStream } from '../stream/s2s/inspection.js';
import type { PlaceReport, ProbeReport } from '../stream/s2s/probe.js';
import { columns, count, facts, paragraph, time } from '../words.js';
import { CommandError, exitCodes, serverCommand } from './command.js';
import { explainProbe, type ProbeFinding, placeName } from './s2s-findings.js';

/** Streams on a page, unless the caller wants another number. */
const usualPage = 100;

/** Throws CommandError if there is no federation. */
function demandFederation({ federation }: Server): Federation {
  if (typeof federation !== 'string') return federation;
  throw new CommandError('failed', `there are no streams with other servers: ${federation}`);
}

/** What all nodes know. Throws CommandError. */
async function peersOf(server: Server, asked: Partial<PeersAsked>): Promise<Peers> {
  demandFederation(server);
  const host = server.host(Object.keys(server.config.hosts)[0]!)!;
  const { askAboutPeers } = await import('../federation-nodes.js');
  const { StanzaError } = await import('../stanza/errors.js');
  try {
    return await askAboutPeers(host, { withSubdomains: false, most: Number.MAX_SAFE_INTEGER, kicks: false, ...asked });
  } catch (error) {
    if (!(error instanceof StanzaError)) throw error;
    throw new CommandError('failed', 'a node of the cluster did not answer; try again later');
  }
}

/** Resolves with the domain in its normal form. Rejects with CommandError. */
async function demandDomain(text: string): Promise<string> {
  const { Jid } = await import('../address/jid.js');
  const jid = Jid.tryParse(text);
  if (jid !== undefined && jid.full === jid.domain) return jid.domain;
  throw new CommandError('usage', `${JSON.stringify(text)} is not a domain; use one such as example.org`);
}

export const list = serverCommand({
  name: 's2s list',
  summary: 'Lists streams to and from other servers',
  reads: true,
  parameters: {
    domain: { type: 'text', positional: true, description: 'Only streams with this domain and its subdomains.' },
    limit: { type: 'count', description: `Most streams on a page (${usualPage}).` },
    page: { type: 'count', description: 'The page to show, from 1.' },
  },
  async run({ server }, { domain, limit = usualPage, page = 1 }) {
    const wanted = domain === undefined ? undefined : await demandDomain(domain);
    const most = page * limit;
    const { streams, total } = await peersOf(server, { domain: wanted, withSubdomains: true, most });
    return { streams: streams.slice(most - limit, most), total, page, pages: Math.max(1, Math.ceil(total / limit)) };
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
  async run({ server }, { domain: text }) {
    const domain = await demandDomain(text);
    const federation = demandFederation(server);
    const { connect } = server.config.s2s;
    const { streams, pauses, counts } = await peersOf(server, { domain });
    return {
      domain,
      streams,
      pauses,
      policies: federation.policies(domain),
      connect: Object.hasOwn(connect, domain) ? connect[domain]! : null,
      // Null unless the domain is among the busiest, which are counted one by one.
      counts,
    };
  },
  text({ domain, streams, pauses, policies, connect, counts }) {
    const failures = Object.entries(counts?.failures ?? {}).map(([step, number]) => `${step} ${number}`);
    const about = facts([
      ['Domain', domain],
      ['Address', connect === null ? undefined : `${connect} (s2s.connect)`],
      ...policies.map((one): [string, string] => ['Policy', policyText(one, policies.length > 1)]),
      ['Received', counts === null ? undefined : count(counts.received, 'stanza')],
      ['Sent', counts === null ? undefined : count(counts.sent, 'stanza')],
      ['Failures', failures.join(', ')],
    ]);
    return [about, ...streams.map(streamFacts), ...pauses.map(pauseText)].join('\n\n') || 'Nothing is known.';
  },
});

type Policies = ReturnType<Federation['policies']>[number];

function policyText({ denied, by, requiresCertificate, hosts }: Policies, isOneOfMany: boolean): string {
  const needs = requiresCertificate ? 'with a valid certificate' : 'with any certificate';
  const what = denied ? `denied by ${by}` : `allowed by ${by}, ${needs}`;
  return isOneOfMany ? `${what}; for ${hosts.slice(0, 5).join(', ')}${hosts.length > 5 ? ' and others' : ''}` : what;
}

function streamFacts(stream: ServerStream): string {
  const { direction, bidirectional, state, pairs, claimed, address, tls, authentication, since, received, sent } =
    stream;
  const receives = bidirectional || direction === 'in';
  const sends = bidirectional || direction === 'out';
  return facts([
    [direction === 'in' ? 'Stream from it' : 'Stream to it', state],
    ['Directions', bidirectional ? 'both' : undefined],
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
    ['Received', receives ? String(received) : undefined],
    ['Sent', sends ? String(sent) : undefined],
    ['Queued', sends ? `${count(stream.queued, 'stanza')}, ${stream.queuedBytes} bytes` : undefined],
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
  async run({ server }, { domain: text }) {
    const domain = await demandDomain(text);
    const { closed, pauses } = await peersOf(server, { domain, kicks: true });
    return { domain, closed, paused: pauses.length };
  },
  text({ domain, closed, paused }) {
    const streams =
      closed === 0 ? `There were no streams with ${domain}.` : `Closed ${count(closed, 'stream')} with ${domain}.`;
    return paused === 0 ? streams : `${streams} Its back-off has ended.`;
  },
});

/** The time limit of a test in seconds: the usual one, and the largest, within which the caller waits. */
const usualSeconds = 30;
const mostSeconds = 100;

export const test = serverCommand({
  name: 's2s test',
  summary: 'Tests whether stanzas reach another server, and explains problems',
  details:
    'Does what the server does before it sends a stanza: looks up the domain in DNS, connects to each address, starts TLS, checks the certificate, and authenticates. Nothing is sent to any user. The test runs in the running server, with its network, certificate and dialback secret.',
  parameters: {
    domain: { type: 'text', positional: true, required: true, description: 'Domain of the other server.' },
    from: { type: 'text', description: 'Domain of this server to test with. Default: the first public host.' },
    seconds: { type: 'count', description: `Time limit (${usualSeconds}, at most ${mostSeconds}).` },
  },
  async run({ server, progress }, { domain, from, seconds = usualSeconds }) {
    const federation = demandFederation(server);
    const pair = { from: await fromOf(server, federation, from), to: await demandDomain(domain) };
    if (federation.isLocal(pair.to))
      throw new CommandError('usage', `${pair.to} is a domain of this server; waxwing check looks at it`);
    if (seconds > mostSeconds) throw new CommandError('usage', `seconds: must be at most ${mostSeconds}`);
    const { connect } = server.config.s2s;
    const report = await federation.test(pair, seconds * 1000, progress);
    if (report === undefined)
      throw new CommandError('busy', 'other tests are in progress; try again when they are done');
    const findings = explainProbe(report, {
      connect: Object.hasOwn(connect, pair.to) ? connect[pair.to]! : null,
      pauses: federation.pauses(pair.to),
    });
    return { ...report, findings };
  },
  text: ({ findings, ...report }) =>
    [
      `Streams from ${report.from} to ${report.domain} ${report.accepted ? 'work' : 'do not work'}.`,
      lookupText(report),
      ...report.places.map(placeText),
      ...findings.map(findingText),
    ]
      .filter((part) => part !== '')
      .join('\n\n'),
  exitCode: ({ accepted }) => (accepted ? exitCodes.done : exitCodes.errorsFound),
});

/** Rejects with CommandError if the domain is not one of the server. */
async function fromOf({ config }: Server, federation: Federation, given: string | undefined): Promise<string> {
  const hosts = Object.keys(config.hosts);
  if (given === undefined) return hosts.find((host) => !isPrivateName(host)) ?? hosts[0]!;
  const domain = await demandDomain(given);
  if (federation.isLocal(domain)) return domain;
  throw new CommandError('not-found', `${domain} is not a domain of this server`);
}

function lookupText({ lookups }: ProbeReport): string {
  if (lookups.length === 0) return '';
  const rows = lookups.map(({ question, answers, error }) => [
    `  ${question}`,
    error === null ? answers.join(', ') || 'none' : `no answer (${error})`,
  ]);
  return `DNS:\n${columns(rows)}`;
}

function placeText(place: PlaceReport): string {
  const { certificate, features, stage, connectMs, tls } = place;
  const login =
    place.authentication === null
      ? [
          place.externalRefused === null ? '' : `EXTERNAL refused (${place.externalRefused})`,
          place.dialbackRefused === null ? '' : `dialback refused (${place.dialbackRefused})`,
        ]
      : [
          place.externalRefused === null ? '' : `EXTERNAL refused (${place.externalRefused})`,
          `${place.authentication} accepted`,
        ];
  const about = facts([
    [
      '  Connection',
      stage === 'untried' ? 'not tried' : connectMs === null ? `failed (${place.error})` : `after ${connectMs} ms`,
    ],
    ['  TLS', tls === null ? undefined : `${tls.protocol}, ${tls.cipher}`],
    ['  Certificate', certificate === null ? undefined : certificate.names.join(', ') || certificate.subject],
    ['  Issued by', certificate?.issuer],
    [
      '  Valid',
      certificate === null
        ? undefined
        : `${certificate.notBefore.slice(0, 10)} to ${certificate.notAfter.slice(0, 10)}`,
    ],
    ['  Features', features?.join(', ')],
    ['  Mechanisms', place.mechanisms.join(', ')],
    ['  Login', login.filter((part) => part !== '').join(', ')],
    ['  Result', stage === 'accepted' ? 'accepts stanzas' : stage === 'untried' ? undefined : `failed: ${stage}`],
  ]);
  return `${placeName(place)} (${place.directTls ? 'direct TLS' : 'STARTTLS'}):\n${about}`;
}

const ends = { here: 'At your end', there: 'At the other end' } as const;

function findingText({ level, end, what, advice }: ProbeFinding): string {
  const lead = level === 'note' ? 'Note' : end === undefined ? 'Problem' : ends[end];
  return `${lead}: ${oneLine(what)}${advice === '' ? '' : `\n${paragraph(advice)}`}`;
}
