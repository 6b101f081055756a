/**
 * The configuration of the server itself; each module brings the schema of its own table `[modules.NAME]`. Every key
 * has a default, so an empty file is a configuration. keys.ts says what a key's meta means.
 */
import { createSecureContext } from 'node:tls';
import { z } from 'zod';
import {
  accountAddress,
  because,
  hostName,
  listenAddress,
  live,
  network,
  oneOrMore,
  origin,
  path,
  wait,
} from './keys.js';
import { limits } from './limits.js';
import { defaultPlaces } from './places.js';
import { bytes, count, seconds } from './units.js';

const listenAddresses = (purpose: string, ...addresses: string[]) =>
  z
    .array(listenAddress)
    .default(addresses)
    .describe(
      `${purpose} A list of "address:port"; "*" is every address, IPv6 and IPv4; port 0 any free one; [] none.`,
    );

const contactAddresses = (purpose: string) =>
  z
    .array(
      z
        .string()

        .refine(
          (text) => /^[a-z][a-z0-9+.-]*:[^\s]+$/i.test(text),
          because(
            'is no URI',
            'write one such as "mailto:abuse@example.org", "xmpp:admin@example.org" or "https://example.org/contact"',
          ),
        ),
    )
    .default([])
    .describe(`${purpose} A list of URIs.`)
    .meta(live);

/** XEP-0157: the addresses that a host names in its server information. */
const contact = z
  .strictObject({
    abuse: contactAddresses('Where to report abuse.'),
    admin: contactAddresses('Where the administrators are reached.'),
    feedback: contactAddresses('Where to send feedback.'),
    sales: contactAddresses('Where to ask about buying.'),
    security: contactAddresses('Where to report security problems.'),
    status: contactAddresses('Where the state of the service is published.'),
    support: contactAddresses('Where to ask for help.'),
  })
  .prefault({})
  .describe('Contact addresses, published by service discovery (XEP-0157).');

const host = z.strictObject({
  certificate: oneOrMore(z.string().min(1))
    .default([])
    .describe(
      'Certificate chain in PEM, the certificate first; a list of files where there is an ECDSA and an RSA one. Empty: certs/HOST.crt in the data folder, self-signed if it is not there.',
    )
    .meta({ ...live, path: 'config', example: '/etc/letsencrypt/live/example.org/fullchain.pem' }),
  key: oneOrMore(z.string().min(1))
    .default([])
    .describe('Private key in PEM; one for each certificate, in the same order.')
    .meta({ ...live, path: 'config', example: '/etc/letsencrypt/live/example.org/privkey.pem' }),
  admins: z
    .array(accountAddress)
    .default([])
    .describe('Accounts that administer this host.')
    .meta({ ...live, example: 'alice@example.org' }),
  contact,
});

const hosts = z
  .record(hostName, host)
  .refine(
    (table) => Object.keys(table).length > 0,
    because('names no host', 'write a table such as [hosts."example.org"]'),
  )
  .prefault({ localhost: {} })
  .describe('The domains that the server serves, a table each. The first is the default host.');

const listen = z
  .strictObject({
    c2s: listenAddresses('Clients over TCP, encrypted by STARTTLS.', '*:5222'),
    c2s_tls: listenAddresses('Clients over direct TLS (XEP-0368).', '*:5223'),
    https: listenAddresses('HTTP over TLS: WebSocket and everything else.', '*:5443'),
    http: listenAddresses(
      'HTTP without TLS, for a proxy on the same machine; on other than loopback addresses only with http.confirm_plain_anywhere.',
      '127.0.0.1:5280',
    ),
    proxy_protocol: z
      .array(network)
      .default([])
      .describe(
        'Proxies in front (addresses and networks) whose connections to all ports begin with a PROXY header, version 1 or 2: it says where the client is, and whether it has TLS to the proxy. A connection of theirs without one is closed.',
      )
      .meta({ example: '10.0.0.0/8' }),
    backlog: count({ min: 1, max: 65_535 })
      .default(1024)
      .describe('Connections that may wait to be accepted, a listener.'),
  })
  .prefault({})
  .describe('Where the server listens.');

