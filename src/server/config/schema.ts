/**
 * The configuration of the server itself; each module brings the schema of its own table `[modules.NAME]`. Every key
 * has a default, so an empty file is a configuration. A key's meta says how it may change and what it holds:
 *
 * - `live`: `reload` applies a change to the running server; without it the change needs a restart.
 * - `path`: a path; a relative one is taken from the folder of the configuration file ('config') or from `data`; 'import':
 *   only where it begins with "./" or "../".
 * - `secret`: never shown.
 */
import { createSecureContext } from 'node:tls';
import { z } from 'zod';
import { Jid } from '../stanza/jid.js';
import { networks, normalOrigin, parseListenAddress } from './address.js';
import { defaultPlaces } from './places.js';
import { bytes, count, longestTimer, seconds } from './units.js';

/** A type and not an interface, so that it fits the open record that zod takes. */
export type KeyMeta = {
  readonly live?: boolean;
  readonly path?: 'config' | 'data' | 'import';
  readonly secret?: boolean;
  /** What a value looks like, for messages and the reference. */
  readonly example?: string;
};

const live: KeyMeta = { live: true };

/** A timer's length: never so long that Node would fire it at once. */
const wait = (min = 0) => seconds({ min, max: longestTimer });

/** A list that may be written as one text where it has one entry. */
const oneOrMore = (entry: z.ZodType<string>) =>
  z.preprocess((value) => (typeof value === 'string' ? [value] : value), z.array(entry));

/** A refinement whose finding reads "VALUE PROBLEM; HINT". */
const because = (problem: string, hint: string) => ({ error: problem, params: { hint } });

const hostName = z.string().check((check) => {
  const name = Jid.tryParse(check.value);
  if (name?.full === check.value && name.local === undefined && name.resource === undefined) return;
  const isDomain = name !== undefined && name.local === undefined && name.resource === undefined;
  check.issues.push({
    code: 'custom',
    input: check.value,
    message: isDomain ? 'is not the usual spelling of this domain' : 'is no domain name',
    params: { hint: isDomain ? `write ${JSON.stringify(name.domain)}` : 'write one such as "example.org"' },
  });
});

const accountAddress = z.string().refine(
  (text) => {
    const jid = Jid.tryParse(text);
    return jid?.local !== undefined && jid.isBare;
  },
  because('is no account', 'write an address such as "alice@example.org"'),
);

const listenAddress = z
  .string()
  .refine(
    (text) => parseListenAddress(text) !== undefined,
    because(
      'is no address to listen on',
      'write "address:port", such as "127.0.0.1:5222", "[::1]:5222" or "*:5222" (every address)',
    ),
  );

