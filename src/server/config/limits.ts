/** The table `[limits]`. */
import { z } from 'zod';
import { live, wait } from './keys.js';
import { bytes, count } from './units.js';

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

export const limits = z
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
