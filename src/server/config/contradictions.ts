/** Rules about combinations of keys that are individually valid. */
import { isLoopback, type ListenAddress, parseListenAddress } from './address.js';
import { misplacedStores } from './cassandra.js';
import { clusterProblems } from './cluster.js';
import { delegationProblems, privilegeProblems, secretHint, secretProblem } from './components.js';
import type { Complaint } from './findings.js';
import type { KeyPath } from './positions.js';
import { redisProblems } from './redis.js';
import { s3Problems } from './s3.js';
import { type Config, listenersOf } from './schema.js';
import { formatQuantity } from './units.js';

/** Maximum path length of a Unix socket in bytes on all systems (sun_path of 104, including its NUL). */
const maxSocketPath = 103;

interface Rule {
  /**
   * The keys used by the rule: it is skipped if one of them already has a finding. The first is the default place of a
   * finding.
   */
  readonly keys: readonly string[];
  readonly check: (config: Config) => readonly (Omit<Complaint, 'path'> & { readonly path?: KeyPath })[];
}

const rules: readonly Rule[] = [
  {
    keys: ['c2s.require_encryption', 'c2s.confirm_plain_anywhere', 'listen.c2s'],
    check: ({ c2s, listen }) =>
      c2s.require_encryption || c2s.confirm_plain_anywhere || listen.c2s.every(isLoopbackListener)
        ? []
        : [
            {
              problem: `false allows passwords and messages to be sent unencrypted on ${listen.c2s.filter((text) => !isLoopbackListener(text)).join(', ')}`,
              hint: 'keep it true and set c2s.allow_plain_tcp_on_loopback for tests, or listen on loopback addresses only, or confirm with c2s.confirm_plain_anywhere = true',
            },
          ],
  },
  {
    keys: ['listen.http', 'http.confirm_plain_anywhere'],
    check: ({ listen, http }) =>
      http.confirm_plain_anywhere
        ? []
        : listen.http.flatMap((text, index) =>
            isLoopbackListener(text)
              ? []
              : [
                  {
                    path: ['listen', 'http', index],
                    problem: `"${text}" would serve HTTP without TLS to the network`,
                    hint: 'listen on 127.0.0.1, or use listen.https, or confirm with http.confirm_plain_anywhere = true',
                  },
                ],
          ),
  },
  {
    keys: [
      'listen.c2s',
      'listen.c2s_tls',
      'listen.s2s',
      'listen.s2s_tls',
      'listen.https',
      'listen.http',
      'listen.component',
      'listen.acme',
      'components',
      'tls.acme',
    ],
    check: (config) => {
      const { listen } = config;
      const taken: { readonly address: ListenAddress; readonly key: string }[] = [];
      return listenersOf(config).flatMap((key) =>
        listen[key].flatMap((text, index) => {
          const address = parseListenAddress(text)!;
          const other = taken.find((one) => collide(one.address, address));
          taken.push({ address, key: `listen.${key}` });
          return other === undefined
            ? []
            : [
                {
                  path: ['listen', key, index],
                  problem: `"${text}" is already used by ${other.key}`,
                  hint: 'use a different port for each listener',
                },
              ];
        }),
      );
    },
  },
  {
    keys: ['hosts'],
    check: ({ hosts }) =>
      Object.entries(hosts).flatMap(([name, { certificate, key }]) =>
        certificate.length === key.length
          ? []
          : [
              {
                path: ['hosts', name, certificate.length > key.length ? 'certificate' : 'key'],
                problem: `there are ${certificate.length} certificates and ${key.length} keys`,
                hint: 'write one key per certificate, in the same order',
              },
            ],
      ),
  },
  {
    keys: ['components', 'hosts'],
    check: ({ components, hosts }) =>
      Object.keys(components)
        .filter((domain) => Object.hasOwn(hosts, domain))
        .map((domain) => ({
          path: ['components', domain],
          problem: `${domain} is a host of the server`,
          hint: `use a separate domain for the component, such as "gateway.${domain}"`,
        })),
  },
  {
    keys: ['cluster', 'storage.driver'],
    check: ({ cluster, storage }) =>
      clusterProblems(cluster, storage.driver).map(({ at, ...found }) => ({ ...found, path: ['cluster', at] })),
  },
  {
    keys: ['storage.stores'],
    check: ({ storage: { stores } }) =>
      misplacedStores(stores).map((name) => ({
        path: ['storage', 'stores', name],
        problem: '"cassandra" is for the store archive alone',
        hint: 'use another driver',
      })),
  },
  {
    keys: ['storage.s3', 'storage.files.driver'],
    check: ({ storage: { s3, files } }) =>
      s3Problems(s3, files.driver === 's3').map(({ at, ...found }) => ({ ...found, path: ['storage', 's3', at] })),
  },
  {
    keys: ['storage.redis', 'storage.stores'],
    check: ({ storage: { redis, stores } }) =>
      redisProblems(redis, Object.values(stores).includes('redis')).map(({ at, ...found }) => ({
        ...found,
        path: ['storage', 'redis', at],
      })),
  },
  {
    keys: ['components'],
    check: ({ components }) =>
      Object.entries(components).flatMap(([domain, { secret, secret_file }]) => {
        const path = ['components', domain];
        if (secret !== '' && secret_file !== '')
          return [{ path, problem: 'has both secret and secret_file', hint: 'set only one of them' }];
        if (secret_file !== '') return [];
        if (secret === '') return [{ path, problem: 'has no secret', hint: `${secretHint}, or name a secret_file` }];
        const problem = secretProblem(secret);
        return problem === undefined ? [] : [{ path: [...path, 'secret'], problem, hint: secretHint }];
      }),
  },
  {
    keys: ['components', 'hosts'],
    check: ({ components, hosts }) =>
      Object.entries(components).flatMap(([domain, { privileges }]) =>
        Object.entries(privileges).flatMap(([host, granted]) => {
          const path = ['components', domain, 'privileges', host];
          return privilegeProblems(host, granted, hosts).map(({ at, ...found }) => ({
            path: [...path, ...at],
            ...found,
          }));
        }),
      ),
  },
  {
    keys: ['components', 'hosts'],
    check: ({ components, hosts }) =>
      delegationProblems(components, hosts).map(({ at, ...found }) => ({ path: ['components', ...at], ...found })),
  },
  {
    keys: ['limits.stanza_bytes_unauthenticated', 'limits.stanza_bytes'],
    check: ({ limits }) =>
      limits.stanza_bytes_unauthenticated <= limits.stanza_bytes
        ? []
        : [
            {
              problem: `${limits.stanza_bytes_unauthenticated} is more than the limit after login`,
              hint: `write at most limits.stanza_bytes, ${limits.stanza_bytes}`,
            },
          ],
  },
  ...(['limits.write_queue_bytes', 'stream_management.queue_bytes'] as const).map(
    (name): Rule => ({
      keys: [name, 'limits.stanza_bytes'],
      check: ({ limits, stream_management }) => {
        const queue = name === 'limits.write_queue_bytes' ? limits.write_queue_bytes : stream_management.queue_bytes;
        return queue >= limits.stanza_bytes
          ? []
          : [
              {
                problem: `${queue} is less than one stanza of limits.stanza_bytes`,
                hint: `write at least ${formatQuantity(limits.stanza_bytes, 'bytes')}`,
              },
            ];
      },
    }),
  ),
  {
    keys: ['stream_management.hibernate_seconds', 'stream_management.hibernate_max_seconds'],
    check: ({ stream_management: { hibernate_seconds: usual, hibernate_max_seconds: most } }) =>
      usual <= most
        ? []
        : [
            {
              problem: `${usual} is more than stream_management.hibernate_max_seconds`,
              hint: `write at most ${formatQuantity(most, 'seconds')}`,
            },
          ],
  },
  {
    keys: ['auth.mechanisms', 'tls.client_certificates', 'auth.anonymous'],
    check: ({ auth, tls }) =>
      tls.client_certificates || auth.anonymous || auth.mechanisms.some((name) => name !== 'EXTERNAL')
        ? []
        : [
            {
              problem:
                'nobody could log in: the only mechanism is EXTERNAL, but clients are not asked for certificates',
              hint: 'set tls.client_certificates = true, or add a mechanism such as "SCRAM-SHA-256"',
            },
          ],
  },
  {
    keys: ['tls.acme.dns_hook', 'tls.acme.challenge'],
    check: ({ tls: { acme } }) =>
      acme.challenge !== 'dns-01' || acme.dns_hook.length > 0
        ? []
        : [
            {
              problem: 'is empty, and nothing can set the records of tls.acme.challenge = "dns-01"',
              hint: 'name a program that sets and removes TXT records',
            },
          ],
  },
  {
    keys: ['tls.acme.eab_key_id', 'tls.acme.eab_key'],
    check: ({ tls: { acme } }) =>
      (acme.eab_key_id === '') === (acme.eab_key === '')
        ? []
        : [{ problem: 'and tls.acme.eab_key belong together', hint: 'set both of them, or neither' }],
  },
  {
    keys: ['admin.socket', 'data'],
    check: ({ admin }) =>
      Buffer.byteLength(admin.socket) <= maxSocketPath
        ? []
        : [
            {
              problem: `the path ${admin.socket} is too long for a Unix socket`,
              hint: `write a path of at most ${maxSocketPath} bytes, such as "/run/waxwing.sock"`,
            },
          ],
  },
];

/** `isBroken` returns whether a key already has a finding. */
export function contradictions(config: Config, isBroken: (key: string) => boolean): Complaint[] {
  return rules
    .filter(({ keys }) => !keys.some(isBroken))
    .flatMap(({ keys, check }) => check(config).map((found) => ({ path: keys[0]!.split('.'), ...found })));
}

function isLoopbackListener(text: string): boolean {
  return isLoopback(parseListenAddress(text)?.host);
}

/** Whether the system would refuse to bind both. */
function collide(a: ListenAddress, b: ListenAddress): boolean {
  return a.port !== 0 && a.port === b.port && (a.host === b.host || a.host === undefined || b.host === undefined);
}
