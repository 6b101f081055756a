/**
 * The configuration of the server itself; each module has the schema of its own table `[modules.NAME]`. Every key has a
 * default, so an empty file is valid. keys.ts documents the metadata of a key.
 */
import { createSecureContext } from 'node:tls';
import { z } from 'zod';
import { acme } from './acme.js';
import { cluster } from './cluster.js';
import { components } from './components.js';
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
import { isPrivateName } from './public-names.js';
import { hostS2s, s2s } from './s2s.js';
import { storage } from './storage.js';
import { bytes, count, seconds } from './units.js';

const listenAddresses = (purpose: string, ...addresses: string[]) =>
  z
    .array(listenAddress)
    .default(addresses)
    .describe(
      `${purpose} A list of "address:port"; "*" is all addresses, IPv6 and IPv4; port 0 is any free port; [] is none.`,
    );

const contactAddresses = (purpose: string) =>
  z
    .array(
      z
        .string()

        .refine(
          (text) => /^[a-z][a-z0-9+.-]*:[^\s]+$/i.test(text),
          because(
            'is not a URI',
            'write one such as "mailto:abuse@example.org", "xmpp:admin@example.org" or "https://example.org/contact"',
          ),
        ),
    )
    .default([])
    .describe(`${purpose} A list of URIs.`)
    .meta(live);

/** Whether the text is a URL of HTTP, without a password. */
function isWebAddress(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, username, password } = new URL(text);
  return (protocol === 'https:' || protocol === 'http:') && username === '' && password === '';
}