const ciphers =
  'TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:' +
  'ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:' +
  'ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305';

const tls = z
  .strictObject({
    minimum_version: z
      .enum(['1.2', '1.3'])
      .default('1.2')
      .describe('Oldest version of TLS that is accepted. 1.2 still has clients of its own.'),
    ciphers: z
      .string()
      .refine(
        isCipherList,
        because('names no cipher that is known here', 'write a list in the syntax of OpenSSL, such as "HIGH"'),
      )
      .default(ciphers)
      .describe('OpenSSL cipher list. The default has forward secrecy and authenticated encryption only (RFC 9325).'),
    session_seconds: seconds({ min: 0, max: 604_800 })
      .default(7200)
      .describe('How long a TLS session can be resumed by its ticket.'),
    client_certificates: z
      .boolean()
      .default(false)
      .describe('Whether clients are asked for a certificate, for SASL EXTERNAL (XEP-0178). None is required of them.'),
    client_authorities: z
      .array(z.string().min(1))
      .default([])
      .describe("Files with the authorities (PEM) that may have signed clients' certificates. Empty: those of Node.")
      .meta({ path: 'config', example: '/etc/waxwing/client-ca.pem' }),
    reload_check_seconds: wait(1)
      .default(60)
      .describe('How often certificate files are looked at for changes, which are then applied.'),
  })
  .prefault({})
  .describe('Encryption of connections.')
  .meta(live);

const c2s = z
  .strictObject({
    require_encryption: z
      .boolean()
      .default(true)
      .describe(
        'Whether clients must use TLS before they log in. false on other than loopback addresses only with confirm_plain_anywhere.',
      )
      .meta(live),
    allow_plain_tcp_on_loopback: z
      .boolean()
      .default(false)
      .describe(
        'Whether connections from this machine to a loopback address may log in without TLS, though others must not. Not behind a proxy on the same machine: its connections all look so.',
      )
      .meta(live),
    allow_sasl_plain_without_tls: z
      .boolean()
      .default(false)
      .describe('Whether a connection that may log in without TLS may use SASL PLAIN, which shows the password.')
      .meta(live),
    news_delay_seconds: seconds({ min: 0, max: 1 })
      .default(0.01)
      .describe('How long presence and notifications may wait for what comes next, to go out with it; 0: not at all.')
      .meta(live),
    confirm_plain_anywhere: z
      .boolean()
      .default(false)
      .describe(
        'Confirms that clients may log in without TLS over any network. Whoever is on the way reads everything.',
      ),
  })
  .prefault({})
  .describe('Connections of clients.');

const http = z
  .strictObject({
    websocket_path: path('/xmpp-websocket').describe('Path of XMPP over WebSocket (RFC 7395).'),
    origins: z
      .array(origin)
      .default(['*'])
      .describe(
        'Origins of web pages whose scripts may open a stream (RFC 6455 §10.2); "*" is any. Any is the default because browsers send nothing of their own with which a page could log in. A list keeps other pages from trying passwords through their visitors.',
      )
      .meta({ ...live, example: 'https://chat.example.org' }),
    forwarded_from: z
      .array(network)
      .default([])
      .describe(
        'Proxies in front (addresses and networks) whose X-Forwarded-For and X-Forwarded-Proto are believed. They must write them anew, or add to them. A request of theirs that names no readable address is refused.',
      )
      .meta({ ...live, example: '127.0.0.1' }),
    confirm_plain_anywhere: z
      .boolean()
      .default(false)
      .describe(
        'Confirms that HTTP without TLS may be served on other than loopback addresses, for a proxy on another machine.',
      ),
  })
  .prefault({})
  .describe('The web server.');

