/** The table `[s2s]`. */
import { isIP } from 'node:net';
import { z } from 'zod';
import { Jid } from '../address/jid.js';
import { parseListenAddress } from './address.js';
import { because, hostName, live, network, wait } from './keys.js';
import { bytes, count } from './units.js';

/** "host:port", where the host is an IP address as in `[listen]`, or a name. */
const place = z
  .string()
  .refine(
    (text) => isPlace(text),
    because(
      'is not an address to connect to',
      'write "host:port", such as "192.0.2.7:5269" or "xmpp.example.net:5269"',
    ),
  );

function isPlace(text: string): boolean {
  const { host, port = 0 } = parseListenAddress(text) ?? {};
  if (host !== undefined) return port > 0;
  const parts = /^[a-z0-9]([a-z0-9.-]*[a-z0-9])?:(\d{1,5})$/i.exec(text);
  return parts !== null && Number(parts[2]) > 0 && Number(parts[2]) <= 65_535;
}

const dnsServer = z
  .string()
  .refine(
    (text) => isIP(text) !== 0 || (parseListenAddress(text)?.host !== undefined && !text.startsWith('localhost')),
    because(
      'is not the address of a DNS server',
      'write an address such as "127.0.0.1", or with a port "127.0.0.1:5353"',
    ),
  );

const domainPattern = z.string().check((check) => {
  const domain = check.value.replace(/^\*\./, '');
  const jid = Jid.tryParse(domain);
  if (jid?.full === domain && jid.domain === domain) return;
  const isDomain = jid !== undefined && jid.full === jid.domain;
  check.issues.push({
    code: 'custom',
    input: check.value,
    message: isDomain ? 'is not the normalised form of this domain' : 'is not a domain',
    params: {
      hint: isDomain
        ? `write ${JSON.stringify(check.value.replace(domain, jid.domain))}`
        : 'write one such as "example.net", or "*.example.net" for its subdomains',
    },
  });
});

const domainRule = z.strictObject({
  policy: z
    .enum(['allow', 'deny'])
    .optional()
    .describe(
      'Whether there are streams to and from these servers. "allow" also exempts them from block lists (modules.rtbl.server_lists).',
    ),
  require_valid_certificate: z
    .boolean()
    .optional()
    .describe('Instead of s2s.require_valid_certificate. An open stream that would no longer be accepted is closed.'),
  stanzas_per_second: count({ min: 1, unlimited: true })
    .optional()
    .describe('Instead of limits.rate_server.stanzas_per_second, for all these domains together.'),
  stanza_burst: count({ min: 1, unlimited: true }).optional().describe('Instead of limits.rate_server.stanza_burst.'),
  bytes_per_second: bytes({ min: 100, unlimited: true })
    .optional()
    .describe('Instead of limits.rate_server.bytes_per_second.'),
  byte_burst: bytes({ min: 1000, unlimited: true }).optional().describe('Instead of limits.rate_server.byte_burst.'),
  stanza_bytes: bytes({ min: 10_000, max: 2 ** 26 })
    .optional()
    .describe('Maximum size of a stanza from these servers, instead of limits.stanza_bytes_server.'),
});

export type DomainRule = z.output<typeof domainRule>;

const domains = (purpose: string) =>
  z
    .record(domainPattern, domainRule)
    .default({})
    .describe(
      `${purpose} A domain includes its subdomains, "*.DOMAIN" is its subdomains only. Of several rules the most specific one that sets a key decides.`,
    )
    .meta({ ...live, example: 'example.net' });

/** `hosts.NAME.s2s`. */
export const hostS2s = z
  .strictObject({
    policy: z
      .enum(['allow', 'deny'])
      .optional()
      .describe('Instead of s2s.policy for this host and its services.')
      .meta(live),
    domains: domains(
      'Rules for other servers that only hold for this host and its services, before those of s2s.domains.',
    ),
  })
  .prefault({})
  .describe('Other servers, as this host sees them.');

