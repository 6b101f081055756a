/** The table [storage.cassandra]. */
import { z } from 'zod';
import { because } from './keys.js';
import { count, seconds } from './units.js';

export const cassandra = z
  .strictObject({
    contact_points: z
      .array(z.string().min(1))
      .min(1)
      .default(['localhost'])
      .describe(
        'Names or addresses of some nodes, each with a port if it has another one ("HOST:PORT"). The other nodes are found through them.',
      )
      .meta({ example: ['10.0.0.1', '10.0.0.2'] }),
    port: count({ min: 1, max: 65_535 }).default(9042).describe('Port of the nodes.'),
    local_datacenter: z
      .string()
      .min(1)
      .default('datacenter1')
      .describe('The datacenter whose nodes are asked, by its name in Cassandra.'),
    keyspace: z
      .string()
      .regex(/^[a-z][a-z0-9_]{0,47}$/, because('is not the name of a keyspace', 'write one such as "waxwing"'))
      .default('waxwing')
      .describe(
        'The keyspace that holds all tables, and nothing else. Each server needs its own, and refuses one that belongs to another server.',
      ),
    replication: z
      .record(z.string().min(1), count({ min: 1, max: 100 }))
      .default({})
      .describe('Copies of the data by datacenter, for creating the keyspace. Without any, it has to exist.')
      .meta({ example: 3 }),
    consistency: z
      .enum(['local_quorum', 'quorum', 'one', 'local_one'])
      .default('local_quorum')
      .describe(
        'How many copies have to be written or read. With "one" or "local_one", a node that fails can take acknowledged messages with it, and a page may lack the latest ones.',
      ),
    username: z.string().default('').describe('The user (role) to log in as. Empty: without logging in.'),
    password_file: z
      .string()
      .default('')
      .describe('File with the password. Empty: the environment variable CASSANDRA_PASSWORD.')
      .meta({ path: 'config', example: '/etc/waxwing/cassandra.password' }),
    tls: z
      .enum(['auto', 'verify-full', 'require', 'disable'])
      .default('auto')
      .describe(
        'Encryption of the connections. "verify-full" checks the certificates and names of the nodes; "require" encrypts without checking, so that whoever is in between can read and change everything. "auto" is "disable" if all contact points are on this machine, and "verify-full" elsewhere.',
      ),
    ca_file: z
      .string()
      .default('')
      .describe('Certificates of the authorities that may have issued those of the nodes. Empty: those of Node.js.')
      .meta({ path: 'config', example: '/etc/waxwing/cassandra-ca.crt' }),
    expiry_seconds: seconds({ min: 86_400, unlimited: true })
      .default(Number.POSITIVE_INFINITY)
      .describe(
        'When Cassandra itself deletes an entry, after it was written. This costs much less than modules.mam.keep, which deletes them one by one. Entries that were written with another value keep theirs.',
      ),
    request_timeout_seconds: seconds({ min: 1 })
      .default(4)
      .describe('How long a node may take to answer a request. Then another one is asked, or the request has failed.'),
  })
  .prefault({})
  .describe('The Cassandra driver, for archives, see docs/storage.md.');

/** Stores that Cassandra can hold. */
const fitting: ReadonlySet<string> = new Set(['archive']);

/** Which stores are assigned to Cassandra and cannot be there. */
export const misplacedStores = (stores: Readonly<Record<string, string>>): string[] =>
  Object.keys(stores).filter((name) => stores[name] === 'cassandra' && !fitting.has(name));
