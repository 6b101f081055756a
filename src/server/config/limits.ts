/** The table `[limits]`. */
import { z } from 'zod';
import { live, wait } from './keys.js';
import { bytes, count } from './units.js';

type RateDefaults = Record<'stanzas' | 'stanza_burst' | 'bytes' | 'byte_burst', number>;

const rateKeys = (defaults: RateDefaults) => ({
  stanzas_per_second: count({ min: 1, unlimited: true })
    .default(defaults.stanzas)
    .describe('Sustained rate: stanzas per second.')
    .meta(live),
  stanza_burst: count({ min: 1, unlimited: true })
    .default(defaults.stanza_burst)
    .describe('Burst: stanzas accepted at once after a pause.')
    .meta(live),
  bytes_per_second: bytes({ min: 100, unlimited: true })
    .default(defaults.bytes)
    .describe('Sustained rate: bytes per second.')
    .meta(live),
  byte_burst: bytes({ min: 1000, unlimited: true })
    .default(defaults.byte_burst)
    .describe('Burst: bytes accepted at once after a pause.')
    .meta(live),
});

const rate = (purpose: string, defaults: RateDefaults) =>
  z
    .strictObject(rateKeys(defaults))
    .prefault({})
    .describe(`${purpose} A faster connection is slowed down, not closed.`);

/** A rate shared by several connections. */
const sharedRate = (purpose: string, defaults: RateDefaults) =>
  z
    .strictObject({
      ...rateKeys(defaults),
      answer_bytes_per_second: bytes({ min: 1000, unlimited: true })
        .default(2_097_152)
        .describe('Sustained rate of answers to requests, such as archive pages: bytes per second.')
        .meta(live),
      answer_byte_burst: bytes({ min: 10_000, unlimited: true })
        .default(16_777_216)
        .describe('Burst: bytes of answers sent at once after a pause.')
        .meta(live),
      cpu_ms_per_second: count({ min: 1, unlimited: true })
        .default(300)
        .describe('Sustained CPU time per second, in milliseconds: 1000 is one core.')
        .meta(live),
      cpu_ms_burst: count({ min: 10, unlimited: true })
        .default(2000)
        .describe('Burst: CPU time used at once after a pause, in milliseconds.')
        .meta(live),
    })
    .prefault({})
    .describe(`${purpose} Faster connections are slowed down, not closed.`);