export const s2s = z
  .strictObject({
    enabled: z
      .union([z.boolean(), z.literal('auto')])
      .default('auto')
      .describe(
        'Whether the server exchanges stanzas with other servers. If so, it listens on listen.s2s and listen.s2s_tls. "auto": if at least one host is a public domain; localhost, addresses and names such as *.local and *.test are private. If the ports cannot be opened, the server starts without federation. true: always; if the ports cannot be opened, the server does not start. false: never.',
      ),
    require_valid_certificate: z
      .boolean()
      .default(true)
      .describe(
        'Whether another server needs a certificate for its domain from a trusted authority (tls.server_authorities). If false, dialback (XEP-0220) is enough; it relies on DNS, so an attacker who controls DNS or the network can impersonate other servers. TLS is always required.',
      )
      .meta(live),
    policy: z
      .enum(['allow', 'deny'])
      .default('allow')
      .describe(
        'Whether there are streams to and from servers without a rule in s2s.domains: "allow" is the open network, "deny" an allow list.',
      )
      .meta(live),
    domains: domains('Rules for servers of single domains.'),
    dialback_secret: z
      .string()
      .default('')
      .describe(
        'Secret from which dialback keys are derived. All servers of a domain need the same. If empty, the server generates one at each start; the nodes of a cluster share one, which is stored.',
      )
      .meta({ secret: true }),
    connect: z
      .record(hostName, place)
      .default({})
      .describe('Addresses of the servers of some domains, "host:port" by domain. They replace DNS.')
      .meta({ ...live, example: '192.0.2.7:5269' }),
    allow_networks: z
      .array(network)
      .default([])
      .describe(
        'Private, loopback and own addresses, or networks of them, that the server may connect to when DNS returns them. Addresses in s2s.connect are always allowed.',
      )
      .meta({ ...live, example: '10.0.0.0/8' }),
    dns_servers: z
      .array(dnsServer)
      .default([])
      .describe('DNS servers for finding other servers. If empty, those of the system.')
      .meta({ example: '127.0.0.1' }),
    host_meta: z
      .boolean()
      .default(true)
      .describe(
        'Whether the host metadata of a domain without SRV records (XEP-0487) is read from its web server, to find its XMPP server. This asks the web server of the domain, within three seconds.',
      )
      .meta(live),
    idle_seconds: wait(10)
      .default(600)
      .describe(
        'Idle time after which a stream to another server is closed. An incoming stream is closed after twice as long.',
      )
      .meta(live),
    bidirectional: z
      .boolean()
      .default(true)
      .describe(
        'Whether one stream carries the stanzas of both directions (XEP-0288), if the other server supports that and each has proved its domain on this connection as s2s.require_valid_certificate demands.',
      )
      .meta(live),
    resume_seconds: wait()
      .default(60)
      .describe(
        'How long a stream that lost its connection can be resumed (XEP-0198), and for how long the server tries to connect again while stanzas are queued. 0: streams cannot be resumed.',
      )
      .meta(live),
    acknowledgement_seconds: wait(1)
      .default(120)
      .describe(
        'Time limit for another server to acknowledge stanzas (XEP-0198). After it the stream is closed, and the stanzas are returned to their senders with an error.',
      )
      .meta(live),
    streams: count({ min: 1 })
      .default(2000)
      .describe('Maximum number of streams to other servers. Each pair of a local and a remote domain needs one.')
      .meta(live),
    connecting_streams: count({ min: 1 })
      .default(50)
      .describe(
        'Maximum number of streams to other servers that are being opened at once. Others wait, and users take turns. A server that does not answer makes room for others after two seconds.',
      )
      .meta(live),
    incoming_streams: count({ min: 10 })
      .default(10_000)
      .describe('Maximum streams from other servers in total; further ones are refused.')
      .meta(live),
    incoming_streams_per_pair: count({ min: 1 })
      .default(20)
      .describe(
        'Maximum streams from one domain to one of this server. Beyond it the one that was silent the longest is closed.',
      )
      .meta(live),
    unauthenticated_streams: count({ min: 10 })
      .default(1000)
      .describe(
        'Maximum unauthenticated streams from other servers, in total. Beyond it the oldest one from the address with the most is closed.',
      )
      .meta(live),
    unauthenticated_streams_per_address: count({ min: 1 })
      .default(50)
      .describe(
        'The same from one IPv4 address or one IPv6 /64; further ones are refused. 127.0.0.1, ::1 and proxies (http.forwarded_from) are exempt.',
      )
      .meta(live),
    dialbacks: count({ min: 10 })
      .default(400)
      .describe(
        'Maximum keys of other servers that are being verified at the same time (XEP-0220), in total. One address may use a quarter of what is free.',
      )
      .meta(live),
    dialbacks_per_minute: count({ min: 10, unlimited: true })
      .default(600)
      .describe(
        'Maximum keys that are verified in a minute for streams from one IPv4 address or one IPv6 /64. Each needs a connection to a server that the peer names.',
      )
      .meta(live),
    queue_stanzas_per_domain: count({ min: 10 })
      .default(5000)
      .describe(
        'Maximum number of stanzas queued for one pair of domains, or sent and not acknowledged. Further stanzas are refused.',
      )
      .meta(live),
    queue_bytes_per_domain: bytes({ min: 65_536 })
      .default(2_097_152)
      .describe('Maximum size of the stanzas queued for one pair of domains.')
      .meta(live),
    queue_bytes: bytes({ min: 1_048_576 })
      .default(33_554_432)
      .describe('Maximum size of the stanzas queued for all other servers together.')
      .meta(live),
  })
  .prefault({})
  .describe('Other servers (federation).');