const auth = z
  .strictObject({
    mechanisms: z
      .array(z.enum(['SCRAM-SHA-512', 'SCRAM-SHA-256', 'SCRAM-SHA-1', 'PLAIN', 'EXTERNAL']))
      .refine(
        (list) => list.length > 0,
        because('lets nobody log in', 'write at least one mechanism, such as "SCRAM-SHA-256"'),
      )
      .default(['SCRAM-SHA-512', 'SCRAM-SHA-256', 'SCRAM-SHA-1', 'PLAIN', 'EXTERNAL'])
      .describe(
        'SASL mechanisms that are offered. SCRAM is offered as -PLUS too where the channel can be bound; PLAIN inside TLS only; EXTERNAL to clients with a certificate.',
      )
      .meta(live),
    anonymous: z
      .boolean()
      .default(false)
      .describe('Whether SASL ANONYMOUS is offered: a passing address without an account (XEP-0175).')
      .meta(live),
    scram_iterations: count({ min: 4096, max: 10_000_000 })
      .default(10_000)
      .describe('Rounds of PBKDF2 for the keys of a new password (RFC 7677: at least 4096).')
      .meta(live),
    password_min_length: count({ min: 1, max: 1024 })
      .default(8)
      .describe('Least characters of a new password.')
      .meta(live),
    fast_token_seconds: seconds({ min: 60 })
      .default(1_814_400)
      .describe('How long a login token (XEP-0484) lasts when it is not used.')
      .meta(live),
    fast_token_rotate_seconds: seconds({ min: 0 })
      .default(86_400)
      .describe('Age at which a login token is replaced when it is used.')
      .meta(live),
    fast_tokens_per_account: count({ min: 1 })
      .default(16)
      .describe('Login tokens of one account; the one unused for longest makes room.')
      .meta(live),
    attempts_per_stream: count({ min: 1, unlimited: true })
      .default(3)
      .describe(
        'Failed attempts after which a stream is closed (RFC 6120 §6.4.5: 2 to 5). One account tried by several mechanisms, each once, is one attempt.',
      )
      .meta(live),
    failures_per_address: count({ min: 1, unlimited: true })
      .default(30)
      .describe(
        'Accounts whose password one IPv4 address or IPv6 /64 gets wrong, one forgotten a minute, before the address is shut out. Accounts that logged in from there in the last 30 days still get in. "unlimited": addresses are neither shut out nor slowed down.',
      )
      .meta(live),
    failures_per_account: count({ min: 1, unlimited: true })
      .default(10)
      .describe(
        'Wrong passwords of one account at one address, one forgotten a minute, before the account is shut out at that address. Where it logged in from there in the last 30 days, it is only slowed down. "unlimited": neither.',
      )
      .meta(live),
    failure_window_seconds: wait(1).default(300).describe('How long a shut-out lasts.').meta(live),
    failures_remembered: count({ min: 100 })
      .default(100_000)
      .describe('Addresses and accounts whose failed logins are remembered; the least recently used are evicted.')
      .meta(live),
  })
  .prefault({})
  .describe('Logging in.');

const streamManagement = z
  .strictObject({
    queue_stanzas: count({ min: 10 })
      .default(1000)
      .describe(
        'Stanzas that may wait for a client that does not acknowledge; beyond it the session hibernates, or ends where it cannot be resumed.',
      )
      .meta(live),
    queue_bytes: bytes({ min: 65_536 })
      .default(4_194_304)
      .describe('The same in bytes; a character counts as one.')
      .meta(live),
    hibernate_seconds: wait()
      .default(600)
      .describe('How long a lost session can be resumed where the client does not ask for a time.')
      .meta(live),
    hibernate_max_seconds: wait().default(86_400).describe('The most that a client can ask for.').meta(live),
    hibernated_per_account: count({ min: 0 })
      .default(10)
      .describe('Lost sessions of one account that are kept; the oldest makes room.')
      .meta(live),
    keep_after_seconds: seconds({ unlimited: true })
      .default(10)
      .describe(
        'A session for which nothing came or went for so long is written down, so that it can be resumed after a crash.',
      )
      .meta(live),
  })
  .prefault({})
  .describe('Acknowledgements and resumption of sessions (XEP-0198).');

const driver = z.enum(['sqlite', 'memory']);

