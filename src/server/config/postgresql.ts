/** The table [storage.postgresql]. */
import { z } from 'zod';
import { because } from './keys.js';
import { count, seconds } from './units.js';

export const postgresql = z
  .strictObject({
    host: z
      .string()
      .min(1)
      .default('localhost')
      .describe('Name or address of the server, or the folder of its Unix socket, such as "/run/postgresql".'),
    port: count({ min: 1, max: 65_535 }).default(5432).describe('Port of the server, also for the name of its socket.'),
    database: z.string().min(1).default('waxwing').describe('The database. Its encoding must be UTF8.'),
    user: z.string().min(1).default('waxwing').describe('The user (role) to log in as.'),
    password_file: z
      .string()
      .default('')
      .describe(
        'File with the password. Empty: the environment variable PGPASSWORD, or none, as for a Unix socket with peer authentication.',
      )
      .meta({ path: 'config', example: '/etc/waxwing/postgresql.password' }),
    tls: z
      .enum(['auto', 'verify-full', 'require', 'disable'])
      .default('auto')
      .describe(
        'Encryption of the connections. "verify-full" checks the certificate and name of the server, as sslmode=verify-full does; "require" encrypts without checking, so that whoever is in between can read and change everything. "auto" is "disable" on this machine and "verify-full" elsewhere.',
      ),
    ca_file: z
      .string()
      .default('')
      .describe('Certificates of the authorities that may have issued the server certificate. Empty: those of Node.js.')
      .meta({ path: 'config', example: '/etc/waxwing/postgresql-ca.crt' }),
    schema: z
      .string()
      .regex(/^[a-z_][a-z0-9_]{0,62}$/, because('is not the name of a schema', 'write one such as "waxwing"'))
      .refine((name) => !name.startsWith('pg_'), because('is reserved by PostgreSQL', 'choose another name'))
      .default('waxwing')
      .describe(
        'The schema in the database that holds all tables. It is created if it is missing; nothing outside it is used.',
      ),
    lanes: count({ min: 1, max: 64 })
      .default(2)
      .describe(
        'Connections that write and read. One more is for everything else. An account always uses the same one, so that its data keeps its order. More lanes make smaller transactions, which cost more CPU, and wait less for each other where the disk is slow.',
      ),
    statement_timeout_seconds: seconds({ min: 1 })
      .default(30)
      .describe('Time after which PostgreSQL ends a statement, which then has failed.'),
    patience_seconds: seconds({ min: 0 })
      .default(4)
      .describe(
        'How long operations wait for a lost connection before they fail. If this is longer than storage.answer_seconds, that is how long they wait.',
      ),
  })
  .prefault({})
  .describe('The PostgreSQL driver, see docs/storage.md.');
