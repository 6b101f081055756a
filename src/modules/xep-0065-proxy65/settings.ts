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
    .describe('Subdomain of the host at which the service has its address.'),
  listen: z
    .array(
      z.string().refine((text) => parseListenAddress(text) !== undefined, {
        error: 'is not an address to listen on',
        params: {
          hint: 'write "address:port", such as "*:7777" (every address), "192.0.2.1:7777" or "[2001:db8::1]:7777"',
        },
      }),
    )
    .default(['*:7777'])
    .describe(
      'Addresses to listen on for clients, without TLS: clients encrypt the files themselves. If a port is not available, the server runs without the proxy and retries. []: no proxy.',
    ),
  public_hosts: z
    .array(z.string().min(1))
    .default([])
    .describe(
      'Names or addresses at which clients reach the proxy. Empty: the domain of the host, which then needs an address record of its own.',
    )
    .meta({ example: 'proxy.example.org' }),
  public_port: count({ min: 0, max: 65_535 })
    .default(0)
    .describe(
      'The port at which clients reach the proxy, if a router forwards it from another one. 0: the port it listens on.',
    ),
  access: z
    .enum(['users', 'server', 'anyone'])
    .default('users')
    .describe(
      'Who may start a stream: users of the host, of all hosts of the server, or anyone. The recipient may be anywhere.',
    ),
  connections: count({ min: 2 })
    .default(1000)
    .describe(
      'Maximum connections in total; a stream has two. The more are in use, the fewer one address or user can have.',
    ),
  connections_per_address: count({ min: 2 })
    .default(100)
    .describe('Maximum connections from one IPv4 address or one IPv6 /64.'),
  streams_per_user: count({ min: 1 }).default(20).describe('Maximum open streams started by one user.'),
  stream_bytes: bytes({ min: 1000, unlimited: true })
    .default(10 * 2 ** 30)
    .describe('Maximum bytes of one stream, in both directions together; it is reset beyond that.'),
  bytes_per_second: bytes({ min: 1000, unlimited: true })
    .default(8 * 2 ** 20)
    .describe('Maximum rate of a stream in each direction.'),
  handshake_seconds: wait().default(10).describe('Timeout of the handshake in which a client names its stream.'),
  wait_seconds: wait().default(120).describe('How long a connection can wait for the activation of its stream.'),
  idle_seconds: wait().default(300).describe('An idle stream is reset after this time.'),
});
