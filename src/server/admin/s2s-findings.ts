/** Explains the test of another server (stream/s2s/probe.ts): the problem, which server has it, and how to fix it. */
import type { Pause } from '../stream/s2s/inspection.js';
import type { PlaceReport, ProbeReport } from '../stream/s2s/probe.js';
import { time } from '../words.js';

export interface ProbeFinding {
  /** error: stanzas do not get through, at least at one place. */
  readonly level: 'error' | 'warning' | 'note';
  /** Whose administrators can repair it; undefined if that is not clear, or there is nothing to repair. */
  readonly end: 'here' | 'there' | undefined;
  readonly what: string;
  /** Sentences. */
  readonly advice: string;
}

/** What the configuration and the state of this server add to a report. */
export interface ProbeContext {
  /** `s2s.connect` of the domain. */
  readonly connect: string | null;
  readonly pauses: readonly Pause[];
}

type Text = Omit<ProbeFinding, 'level'>;

export function explainProbe(report: ProbeReport, context: ProbeContext): ProbeFinding[] {
  const failed = report.places.filter(({ stage }) => stage !== 'accepted' && stage !== 'untried');
  const untried = report.places.length - failed.length - report.places.filter(isAccepted).length;
  const level = report.accepted ? 'warning' : 'error';
  return [
    ...(context.connect === null ? [] : [override(context.connect)]),
    ...(report.denied ? [denied(report)] : []),
    ...lookupFindings(report),
    ...(report.unresolved === null ? [] : [{ level: 'error' as const, ...unresolved(report, context) }]),
    ...failed.map(
      (place) => ({ level: isUnroutable(place) ? ('note' as const) : level, ...placeFinding(report, place) }) as const,
    ),
    ...report.places.flatMap((place) => (isAccepted(place) ? weakCertificate(place, report) : [])),
    ...(untried === 0 ? [] : [outOfTime(untried)]),
    ...context.pauses.filter(({ local }) => local === report.from).map(paused),
  ];
}

const isAccepted = ({ stage }: PlaceReport): boolean => stage === 'accepted';
export const placeName = ({ address, port }: Pick<PlaceReport, 'address' | 'port'>): string =>
  `${address.includes(':') ? `[${address}]` : address}:${port}`;

const override = (connect: string): ProbeFinding => ({
  level: 'note',
  end: undefined,
  what: `DNS is not used: s2s.connect sets ${connect}`,
  advice: '',
});

const denied = ({ domain, from }: ProbeReport): ProbeFinding => ({
  level: 'error',
  end: 'here',
  what: `this server has no streams between ${from} and ${domain}: its policy or a block list forbids them`,
  advice: `Look for ${domain} in s2s.policy, [s2s.domains], [hosts."${from}".s2s] and modules.rtbl.server_lists.`,
});

const outOfTime = (untried: number): ProbeFinding => ({
  level: 'warning',
  end: undefined,
  what: `${untried} further ${untried === 1 ? 'address was' : 'addresses were'} not tried: the time limit was reached`,
  advice: 'Give the test more time with --seconds.',
});

const paused = ({ local, failures, until, remote }: Pause): ProbeFinding => ({
  level: 'warning',
  end: 'here',
  what: `after ${failures} failed ${failures === 1 ? 'attempt' : 'attempts'}, stanzas from ${local} are refused until ${time(until)}`,
  advice: `Once the cause is removed, waxwing s2s kick ${remote} lets this server try at once.`,
});

// --- DNS ------------------------------------------------------------------------------------------------------------

/** Problems in DNS that do not prevent finding the server. */
function lookupFindings({ lookups, unresolved }: ProbeReport): ProbeFinding[] {
  return lookups.flatMap(({ question, answers, error }): ProbeFinding[] => {
    if (error !== null && unresolved === null)
      return [
        {
          level: 'warning',
          end: isResolverFault(error) ? 'here' : 'there',
          what: `no answer from DNS to ${question} (${error})`,
          advice: 'Records that cannot be looked up are left out.',
        },
      ];
    const isTarget =
      question.startsWith('addresses of ') &&
      lookups.some((one) => one.question.startsWith('SRV ') && one.answers.length > 0);
    if (error === null && answers.length === 0 && isTarget && unresolved === null)
      return [
        {
          level: 'warning',
          end: 'there',
          what: `an SRV record leads to ${question.slice('addresses of '.length)}, which has no address`,
          advice: 'The record should be corrected, or the target should get an A or AAAA record.',
        },
      ];
    return [];
  });
}

