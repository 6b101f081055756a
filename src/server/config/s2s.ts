/** The table `[s2s]`. */
import { isIP } from 'node:net';
import { z } from 'zod';
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
    dialback_secret: z
      .string()
      .default('')
      .describe(
        'Secret from which dialback keys are derived. All servers of a domain need the same. If empty, the server generates one at each start.',
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
    idle_seconds: wait(10)
      .default(600)
      .describe(
        'Idle time after which a stream to another server is closed. An incoming stream is closed after twice as long.',
      )
      .meta(live),
    streams: count({ min: 1 })
      .default(2000)
      .describe('Maximum number of streams to other servers. Each pair of a local and a remote domain needs one.')
      .meta(live),
    queue_stanzas_per_domain: count({ min: 10 })
      .default(2000)
      .describe('Maximum number of stanzas queued for one pair of domains. Further stanzas are refused.')
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