const isBareWebAddress = (text: string): boolean => isWebAddress(text) && /^[^/]*\/\/[^/?#]+\/?$/.test(text);

/** XEP-0157: the contact addresses of a host in its server information. */
const contact = z
  .strictObject({
    abuse: contactAddresses('Where to report abuse.'),
    admin: contactAddresses('How to reach the administrators.'),
    feedback: contactAddresses('Where to send feedback.'),
    sales: contactAddresses('Where to ask about sales.'),
    security: contactAddresses('Where to report security problems.'),
    status: contactAddresses('Where the status of the service is published.'),
    support: contactAddresses('Where to ask for help.'),
  })
  .prefault({})
  .describe('Contact addresses, published by service discovery (XEP-0157).');

const host = z.strictObject({
  certificate: oneOrMore(z.string().min(1))
    .default([])
    .describe(
      'Certificate chain in PEM, the server certificate first; a list of files for ECDSA plus RSA. Empty: certs/HOST.crt in the data folder, self-signed if it does not exist.',
    )
    .meta({ ...live, path: 'config', example: '/etc/letsencrypt/live/example.org/fullchain.pem' }),
  key: oneOrMore(z.string().min(1))
    .default([])
    .describe('Private key in PEM; one per certificate, in the same order.')
    .meta({ ...live, path: 'config', example: '/etc/letsencrypt/live/example.org/privkey.pem' }),
  admins: z
    .array(accountAddress)
    .default([])
    .describe('Accounts that administer this host.')
    .meta({ ...live, example: 'alice@example.org' }),
  public_url: z
    .string()
    .refine(
      (text) => text === '' || isBareWebAddress(text),
      because('is not a web address without a path', 'write one such as "https://chat.example.org"'),
    )
    .default('')
    .describe(
      'Where clients reach the HTTP server for this host, if it is not https://HOST and the port of listen.https: for example through a proxy. WebSocket, files and pages are announced below this address.',
    )
    .meta({ ...live, example: 'https://chat.example.org' }),
  outage_status: z
    .array(
      z
        .string()
        .refine(
          isWebAddress,
          because('is not a web address', 'write one such as "https://status.example.net/example.org.json"'),
        ),
    )
    .default([])
    .describe(
      'Web addresses of a file with the outage status of the host (XEP-0455). Clients keep them, and read the file when they cannot connect, so it should not depend on this server. See waxwing outage.',
    )
    .meta({ ...live, example: 'https://status.example.net/example.org.json' }),
  contact,
  s2s: hostS2s,
});

const hosts = z
  .record(hostName, host)
  .refine(
    (table) => Object.keys(table).length > 0,
    because('has no host', 'write a table such as [hosts."example.org"]'),
  )
  .prefault({ localhost: {} })
  .describe('The domains of the server, one table each. The first is the default host.');

const listen = z
  .strictObject({
    c2s: listenAddresses('Clients over TCP, encrypted by STARTTLS.', '*:5222'),
    c2s_tls: listenAddresses('Clients over direct TLS (XEP-0368).', '*:5223'),
    https: listenAddresses('HTTP over TLS: WebSocket and everything else.', '*:5443'),
    http: listenAddresses(
      'HTTP without TLS, for a proxy on the same machine; other than loopback addresses need http.confirm_plain_anywhere.',
      '127.0.0.1:5280',
    ),
    component: listenAddresses(
      'External components (XEP-0114), unencrypted; only opened if a component is configured.',
      '127.0.0.1:5347',
    ),
    s2s: listenAddresses(
      'Other servers over TCP, encrypted by STARTTLS; only if the server talks to other servers (s2s.enabled).',
      '*:5269',
    ),
    s2s_tls: listenAddresses(
      'Other servers over direct TLS (XEP-0368); only if the server talks to other servers (s2s.enabled).',
    ),
    acme: listenAddresses(
      'HTTP for an authority that looks for proofs (tls.acme.challenge = "http-01"), and for nothing else; only opened if certificates are ordered. Authorities connect to port 80. [] if a proxy has that port and passes /.well-known/acme-challenge/ to listen.http.',
      '*:80',
    ),
    proxy_protocol: z
      .array(network)
      .default([])
      .describe(
        'Proxies (addresses and networks) whose connections to all ports begin with a PROXY header, version 1 or 2, which gives the address of the client and whether it has TLS to the proxy. A connection from them without the header is closed.',
      )
      .meta({ example: '10.0.0.0/8' }),
    backlog: count({ min: 1, max: 65_535 })
      .default(1024)
      .describe('Maximum connections waiting to be accepted, per listener.'),
  })
  .prefault({})
  .describe('Listen addresses.');

const ciphers =
  'TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:' +
  'ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:' +
  'ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305';

const tls = z
  .strictObject({
    minimum_version: z
      .enum(['1.2', '1.3'])
      .default('1.2')
      .describe('Minimum version of TLS. Some clients still need 1.2.'),
    ciphers: z
      .string()
      .refine(isCipherList, because('has no known cipher', 'write a list in the syntax of OpenSSL, such as "HIGH"'))
      .default(ciphers)
      .describe(
        'OpenSSL cipher list. The default only has ciphers with forward secrecy and authenticated encryption (RFC 9325).',
      ),
    session_seconds: seconds({ min: 0, max: 604_800 }).default(7200).describe('Lifetime of a TLS session ticket.'),
    client_certificates: z
      .boolean()
      .default(false)
      .describe(
        'Whether clients are asked for a certificate, for SASL EXTERNAL (XEP-0178). They may log in without one.',
      ),
    client_authorities: z
      .array(z.string().min(1))
      .default([])
      .describe('Files with the certificate authorities (PEM) trusted for client certificates. Empty: those of Node.')
      .meta({ path: 'config', example: '/etc/waxwing/client-ca.pem' }),
    server_authorities: z
      .array(z.string().min(1))
      .default([])
      .describe(
        "Files with the authorities (PEM) that may have signed other servers' certificates. Empty: those of Node.",
      )
      .meta({ path: 'config', example: '/etc/waxwing/server-ca.pem' }),
    reload_check_seconds: wait(1)
      .default(60)
      .describe('How often certificate files are checked for changes; changes are applied at once.'),
    acme,
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
        'Whether clients must use TLS before they log in. false needs confirm_plain_anywhere on other than loopback addresses.',
      )
      .meta(live),
    allow_plain_tcp_on_loopback: z
      .boolean()
      .default(false)
      .describe(
        'Whether connections from this machine to a loopback address may log in without TLS although others must not. Do not enable it if a proxy runs on the same machine: all its connections look local.',
      )
      .meta(live),
    allow_sasl_plain_without_tls: z
      .boolean()
      .default(false)
      .describe(
        'Whether a connection that may log in without TLS may use SASL PLAIN, which sends the password in clear.',
      )
      .meta(live),
    notification_delay_seconds: seconds({ min: 0, max: 1 })
      .default(0.01)
      .describe('Maximum delay of presence and notifications, so that several are sent in one write; 0 disables it.')
      .meta(live),
    confirm_plain_anywhere: z
      .boolean()
      .default(false)
      .describe(
        'Confirms that clients may log in without TLS over any network. Anyone on the path can read everything.',
      ),
  })
  .prefault({})
  .describe('Connections of clients.');