export const limits = z
  .strictObject({
    stanza_bytes: bytes({ min: 10_000, max: 2 ** 26 })
      .default(262_144)
      .describe('Maximum size of a stanza (RFC 6120 §13.12: at least 10000 bytes).')
      .meta(live),
    stanza_bytes_server: bytes({ min: 10_000, max: 2 ** 26 })
      .default(524_288)
      .describe(
        'Maximum size of a stanza from another server, if it is more than limits.stanza_bytes. A larger stanza closes the stream for all users of that server, so this is more than what servers accept from their clients.',
      )
      .meta(live),
    stanza_bytes_unauthenticated: bytes({ min: 2000, max: 2 ** 20 })
      .default(10_000)
      .describe('Maximum size of an element before login.')
      .meta(live),
    stanza_depth: count({ min: 10, max: 1000 })
      .default(100)
      .describe('Maximum nesting depth of elements in a stanza.')
      .meta(live),
    stanza_elements: count({ min: 500, max: 1_000_000 })
      .default(5000)
      .describe(
        'Maximum elements in a stanza, plus attributes beyond five per element: these determine the cost of reading and answering a stanza more than its bytes do.',
      )
      .meta(live),
    stanza_attributes: count({ min: 20, max: 10_000 })
      .default(100)
      .describe('Maximum attributes of an element, including namespace declarations.')
      .meta(live),
    presence_bytes: bytes({ min: 10_000, max: 2 ** 20 })
      .default(16_384)
      .describe(
        'Maximum content of a presence stanza, which is sent to every contact and every occupant of a room. A larger one is refused.',
      )
      .meta(live),
    fan_out_bytes: bytes({ min: 1_048_576, max: 2 ** 30 })
      .default(16_777_216)
      .describe(
        'Maximum total output for one room message, multicast message or notification: its bytes times its recipients. A stanza of up to 16 KiB may be sent to any number.',
      )
      .meta(live),
    connections: count({ min: 1, unlimited: true })
      .default(100_000)
      .describe('Maximum client connections in total. The system limit on open files must allow for them.')
      .meta(live),
    connections_per_address: count({ min: 1, unlimited: true })
      .default(500)
      .describe(
        'Maximum connections from one IPv4 address or one IPv6 /64. A whole office may share one address. 127.0.0.1 and ::1 are exempt, because a local proxy connects from there for all clients.',
      )
      .meta(live),
    connections_per_minute: count({ min: 1, unlimited: true })
      .default(6000)
      .describe(
        'Maximum new connections per minute from one address, with the same exemptions. The burst is connections_per_address.',
      )
      .meta(live),
    login_deadline_seconds: wait(1)
      .default(30)
      .describe('Time limit from connecting to binding a session. Only a registration form extends it.')
      .meta(live),
    http_bytes_per_second: bytes({ min: 1, max: 2 ** 20 })
      .default(500)
      .describe(
        'Minimum rate at which an HTTP client must send the body of a request and take a long answer, after a grace time of 30 seconds. A slower one is disconnected.',
      )
      .meta(live),
    registration_deadline_seconds: wait(1)
      .default(600)
      .describe(
        'Time limit for a client that has received a registration form, so that the user can fill it in (modules.register.open).',
      )
      .meta(live),
    registrations_per_address: count({ min: 0, unlimited: true })
      .default(10)
      .describe(
        'Maximum connections from one IPv4 address or one IPv6 /64 with this longer limit; further ones get login_deadline_seconds.',
      )
      .meta(live),
    registrations: count({ min: 0, unlimited: true })
      .default(1000)
      .describe('Maximum connections with this longer limit in total.')
      .meta(live),
    sessions_per_account: count({ min: 1, unlimited: true })
      .default(20)
      .describe('Maximum sessions per account, connected or hibernating.')
      .meta(live),
    write_queue_bytes: bytes({ min: 65_536, max: 2 ** 30 })
      .default(2_097_152)
      .describe('Maximum output queued for a client that does not read. Beyond it the session hibernates or ends.')
      .meta(live),
    component_queue_stanzas: count({ min: 100 })
      .default(20_000)
      .describe(
        'Maximum stanzas queued for an external component; further ones are refused. A single sender may use only a share.',
      )
      .meta(live),
    component_queue_bytes: bytes({ min: 1_048_576, max: 2 ** 30 })
      .default(16_777_216)
      .describe('The same in bytes.')
      .meta(live),
    stalled_seconds: wait(1)
      .default(15)
      .describe(
        'How long a client whose queue is over its limit (write_queue_bytes, stream_management.queue_stanzas) may go without reading or acknowledging anything.',
      )
      .meta(live),
    outbound_bytes: bytes({ min: 1_048_576 })
      .default(67_108_864)
      .describe(
        'Maximum output queued for all clients together. If an eighth of it was queued recently, accounts whose stanzas go to many recipients are slowed down. Beyond it sessions are ended, starting with the longest queue of a client that does not read; their messages are stored as for offline users. A single session may use at most a quarter of it.',
      )
      .meta(live),
    idle_whitespace_seconds: z
      .union([z.literal(false), wait(10)])
      .default(false)
      .describe(
        'Idle time after which a space is sent to clients without stream management, to keep NAT mappings alive (RFC 6120 §4.6.1). false: never.',
      )
      .meta({ ...live, example: '300' }),
    ping_after_seconds: wait(10)
      .default(300)
      .describe('Idle time after which a client is pinged (XEP-0198 or XEP-0199).')
      .meta(live),
    ping_timeout_seconds: wait(1)
      .default(60)
      .describe('Time limit for the answer to the ping; then the connection is considered lost.')
      .meta(live),
    close_timeout_seconds: wait(1)
      .default(5)
      .describe('Time limit for a client to close its half of a closed stream.')
      .meta(live),
    waiting_for_disk: count({ min: 10 })
      .default(2000)
      .describe(
        'Maximum pending writes of messages in total. Beyond it accounts are slowed down, those with the most pending writes first.',
      )
      .meta(live),
    waiting_for_disk_bytes: bytes({ min: 1_048_576, max: 33_554_432 })
      .default(16_777_216)
      .describe('The same in bytes. A message stored several times counts each time.')
      .meta(live),
    waiting_for_disk_bytes_per_account: bytes({ min: 65_536, max: 16_777_216 })
      .default(4_194_304)
      .describe('The same in bytes per account. Beyond it the account is slowed down.')
      .meta(live),
    offline_messages: count({ min: 0, unlimited: true })
      .default(1000)
      .describe(
        'Maximum messages stored for an offline account, not counting those in its archive. Further ones are refused.',
      )
      .meta(live),
    roster_items: count({ min: 1, unlimited: true }).default(2000).describe('Maximum contacts per account.').meta(live),
    archive_bytes: bytes({ min: 100_000, unlimited: true })
      .default(268_435_456)
      .describe('Maximum size of an account archive. The oldest messages are deleted first.')
      .meta(live),
    account_bytes: bytes({ min: 100_000, unlimited: true })
      .default(134_217_728)
      .describe(
        'Maximum size of all other data of an account: contacts, published items, private XML, offline messages. Beyond it writes are refused.',
      )
      .meta(live),
    room_archive_bytes: bytes({ min: 100_000, unlimited: true })
      .default(268_435_456)
      .describe('Maximum size of a room archive. The oldest messages are deleted first.')
      .meta(live),
    room_bytes: bytes({ min: 100_000, unlimited: true })
      .default(16_777_216)
      .describe('Maximum size of all other data of a room: configuration, lists, avatar.')
      .meta(live),
    unlimited_roles: z
      .array(z.enum(['admin', 'user']))
      .default(['admin'])
      .describe('Roles whose accounts have no quota. Use "waxwing user quota" to set the quota of a single account.')
      .meta(live),
    private_bytes: bytes({ min: 0, unlimited: true })
      .default(1_048_576)
      .describe('Maximum private XML storage (XEP-0049) per account.')
      .meta(live),
    vcard_bytes: bytes({ min: 0, unlimited: true })
      .default(131_072)
      .describe('Maximum size of a vCard (XEP-0054).')
      .meta(live),
    rate: rate('Maximum rate at which a client may send.', {
      stanzas: 100,
      stanza_burst: 1000,
      bytes: 131_072,
      byte_burst: 1_048_576,
    }),
    rate_unauthenticated: rate('Maximum rate at which a client, another server or a component may send before login.', {
      stanzas: 10,
      stanza_burst: 50,
      bytes: 10_000,
      byte_burst: 40_000,
    }),
    rate_account: sharedRate('Maximum resource use of an account over all its connections.', {
      stanzas: 200,
      stanza_burst: 3000,
      bytes: 262_144,
      byte_burst: 4_194_304,
    }),
    rate_component: sharedRate('Maximum resource use of an external component over all its connections.', {
      stanzas: 2000,
      stanza_burst: 20_000,
      bytes: 4_194_304,
      byte_burst: 16_777_216,
    }),
    rate_server: sharedRate('How much one domain of another server may send, over all its connections.', {
      stanzas: 1000,
      stanza_burst: 10_000,
      bytes: 1_048_576,
      byte_burst: 8_388_608,
    }),
    rate_address: sharedRate(
      'Maximum resource use, before login, of all connections from one IPv4 address or one IPv6 /64. Each connection from 127.0.0.1 and ::1 counts alone.',
      { stanzas: 200, stanza_burst: 5000, bytes: 131_072, byte_burst: 2_097_152 },
    ),
  })
  .prefault({})
  .describe('Limits. Exceeding one causes an error and is counted in the metrics.');
