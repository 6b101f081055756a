/** The table `[storage]`. */
import { z } from 'zod';
import { cassandra } from './cassandra.js';
import { live } from './keys.js';
import { postgresql } from './postgresql.js';
import { redis } from './redis.js';
import { s3 } from './s3.js';
import { bytes, count, seconds } from './units.js';

const driver = z.enum(['sqlite', 'postgresql', 'memory']);
/** Those that hold only some stores, and so are no drivers of everything. */
const storeDriver = z.enum([...driver.options, 'cassandra', 'redis']);

export const storage = z
  .strictObject({
    driver: driver.default('sqlite').describe('Storage driver. "memory" loses all data when the server stops.'),
    sqlite: z
      .strictObject({
        file: z.string().min(1).default('waxwing.sqlite').describe('The database file.').meta({ path: 'data' }),
      })
      .prefault({})
      .describe('The SQLite driver.'),
    postgresql,
    cassandra,
    redis,
    files: z
      .strictObject({
        driver: z
          .enum(['folder', 's3'])
          .default('folder')
          .describe('Where they are: in a folder, or in a bucket of [storage.s3].'),
        folder: z
          .string()
          .min(1)
          .default('files')
          .describe('The folder. The nodes of a cluster share it. It can be on another disk.')
          .meta({ path: 'data' }),
      })
      .prefault({})
      .describe('Uploaded files and other contents that are too large for the database.'),
    s3,
    answer_seconds: seconds({ min: 1 })
      .default(5)
      .describe(
        'How long an operation may take. If the storage does not answer at all for so long, whatever needs it is refused at once until it does.',
      )
      .meta(live),
    waiting_operations: count({ min: 1000 })
      .default(20_000)
      .describe('Operations that may wait for a driver. Further ones are refused.')
      .meta(live),
    waiting_bytes: bytes({ min: 1_048_576 })
      .default(67_108_864)
      .describe('Bytes of messages that may wait to be written by a driver. Further ones are refused.')
      .meta(live),
    stores: z
      .record(z.string(), storeDriver)
      .default({})
      .describe(
        'Drivers of individual stores, by store name; stores of additional modules are named "MODULE/STORE". "cassandra" is for the store archive, "redis" for those that may be lost, which docs/storage.md lists.',
      )
      .meta({ example: 'sqlite' }),
    low_space_bytes: bytes({ min: 0 })
      .default(1_073_741_824)
      .describe(
        'When less than this is free on the disk of the data folder (or less than a tenth of a smaller disk), writes of messages and account changes are slowed down for the accounts that wrote most recently: first those more than 1 MiB above 16 KiB per second, then others as space decreases further. 0: never.',
      )
      .meta(live),
  })
  .prefault({})
  .describe('Storage.');
