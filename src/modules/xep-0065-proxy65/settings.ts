/** `[modules.proxy65]`. */
import { z } from 'zod';
import { parseListenAddress } from '../../server/config/address.js';
import { bytes, count, longestTimer, seconds } from '../../server/config/units.js';

const wait = () => seconds({ min: 1, max: longestTimer });

export const settings = z.strictObject({
  subdomain: z
    .string()
    .regex(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/)
    .default('proxy')
    .describe('The service is at this name below the host.'),
  listen: z
    .array(
      z.string().refine((text) => parseListenAddress(text) !== undefined, {
        error: 'is no address to listen on',
        params: {
          hint: 'write "address:port", such as "*:7777" (every address), "192.0.2.1:7777" or "[2001:db8::1]:7777"',
        },
      }),
    )
    .default(['*:7777'])
    .describe(
      'Where it takes the connections of clients, without TLS: clients see to that themselves. Where a port cannot be had the server runs without the proxy, and tries again. []: there is no proxy.',
    ),
  public_hosts: z
    .array(z.string().min(1))
    .default([])
    .describe(
      'The names or addresses at which clients reach it. Empty: the name of the host, which then needs an address record of its own.',
    )
    .meta({ example: 'proxy.example.org' }),
  public_port: count({ min: 0, max: 65_535 })
    .default(0)
    .describe('The port at which clients reach it, where a router sends it on from another one. 0: where it listens.'),
  access: z
    .enum(['users', 'server', 'anyone'])
    .default('users')
    .describe(
      'Who may start a stream: users of the host, of all hosts of the server, or anyone. Whom they send to may be anywhere.',
    ),
  connections: count({ min: 2 })
    .default(1000)
    .describe(
      'Connections in all; a stream has two. The more of them are taken, the fewer one address or user can have.',
    ),
  connections_per_address: count({ min: 2 })
    .default(100)
    .describe('Connections from one IPv4 address or one IPv6 /64.'),
  streams_per_user: count({ min: 1 }).default(20).describe('Streams that one user can have started at a time.'),
  stream_bytes: bytes({ min: 1000, unlimited: true })
    .default(10 * 2 ** 30)
    .describe('What one stream may carry, both ways together; it is cut where it is more.'),
  bytes_per_second: bytes({ min: 1000, unlimited: true })
    .default(8 * 2 ** 20)
    .describe('How fast a stream may be, each way.'),
  handshake_seconds: wait().default(10).describe('How long a client may take to say which stream it is here for.'),
  wait_seconds: wait().default(120).describe('How long a connection may wait for its stream to be activated.'),
  idle_seconds: wait().default(300).describe('A stream on which nothing moves for so long is cut.'),
});
