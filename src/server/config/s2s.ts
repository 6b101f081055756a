/** The table `[s2s]`. */
import { isIP } from 'node:net';
import { z } from 'zod';
import { parseListenAddress } from './address.js';
import { because, hostName, live, network, wait } from './keys.js';
import { bytes, count } from './units.js';

/** "host:port": an address as those to listen on, or a name. */
const place = z
  .string()
  .refine(
    (text) => isPlace(text),
    because('is no place to connect to', 'write "host:port", such as "192.0.2.7:5269" or "xmpp.example.net:5269"'),
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
    because('is no DNS server', 'write an address such as "127.0.0.1", or with a port "127.0.0.1:5353"'),
  );

export const s2s = z
  .strictObject({
    enabled: z
      .boolean()
      .default(false)
      .describe(
        'Whether stanzas go to other servers and come from them: listen.s2s and listen.s2s_tls are listened on.',
      ),
    require_valid_certificate: z
      .boolean()
      .default(true)
      .describe(
        'Whether another server must prove its domain by a certificate of an authority that is trusted (tls.server_authorities). false: DNS is believed (XEP-0220), so that who controls the way to it can pose as another server. TLS is required in any case.',
      )
      .meta(live),
    dialback_secret: z
      .string()
      .default('')
      .describe(
        'Secret of the keys of dialback; the same on all servers that answer for a domain. Empty: one is made at each start.',
      )
      .meta({ secret: true }),
    connect: z
      .record(hostName, place)
      .default({})
      .describe('Where the servers of some domains are, "host:port" by domain, instead of what DNS says.')
      .meta({ ...live, example: '192.0.2.7:5269' }),
    allow_networks: z
      .array(network)
      .default([])
      .describe(
        'Private, loopback and own addresses, and networks of such, that may be connected to if DNS names them. Places in s2s.connect always may.',
      )
      .meta({ ...live, example: '10.0.0.0/8' }),
    dns_servers: z
      .array(dnsServer)
      .default([])
      .describe('DNS servers that are asked where other servers are. Empty: those of the system.')
      .meta({ example: '127.0.0.1' }),
    idle_seconds: wait(10)
      .default(600)
      .describe(
        'Silence after which a stream to another server is closed; one from another server after twice as long.',
      )
      .meta(live),
    streams: count({ min: 1 })
      .default(2000)
      .describe('Streams to other servers, one for each pair of domains.')
      .meta(live),
    queue_stanzas_per_domain: count({ min: 10 })
      .default(2000)
      .describe('Stanzas that may wait for a stream from one domain to another; further ones are refused.')
      .meta(live),
    queue_bytes_per_domain: bytes({ min: 65_536 }).default(2_097_152).describe('The same in bytes.').meta(live),
    queue_bytes: bytes({ min: 1_048_576 })
      .default(33_554_432)
      .describe('The same for all streams together.')
      .meta(live),
  })
  .prefault({})
  .describe('Other servers (federation).');