/** Whether it is the resolver that cannot be reached, rather than the domain's name servers that fail. */
const isResolverFault = (code: string): boolean => ['ECONNREFUSED', 'ETIMEOUT', 'EREFUSED'].includes(code);

function unresolved({ domain, lookups, unresolved }: ProbeReport, { connect }: ProbeContext): Text {
  const { reason, what } = unresolved!;
  switch (reason) {
    case 'refused':
      return {
        end: connect === null ? undefined : 'here',
        what,
        advice: `If it is a server in your own network, list its address in s2s.allow_networks, or its place in [s2s.connect]. Otherwise the DNS records of ${domain} are wrong.`,
      };
    case 'none':
      return {
        end: 'there',
        what,
        advice: `Check the spelling of the domain. If it is right, ${domain} does not offer XMPP, or its DNS records are missing.`,
      };
    case 'unknown':
      return lookups.every(({ error }) => error !== null && isResolverFault(error))
        ? {
            end: 'here',
            what,
            advice:
              'The DNS resolver does not answer. Check /etc/resolv.conf, or set s2s.dns_servers to one that works.',
          }
        : {
            end: 'there',
            what,
            advice: `The name servers of ${domain} fail, or its DNSSEC signatures are not valid.`,
          };
  }
}

// --- places ---------------------------------------------------------------------------------------------------------

/** This machine has no IPv6, or no IPv4: nothing is wrong as long as another address works. */
const isUnroutable = ({ stage, error }: PlaceReport): boolean =>
  stage === 'connection' && (error === 'ENETUNREACH' || error === 'EADDRNOTAVAIL');

function placeFinding(report: ProbeReport, place: PlaceReport): Text {
  const at = placeName(place);
  switch (place.stage) {
    case 'connection':
      return connectionFinding(at, place.error ?? 'unknown');
    case 'tls':
      return {
        end: 'there',
        what: `${at}: TLS could not be started (${place.error ?? 'unknown'})`,
        advice: place.directTls
          ? 'The port may not speak TLS from the start, although an _xmpps-server record leads to it, or the two servers have no TLS version or cipher in common (tls.minimum_version, tls.ciphers).'
          : 'The two servers may have no TLS version or cipher in common (tls.minimum_version, tls.ciphers), or the other server demands a certificate that this one does not have.',
      };
    case 'certificate':
      return certificateFinding(report, place);
    case 'authentication':
      return authenticationFinding(report, place);
    default:
      return streamFinding(report, place);
  }
}

function connectionFinding(at: string, error: string): Text {
  switch (error) {
    case 'ECONNREFUSED':
      return {
        end: 'there',
        what: `${at} refuses the connection`,
        advice: 'No XMPP server listens on that port, or its DNS records lead to the wrong machine or port.',
      };
    case 'ENETUNREACH':
    case 'EADDRNOTAVAIL':
      return {
        end: undefined,
        what: `${at} cannot be reached: this machine has no ${at.startsWith('[') ? 'IPv6' : 'IPv4'} connection to the internet`,
        advice: 'Nothing is wrong if another address of the server works.',
      };
    case 'EHOSTUNREACH':
      return { end: undefined, what: `${at} cannot be reached: there is no route to it`, advice: firewallAdvice };
    default:
      return { end: undefined, what: `${at} does not answer (${error})`, advice: firewallAdvice };
  }
}

const firewallAdvice =
  'The machine may be off, or a firewall drops the connection. If other domains fail in the same way, look for one at your end that blocks outgoing connections to port 5269.';

function streamFinding({ domain, from }: ProbeReport, place: PlaceReport): Text {
  const at = placeName(place);
  const { streamError, error } = place;
  switch (streamError) {
    case null:
      return {
        end: 'there',
        what: `${at}: the stream could not be opened: ${error ?? 'the other server ended it'}`,
        advice: 'The port may belong to another service, or the other server may be misconfigured.',
      };
    case 'host-unknown':
    case 'host-gone':
      return {
        end: 'there',
        what: `${at}: the server there does not serve ${domain} (${streamError})`,
        advice:
          'The DNS records of the domain lead to another server, or its server does not have the domain configured.',
      };
    case 'not-authorized':
    case 'policy-violation':
      return refused(at, domain, from, streamError);
    default:
      return {
        end: 'there',
        what: `${at}: the other server ended the stream (${streamError})`,
        advice: 'Try again later; if it stays, ask its administrators.',
      };
  }
}