const bosh = z
  .strictObject({
    enabled: z.boolean().default(true).describe('Whether to serve it.'),
    path: path('/http-bind').describe('Path on the HTTP listeners.'),
    body_bytes: bytes({ min: 65_536, max: 2 ** 26 })
      .default(2_097_152)
      .describe(
        'Maximum size of the body of a request after login, with all its stanzas, if it is more than one of limits.stanza_bytes; before login it is a few times limits.stanza_bytes_unauthenticated. A longer one ends the session. Each stanza has its own limit, and all are paced by limits.rate as those over other connections.',
      )
      .meta(live),
    wait_seconds: seconds({ min: 0, max: 3600 })
      .default(60)
      .describe(
        'How long a request is held at most until there is something to answer. A proxy must not give up before.',
      )
      .meta(live),
    inactivity_seconds: seconds({ min: 1, max: 3600 })
      .default(60)
      .describe('How long a client may make no request until its connection counts as lost.')
      .meta(live),
    polling_seconds: seconds({ min: 0, max: 3600 })
      .default(5)
      .describe('How soon a client that is not answered late may ask again; sooner ends the session.')
      .meta(live),
    pause_seconds: seconds({ min: 1, max: 3600 })
      .default(120)
      .describe('How long a client may announce to make no request, for example while its page is reloaded.')
      .meta(live),
  })
  .prefault({})
  .describe('BOSH, for web clients without WebSocket (XEP-0124).');

