import { z } from 'zod';
import { networks } from '../../server/config/address.js';
import { count, seconds } from '../../server/config/units.js';

/** `[modules.push_gateway]`. */
export const settings = z.strictObject({
  subdomain: z.string().min(1).default('push').describe('The gateway is at SUBDOMAIN.HOST.'),
  access: z
    .enum(['users', 'anyone'])
    .default('users')
    .describe('Who may register devices: users of this host, or anyone, such as the users of an app of yours.'),
  contact: z
    .string()
    .regex(/^(?:(?:mailto:|https:\/\/)\S+)?$/)
    .default('')
    .describe(
      'Where the operators of Web Push services reach you: a mailto: or https: address. Empty: the address of the host.',
    )
    .meta({ example: 'mailto:admin@example.org' }),
  devices_per_user: count({ min: 1, max: 1000 })
    .default(32)
    .describe('Maximum devices of one user. A further one replaces the one that was registered the longest time ago.'),
  devices: count({ min: 1 }).default(100_000).describe('Maximum devices in all.'),
  notifications_per_minute: count({ min: 1, unlimited: true })
    .default(60)
    .describe('Maximum notifications per minute for one device.'),
  pending: count({ min: 1 })
    .default(20_000)
    .describe('Maximum notifications that wait for a push service. Of one device, a later one replaces one that waits.')
    .meta({ live: true }),
  ttl_seconds: seconds({ min: 60, max: 2_419_200 })
    .default(86_400)
    .describe('How long a notification is of use, here and at the push service.')
    .meta({ live: true }),
  tries: count({ min: 1, max: 100 })
    .default(12)
    .describe('Attempts to deliver a notification. The pauses between them grow to a quarter of an hour.')
    .meta({ live: true }),
  failed: count({ min: 0 })
    .default(1000)
    .describe('Maximum notifications kept for "waxwing push failed" after they were given up.')
    .meta({ live: true }),
  at_once: count({ min: 1, max: 1000 })
    .default(20)
    .describe('Maximum requests at once to one push service.')
    .meta({ live: true }),
  allow_networks: z
    .array(
      z.string().refine((text) => {
        try {
          return networks([text]) !== undefined;
        } catch {
          return false;
        }
      }, 'is not an address or a network'),
    )
    .default([])
    .describe('Private addresses and networks in which push services may be. All others are refused.')
    .meta({ example: '10.0.0.0/8' }),
  fcm: z
    .strictObject({
      service_account: z
        .string()
        .default('')
        .describe('File with the service account of your app, as the Firebase console gives it. Empty: no apps by FCM.')
        .meta({ path: 'config', example: '/etc/waxwing/firebase.json' }),
      url: z
        .string()
        .regex(/^https:\/\/[^/?#\s]+$/)
        .default('https://fcm.googleapis.com')
        .describe('Address of the service.'),
    })
    .prefault({})
    .describe('Firebase Cloud Messaging (HTTP v1), for an Android app of your own.'),
  ca: z
    .string()
    .default('')
    .describe('File with further certificate authorities of push services, in PEM. Empty: none.')
    .meta({ path: 'config' }),
});

export type Settings = z.output<typeof settings>;