const refused = (at: string, domain: string, from: string, condition: string): Text => ({
  end: 'there',
  what: `${at}: the other server refuses streams from ${from} (${condition})`,
  advice: `It may block your domain, or only talk to servers that it knows. Ask the administrators of ${domain}.`,
});

function certificateFinding({ domain }: ProbeReport, place: PlaceReport): Text {
  const { certificate } = place;
  const problems = certificate?.problems.map(({ what }) => what) ?? ['is missing'];
  const isUnknownAuthority = certificate?.problems.some(({ check }) => check === 'authority') === true;
  return {
    end: 'there',
    what: `${placeName(place)}: the certificate ${problems.join(', and ')}`,
    advice: `The administrators of ${domain} have to install a valid certificate.${isUnknownAuthority ? ' If it is signed by an authority of your own, list that in tls.server_authorities.' : ''}`,
  };
}

/** Without require_valid_certificate a stream is used whatever the certificate. */
function weakCertificate(place: PlaceReport, { requiresCertificate }: ProbeReport): ProbeFinding[] {
  const problems = place.certificate?.problems.map(({ what }) => what) ?? ['is missing'];
  if (requiresCertificate || problems.length === 0) return [];
  return [
    {
      level: 'warning',
      end: 'there',
      what: `${placeName(place)}: the certificate ${problems.join(', and ')}; it is used because require_valid_certificate is off`,
      advice: 'An attacker on the network can read and change everything.',
    },
  ];
}

function authenticationFinding(report: ProbeReport, place: PlaceReport): Text {
  const { domain, from } = report;
  const at = placeName(place);
  const ourCertificate = `Check that the certificate of this server is valid for ${from} and comes from a public authority: waxwing check.`;
  const { dialbackRefused: condition, streamError } = place;
  if (streamError === 'not-authorized' || streamError === 'policy-violation')
    return refused(at, domain, from, streamError);
  if (!place.dialback && place.externalRefused === null)
    return {
      end: 'here',
      what: `${at}: the other server offers ${from} no way to log in: neither SASL EXTERNAL nor dialback`,
      advice: `Servers without dialback offer EXTERNAL only to those whose certificate they accept. ${ourCertificate}`,
    };
  if (!place.dialback)
    return {
      end: 'here',
      what: `${at}: the other server does not accept our certificate (${place.externalRefused}), and has no dialback`,
      advice: ourCertificate,
    };
  switch (condition) {
    case null:
      return {
        end: 'here',
        what: `${at}: the other server did not finish dialback (${streamError ?? place.error ?? 'no answer'})`,
        advice: reachAdvice(from),
      };
    case 'invalid':
      return {
        end: 'here',
        what: `${at}: the server that the other one found for ${from} did not confirm our dialback key`,
        advice: `DNS may lead other servers to another machine than this one. If several servers answer for ${from}, they need the same s2s.dialback_secret.`,
      };
    case 'remote-server-not-found':
      return {
        end: 'here',
        what: `${at}: the other server does not find a server for ${from} in DNS (${condition})`,
        advice: `Add an SRV record _xmpp-server._tcp.${from} that leads to this machine, or an A or AAAA record for ${from}.`,
      };
    case 'remote-server-timeout':
    case 'remote-connection-failed':
      return {
        end: 'here',
        what: `${at}: the other server cannot reach the server of ${from} (${condition})`,
        advice: reachAdvice(from),
      };
    case 'forbidden':
    case 'not-allowed':
    case 'not-authorized':
    case 'policy-violation':
      return refused(at, domain, from, condition);
    case 'item-not-found':
    case 'host-unknown':
      return {
        end: 'there',
        what: `${at}: the server there does not serve ${domain} (${condition})`,
        advice:
          'The DNS records of the domain lead to another server, or its server does not have the domain configured.',
      };
    default:
      return {
        end: 'there',
        what: `${at}: the other server could not check our dialback key (${condition})`,
        advice: 'Try again later; if it stays, ask its administrators.',
      };
  }
}

const reachAdvice = (from: string): string =>
  `To verify the key it connects to the server that DNS names for ${from}, and demands a valid certificate there. Check that port 5269 is open from outside, and look at the findings of waxwing check.`;