const http = z
  .strictObject({
    websocket_path: path('/xmpp-websocket').describe('Path of XMPP over WebSocket (RFC 7395).'),
    bosh,
    origins: z
      .array(origin)
      .default(['*'])
      .describe(
        'Origins of web pages whose scripts may open a stream (RFC 6455 §10.2); "*" is any. The default is safe because browsers send no credentials of their own. A list prevents other pages from trying passwords through their visitors.',
      )
      .meta({ ...live, example: 'https://chat.example.org' }),
    forwarded_from: z
      .array(network)
      .default([])
      .describe(
        'Proxies (addresses and networks) whose X-Forwarded-For and X-Forwarded-Proto are trusted. They must overwrite or extend these headers. A request from them without a valid address is refused.',
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
  .describe('HTTP and WebSocket.');

const auth = z
  .strictObject({
    mechanisms: z
      .array(z.enum(['SCRAM-SHA-512', 'SCRAM-SHA-256', 'SCRAM-SHA-1', 'PLAIN', 'EXTERNAL']))
      .refine(
        (list) => list.length > 0,
        because('is empty, so nobody could log in', 'write at least one mechanism, such as "SCRAM-SHA-256"'),
      )
      .default(['SCRAM-SHA-512', 'SCRAM-SHA-256', 'SCRAM-SHA-1', 'PLAIN', 'EXTERNAL'])
      .describe(
        'SASL mechanisms to offer. SCRAM is also offered as -PLUS if channel binding is available; PLAIN only inside TLS; EXTERNAL only to clients with a certificate.',
      )
      .meta(live),
    anonymous: z
      .boolean()
      .default(false)
      .describe('Whether to offer SASL ANONYMOUS: a temporary address without an account (XEP-0175).')
      .meta(live),
    scram_iterations: count({ min: 4096, max: 10_000_000 })
      .default(10_000)
      .describe('PBKDF2 rounds for the keys of a new password (RFC 7677: at least 4096).')
      .meta(live),
    password_min_length: count({ min: 1, max: 1024 })
      .default(8)
      .describe('Minimum length of a new password in characters.')
      .meta(live),
    fast_token_seconds: seconds({ min: 60 })
      .default(1_814_400)
      .describe('Lifetime of an unused login token (XEP-0484).')
      .meta(live),
    fast_token_rotate_seconds: seconds({ min: 0 })
      .default(86_400)
      .describe('Age after which a login token is replaced when it is used.')
      .meta(live),
    fast_tokens_per_account: count({ min: 1 })
      .default(16)
      .describe('Maximum devices per account with a login token. The one whose token expires first is evicted.')
      .meta(live),
    attempts_per_stream: count({ min: 1, unlimited: true })
      .default(3)
      .describe(
        'Failed attempts after which a stream is closed (RFC 6120 §6.4.5: 2 to 5). Trying one account once with each of several mechanisms counts as one attempt.',
      )
      .meta(live),
    failures_per_address: count({ min: 1, unlimited: true })
      .default(30)
      .describe(
        'Accounts for which an IPv4 address or IPv6 /64 may send wrong passwords before the address is blocked; the count decreases by one per minute. Accounts that logged in from there in the last 30 days can still log in. "unlimited": addresses are neither blocked nor slowed down.',
      )
      .meta(live),
    failures_per_account: count({ min: 1, unlimited: true })
      .default(10)
      .describe(
        'Wrong passwords for an account from one address before the account is blocked for that address; the count decreases by one per minute. If the account logged in from there in the last 30 days, it is only slowed down. "unlimited": neither.',
      )
      .meta(live),
    failure_window_seconds: wait(1).default(300).describe('Duration of a block.').meta(live),
    failures_remembered: count({ min: 100 })
      .default(100_000)
      .describe('Maximum addresses and accounts whose failed logins are tracked. The least recently used are evicted.')
      .meta(live),
  })
  .prefault({})
  .describe('Authentication.');

const streamManagement = z
  .strictObject({
    queue_stanzas: count({ min: 10 })
      .default(1000)
      .describe(
        'Maximum unacknowledged stanzas queued for a client. Beyond it the session hibernates, or ends if it cannot be resumed.',
      )
      .meta(live),
    queue_bytes: bytes({ min: 65_536 })
      .default(4_194_304)
      .describe('The same in bytes; a character counts as one byte.')
      .meta(live),
    hibernate_seconds: wait()
      .default(600)
      .describe('How long a disconnected session can be resumed if the client requests no time.')
      .meta(live),
    hibernate_max_seconds: wait().default(86_400).describe('Maximum time that a client can request.').meta(live),
    hibernated_per_account: count({ min: 0 })
      .default(10)
      .describe('Maximum hibernating sessions per account. The oldest one is ended to make room.')
      .meta(live),
    snapshot_after_seconds: seconds({ unlimited: true })
      .default(10)
      .describe('Idle time after which a snapshot of a session is stored, so that it can be resumed after a crash.')
      .meta(live),
  })
  .prefault({})
  .describe('Acknowledgements and resumption of sessions (XEP-0198).');

const modules = z
  .looseObject({
    disabled: z.array(z.string()).default([]).describe('Modules not to start.').meta({ example: 'mam' }),
    load: z
      .array(z.string().min(1))
      .default([])
      .describe('Additional modules: npm packages, or files beginning with "./", "../" or "/".')
      .meta({ path: 'import', example: './greeter.js' }),
  })
  .prefault({})
  .describe('Features. Each module has its own table, [modules.NAME].');

const level = z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']);

const log = z
  .strictObject({
    level: level.default('info').describe('Minimum log level.').meta(live),
    file: z
      .string()
      .default('')
      .describe('Log file, opened for appending. Empty: standard output.')
      .meta({ path: 'config', example: '/var/log/waxwing/waxwing.log' }),
    format: z
      .enum(['auto', 'json', 'pretty'])
      .default('auto')
      .describe('One JSON object per line, or readable text; "auto" is text on a terminal and JSON elsewhere.'),
    areas: z
      .record(z.string(), level)
      .default({})
      .describe('Levels of individual areas, by name.')
      .meta({ ...live, example: 'debug' }),
  })
  .prefault({})
  .describe('Logging.');

const metrics = z
  .strictObject({
    enabled: z.boolean().default(true).describe('Whether to collect and serve metrics, for Prometheus.'),
    path: path('/metrics').describe('Path on the HTTP listeners.'),
    allow_from: z
      .array(network)
      .default(['127.0.0.0/8', '::1'])
      .describe(
        'Addresses and networks that may read the metrics; for others the path does not exist. A request through a proxy counts as from its client if http.forwarded_from trusts the proxy, and is refused otherwise. A proxy on the same machine that adds no header cannot be detected: then set this to [] and use a token.',
      )
      .meta(live),
    token: z
      .string()
      .regex(/^\S*$/, because('contains spaces', 'write a long random text, for example from "openssl rand -hex 32"'))
      .default('')
      .describe(
        'A request with this token ("Authorization: Bearer TOKEN") may read the metrics from anywhere. Empty: no token.',
      )
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
      .describe('Unix socket for `waxwing` commands to the running server.')
      .meta({ path: 'data' }),
    shutdown_grace_seconds: wait()
      .default(2)
      .describe(
        'Time limit for clients on shutdown: half of it to answer their last requests, half for them to close their streams. Resumable sessions are saved first.',
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
      'Folder for all data of the server: database, certificates, sockets, uploads. Created if it does not exist.',
    )
    .meta({ path: 'config' }),
  hosts,
  components,
  listen,
  tls,
  c2s,
  s2s,
  http,
  auth,
  limits,
  stream_management: streamManagement,
  storage,
  cluster,
  modules,
  log,
  metrics,
  admin,
});

/** The validated configuration: defaults filled in, amounts in bytes and seconds, paths absolute. */
export type Config = z.output<typeof configSchema>;

export type ListenerKind = keyof Omit<Config['listen'], 'backlog' | 'proxy_protocol'>;

/** Whether there are to be streams to and from other servers. */
export const isFederated = ({ s2s, hosts }: Pick<Config, 's2s' | 'hosts'>): boolean =>
  s2s.enabled === 'auto' ? !Object.keys(hosts).every(isPrivateName) : s2s.enabled;

const always = ['c2s', 'c2s_tls', 'https', 'http'] as const;
const serverKinds = ['s2s', 's2s_tls'] as const;

/** Returns the listeners to open: those for other servers and for components only if there can be any. */
export const listenersOf = (config: Pick<Config, 'components' | 's2s' | 'hosts' | 'tls'>): readonly ListenerKind[] => [
  ...always,
  ...(isFederated(config) ? serverKinds : []),
  ...(Object.keys(config.components).length === 0 ? [] : (['component'] as const)),
  // For proofs to an authority. The server starts without it.
  ...(awaitsProofs(config) ? (['acme'] as const) : []),
];

/** The hosts whose certificates the server orders: public domains without files of their own. */
export const orderedHosts = ({ hosts, tls }: Pick<Config, 'hosts' | 'tls'>): readonly string[] =>
  tls.acme.agree_terms
    ? Object.keys(hosts).filter((host) => hosts[host]!.certificate.length === 0 && !isPrivateName(host))
    : [];

const awaitsProofs = (config: Pick<Config, 'hosts' | 'tls'>): boolean =>
  config.tls.acme.challenge === 'http-01' && orderedHosts(config).length > 0;

/** Listeners without which the server starts, if one of them cannot be opened, without federation. */
export const optionalListeners = ({ s2s }: Pick<Config, 's2s'>): readonly ListenerKind[] =>
  s2s.enabled === 'auto' ? serverKinds : [];

function isCipherList(text: string): boolean {
  if (text === ciphers) return true;
  try {
    createSecureContext({ ciphers: text });
    return true;
  } catch {
    return false;
  }
}