const storage = z
  .strictObject({
    driver: driver.default('sqlite').describe('Where data is kept. "memory" forgets everything when the server stops.'),
    sqlite: z
      .strictObject({
        file: z.string().min(1).default('waxwing.sqlite').describe('The database.').meta({ path: 'data' }),
      })
      .prefault({})
      .describe('The SQLite driver.'),
    stores: z
      .record(z.string(), driver)
      .default({})
      .describe('Stores that are kept elsewhere than `driver` says, by their names; of other modules: "MODULE/STORE".')
      .meta({ example: 'sqlite' }),
    low_space_bytes: bytes({ min: 0 })
      .default(1_073_741_824)
      .describe(
        'When less is free on the disk of the data folder, or less than a tenth of a smaller disk, messages and changes of accounts that wrote the most lately are taken more slowly: first where they wrote 1 MiB more than 16 KiB a second, then further ones as still less is free. 0: never.',
      )
      .meta(live),
  })
  .prefault({})
  .describe('Storage.');

const modules = z
  .looseObject({
    disabled: z.array(z.string()).default([]).describe('Modules that are not started.').meta({ example: 'mam' }),
    load: z
      .array(z.string().min(1))
      .default([])
      .describe('Further modules: npm packages, or files beginning with "./", "../" or "/".')
      .meta({ path: 'import', example: './greeter.js' }),
  })
  .prefault({})
  .describe('Features. Each has a table of its own, [modules.NAME].');

const level = z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']);

const log = z
  .strictObject({
    level: level.default('info').describe('Least importance that is logged.').meta(live),
    file: z
      .string()
      .default('')
      .describe('File that is appended to. Empty: standard output.')
      .meta({ path: 'config', example: '/var/log/waxwing/waxwing.log' }),
    format: z
      .enum(['auto', 'json', 'pretty'])
      .default('auto')
      .describe('A JSON object a line, or text for people; "auto" is text on a terminal, JSON everywhere else.'),
    areas: z
      .record(z.string(), level)
      .default({})
      .describe('Levels of single areas, by their names.')
      .meta({ ...live, example: 'debug' }),
  })
  .prefault({})
  .describe('Logging.');

const metrics = z
  .strictObject({
    enabled: z.boolean().default(true).describe('Whether metrics are counted and served, for Prometheus.'),
    path: path('/metrics').describe('Path on the HTTP listeners.'),
    allow_from: z
      .array(network)
      .default(['127.0.0.0/8', '::1'])
      .describe(
        'Addresses and networks that may read them; to others the path does not exist. A request through a proxy counts as its client where http.forwarded_from trusts the proxy, and is refused elsewhere. A proxy on the same machine that adds no header cannot be told apart: then write [] and set a token.',
      )
      .meta(live),
    token: z
      .string()
      .regex(/^\S*$/, because('has spaces', 'write a long random text, such as openssl rand -hex 32 makes'))
      .default('')
      .describe('Who shows it ("Authorization: Bearer TOKEN") may read them from anywhere. Empty: there is none.')
      .meta({ ...live, secret: true }),
  })
  .prefault({})
  .describe('Metrics.');

const admin = z
  .strictObject({
    socket: z
      .string()
      .min(1)
      .default(defaultPlaces.socket)
      .describe('Unix socket by which the commands of `waxwing` reach the running server.')
      .meta({ path: 'data' }),
    shutdown_grace_seconds: wait()
      .default(2)
      .describe(
        'How long a stop waits for clients in all: half of it for what they asked last, the rest for them to close their streams. Sessions that can be resumed are saved before.',
      )
      .meta(live),
  })
  .prefault({})
  .describe('Administration.');

export const configSchema = z.strictObject({
  data: z
    .string()
    .min(1)
    .default(defaultPlaces.data)
    .describe(
      'Folder for everything that the server keeps: database, certificates, sockets, uploads. Made when it is not there.',
    )
    .meta({ path: 'config' }),
  hosts,
  listen,
  tls,
  c2s,
  http,
  auth,
  limits,
  stream_management: streamManagement,
  storage,
  modules,
  log,
  metrics,
  admin,
});

/** The whole configuration: checked, defaults filled in, amounts in bytes and seconds, paths absolute. */
export type Config = z.output<typeof configSchema>;

function isCipherList(text: string): boolean {
  if (text === ciphers) return true;
  try {
    createSecureContext({ ciphers: text });
    return true;
  } catch {
    return false;
  }
}
