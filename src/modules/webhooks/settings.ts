import { z } from 'zod';
import { network } from '../../server/config/keys.js';
import { count, seconds } from '../../server/config/units.js';

/** Kinds of events, of which each receiver names those that it wants. */
export const kinds = ['message', 'presence', 'account', 'room', 'report'] as const;
export type EventKind = (typeof kinds)[number];

/** Minimum characters of a secret: who sees one request could try millions offline. */
export const minSecret = 16;

const receiver = z.strictObject({
  url: z
    .string()
    .regex(/^(?:https:\/\/\S+)?$/)
    .default('')
    .describe('Where the events are sent, by HTTPS.')
    .meta({ example: 'https://example.org/xmpp-events' }),
  secret: z
    .string()
    .default('')
    .describe(`Secret of at least ${minSecret} characters that signs the requests. Set either this or secret_file.`)
    .meta({ secret: true }),
  secret_file: z
    .string()
    .default('')
    .describe('File with the secret; surrounding white space is ignored.')
    .meta({ path: 'config', example: '/etc/waxwing/webhook.secret' }),
  events: z.array(z.enum(kinds)).default([]).describe('Which events are sent.').meta({ example: 'account' }),
  content: z
    .boolean()
    .default(false)
    .describe('Whether messages come with their text, and presence with its status. Otherwise they say who and when.'),
});

/** `[modules.webhooks]`. */
export const settings = z.strictObject({
  receivers: z
    .record(z.string().regex(/^[a-z0-9][a-z0-9_-]{0,31}$/), receiver)
    .default({})
    .describe('Programs that are notified of events, one table for each.')
    .meta({ example: 'crm' }),
  pending: count({ min: 1 })
    .default(100_000)
    .describe('Maximum events that wait. Further ones are lost, and counted as the limit webhooks.pending.')
    .meta({ live: true }),
  keep_seconds: seconds({ min: 60, max: 2_419_200 })
    .default(259_200)
    .describe('How long an event is tried.')
    .meta({ live: true }),
  tries: count({ min: 1, max: 1000 })
    .default(50)
    .describe('Attempts to deliver an event. The pauses between them grow to a quarter of an hour.')
    .meta({ live: true }),
  failed: count({ min: 0 })
    .default(1000)
    .describe('Maximum events kept for "waxwing webhooks list" after they were given up.')
    .meta({ live: true }),
  at_once: count({ min: 1, max: 256 })
    .default(8)
    .describe('Maximum requests at once to one receiver: those of one account, room or address follow one another.')
    .meta({ live: true }),
  allow_networks: z
    .array(network)
    .default([])
    .describe('Private addresses and networks in which receivers may be. All others are refused.')
    .meta({ example: '10.0.0.0/8' }),
  ca: z
    .string()
    .default('')
    .describe('File with further authorities that certificates of receivers may have, in PEM. Empty: none.')
    .meta({ path: 'config', example: '/etc/waxwing/webhook-ca.pem' }),
});
export type Settings = z.output<typeof settings>;