const path = (example: string) =>
  z
    .string()
    .refine((text) => /^\/[^\s?#]*$/.test(text), because('is no path', `write one such as "${example}"`))
    .default(example);

const origin = z
  .string()
  .refine(
    (text) => text === '*' || normalOrigin(text) !== undefined,
    because('is no origin', 'write scheme and host, such as "https://chat.example.org", or "*"'),
  );

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

const network = z
  .string()
  .refine(isNetwork, because('is no address or network', 'write one such as "192.0.2.7" or "10.0.0.0/8"'));

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

type RateDefaults = Record<'stanzas' | 'stanza_burst' | 'bytes' | 'byte_burst', number>;

const rateKeys = (defaults: RateDefaults) => ({
  stanzas_per_second: count({ min: 1, unlimited: true })
    .default(defaults.stanzas)
    .describe('Stanzas a second in the long run.')
    .meta(live),
  stanza_burst: count({ min: 1, unlimited: true })
    .default(defaults.stanza_burst)
    .describe('Stanzas that may come at once after a rest.')
    .meta(live),
  bytes_per_second: bytes({ min: 100, unlimited: true })
    .default(defaults.bytes)
    .describe('Bytes a second in the long run.')
    .meta(live),
  byte_burst: bytes({ min: 1000, unlimited: true })
    .default(defaults.byte_burst)
    .describe('Bytes that may come at once after a rest.')
    .meta(live),
});

const rate = (purpose: string, defaults: RateDefaults) =>
  z
    .strictObject(rateKeys(defaults))
    .prefault({})
    .describe(`${purpose} A connection that is faster is read more slowly, not closed.`);

/** What many connections share. */
const sharedRate = (purpose: string, defaults: RateDefaults) =>
  z
    .strictObject({
      ...rateKeys(defaults),
      answer_bytes_per_second: bytes({ min: 1000, unlimited: true })
        .default(2_097_152)
        .describe('Bytes a second of answers to what clients ask for, such as pages of an archive, in the long run.')
        .meta(live),
      answer_byte_burst: bytes({ min: 10_000, unlimited: true })
        .default(16_777_216)
        .describe('Bytes of answers that may go out at once after a rest.')
        .meta(live),
      cpu_ms_per_second: count({ min: 1, unlimited: true })
        .default(300)
        .describe('CPU time a second in the long run, in milliseconds: 1000 is one core.')
        .meta(live),
      cpu_ms_burst: count({ min: 10, unlimited: true })
        .default(2000)
        .describe('CPU time that may be used at once after a rest, in milliseconds.')
        .meta(live),
    })
    .prefault({})
    .describe(`${purpose} Connections beyond it are read more slowly, not closed.`);

const limits = z
  .strictObject({
    stanza_bytes: bytes({ min: 10_000, max: 2 ** 26 })
      .default(262_144)
      .describe('Largest stanza (RFC 6120 §13.12: at least 10000 bytes).')
      .meta(live),
    stanza_bytes_unauthenticated: bytes({ min: 2000, max: 2 ** 20 })
      .default(10_000)
      .describe('Largest element before the login.')
      .meta(live),
    stanza_depth: count({ min: 10, max: 1000 })
      .default(100)
      .describe('Deepest nesting of elements in a stanza.')
      .meta(live),
    stanza_elements: count({ min: 500, max: 1_000_000 })
      .default(5000)
      .describe(
        'Elements in a stanza, and attributes of an element beyond five: what reading and answering it costs grows with them more than with its bytes.',
      )
      .meta(live),
    stanza_attributes: count({ min: 20, max: 10_000 })
      .default(100)
      .describe('Attributes and namespace declarations of one element.')
      .meta(live),
    presence_bytes: bytes({ min: 10_000, max: 2 ** 20 })
      .default(16_384)
      .describe(
        'Content of a presence stanza: every contact and every occupant of a room gets it. A longer one is refused.',
      )
      .meta(live),
    fan_out_bytes: bytes({ min: 1_048_576, max: 2 ** 30 })
      .default(16_777_216)
      .describe(
        'What one message to a room, multicast message or notification may come to: its bytes times its recipients. Up to 16 KiB it is sent to any number.',
      )
      .meta(live),
    connections: count({ min: 1, unlimited: true })
      .default(100_000)
      .describe('Connections of clients in all. Mind the limit of open files of the system.')
      .meta(live),
    connections_per_address: count({ min: 1, unlimited: true })
      .default(500)
      .describe(
        'Connections from one IPv4 address or one IPv6 /64. A whole office may come from one; from 127.0.0.1 and ::1 a proxy brings everybody, and they are not counted.',
      )
      .meta(live),
    connections_per_minute: count({ min: 1, unlimited: true })
      .default(6000)
      .describe(
        'New connections from one address in a minute, with the same exceptions; as many as connections_per_address may come at once.',
      )
      .meta(live),
    login_deadline_seconds: wait(1)
      .default(30)
      .describe('From connecting until the session is bound. Only a registration form puts it off.')
      .meta(live),
    registration_deadline_seconds: wait(1)
      .default(600)
      .describe(
        'The same for a client that was sent a registration form, while somebody fills it in (modules.register.open).',
      )
      .meta(live),
    registrations_per_address: count({ min: 0, unlimited: true })
      .default(10)
      .describe(
        'Connections from one IPv4 address or one IPv6 /64 that may have this longer deadline; further ones have login_deadline_seconds.',
      )
      .meta(live),
    registrations: count({ min: 0, unlimited: true })
      .default(1000)
      .describe('Connections that may have this longer deadline in all.')
      .meta(live),
    sessions_per_account: count({ min: 1, unlimited: true })
      .default(20)
      .describe('Sessions of one account, connected and hibernating.')
      .meta(live),
    write_queue_bytes: bytes({ min: 65_536, max: 2 ** 30 })
      .default(2_097_152)
      .describe('What may wait for a client that does not read; beyond it the session hibernates or ends.')
      .meta(live),
    stalled_seconds: wait(1)
      .default(15)
      .describe(
        'How long a client for which more waits than may (write_queue_bytes, stream_management.queue_stanzas) can go without reading or acknowledging anything.',
      )
      .meta(live),
    outbound_bytes: bytes({ min: 1_048_576 })
      .default(67_108_864)
      .describe(
        'What may wait for all clients together. Where an eighth of it came lately, accounts whose stanzas go to many are read more slowly. Beyond it sessions end, the longest queues of those who take nothing first; their messages are kept as those of absent users. One session has at most a quarter of it.',
      )
      .meta(live),
    idle_whitespace_seconds: z
      .union([z.literal(false), wait(10)])
      .default(false)
      .describe(
        'Silence after which a space is sent to keep the ways through routers open (RFC 6120 §4.6.1), for clients without stream management. false: never.',
      )
      .meta({ ...live, example: '300' }),
    ping_after_seconds: wait(10)
      .default(300)
      .describe('Silence of a client after which it is asked whether it is still there (XEP-0198 or XEP-0199).')
      .meta(live),
    ping_timeout_seconds: wait(1)
      .default(60)
      .describe('How long its answer may take before the connection counts as lost.')
      .meta(live),
    close_timeout_seconds: wait(1)
      .default(5)
      .describe('How long a client may take to close its half of a closed stream.')
      .meta(live),
    waiting_for_disk: count({ min: 10 })
      .default(2000)
      .describe(
        'Writes of messages that may wait for the disk in all. Beyond it accounts are read more slowly, those with the most writes first.',
      )
      .meta(live),
    waiting_for_disk_bytes: bytes({ min: 1_048_576, max: 33_554_432 })
      .default(16_777_216)
      .describe('The same in bytes. A message that is stored several times counts as often.')
      .meta(live),
    waiting_for_disk_bytes_per_account: bytes({ min: 65_536, max: 16_777_216 })
      .default(4_194_304)
      .describe('The same in bytes for one account, which is read more slowly beyond it.')
      .meta(live),
    offline_messages: count({ min: 0, unlimited: true })
      .default(1000)
      .describe(
        'Messages kept for an account that is offline and whose archive does not have them; further ones are refused.',
      )
      .meta(live),
    roster_items: count({ min: 1, unlimited: true }).default(2000).describe('Contacts of one account.').meta(live),
    archive_bytes: bytes({ min: 100_000, unlimited: true })
      .default(268_435_456)
      .describe('Archived messages of one account; the oldest make room.')
      .meta(live),
    account_bytes: bytes({ min: 100_000, unlimited: true })
      .default(134_217_728)
      .describe(
        'All else that one account stores: contacts, published items, private XML, offline messages. Beyond it further writes are refused.',
      )
      .meta(live),
    room_archive_bytes: bytes({ min: 100_000, unlimited: true })
      .default(268_435_456)
      .describe('Archived messages of one room; the oldest make room.')
      .meta(live),
    room_bytes: bytes({ min: 100_000, unlimited: true })
      .default(16_777_216)
      .describe('All else that one room stores: configuration, lists, avatar.')
      .meta(live),
    unlimited_roles: z
      .array(z.enum(['admin', 'user']))
      .default(['admin'])
      .describe('Roles whose accounts have no quota. A single account can have its own: waxwing user quota.')
      .meta(live),
    private_bytes: bytes({ min: 0, unlimited: true })
      .default(1_048_576)
      .describe('Private XML storage (XEP-0049) of one account.')
      .meta(live),
    vcard_bytes: bytes({ min: 0, unlimited: true })
      .default(131_072)
      .describe('vCard (XEP-0054) of one account.')
      .meta(live),
    rate: rate('How fast a client may send.', {
      stanzas: 100,
      stanza_burst: 1000,
      bytes: 131_072,
      byte_burst: 1_048_576,
    }),
    rate_unauthenticated: rate('How fast a client may send before the login.', {
      stanzas: 10,
      stanza_burst: 50,
      bytes: 10_000,
      byte_burst: 40_000,
    }),
    rate_account: sharedRate('How much one account may send and ask for, over all its connections.', {
      stanzas: 200,
      stanza_burst: 3000,
      bytes: 262_144,
      byte_burst: 4_194_304,
    }),
    rate_address: sharedRate(
      'The same for connections from one IPv4 address or one IPv6 /64 before the login. Those from 127.0.0.1 and ::1 do not count together.',
      { stanzas: 200, stanza_burst: 5000, bytes: 131_072, byte_burst: 2_097_152 },
    ),
  })
  .prefault({})
  .describe('Bounds. Each is met with an error to whoever passes it, and counted in the metrics.');

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

function isNetwork(text: string): boolean {
  try {
    networks([text]);
    return true;
  } catch {
    return false;
  }
}
