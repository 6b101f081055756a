import { z } from 'zod';
import { network } from '../../server/config/keys.js';
import { count, seconds } from '../../server/config/units.js';

const origin = z.string().regex(/^https:\/\/[^/?#\s]+$/);

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
  registrations_per_hour: count({ min: 1, unlimited: true })
    .default(60)
    .describe('Maximum registrations per hour of one account, and from one network address by HTTP.'),
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
    .describe('Maximum notifications kept for "waxwing push list" after they were given up.')
    .meta({ live: true }),
  at_once: count({ min: 1, max: 1000 })
    .default(20)
    .describe('Maximum requests at once to one push service.')
    .meta({ live: true }),
  allow_networks: z
    .array(network)
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
      url: origin.default('https://fcm.googleapis.com').describe('Address of the service.'),
    })
    .prefault({})
    .describe('Firebase Cloud Messaging (HTTP v1), for an Android app of your own.'),
  apns: z
    .strictObject({
      key: z
        .string()
        .default('')
        .describe(
          'File with the key of your team for APNs (.p8), as Apple gives it. It is read again when a token is renewed. Empty: no apps by APNs.',
        )
        .meta({ path: 'config', example: '/etc/waxwing/AuthKey_ABC123DEFG.p8' }),
      key_id: z
        .string()
        .regex(/^\w*$/)
        .default('')
        .describe('Id of the key. Empty: as in the name that Apple gave the file.')
        .meta({ live: true, example: 'ABC123DEFG' }),
      team_id: z.string().regex(/^\w*$/).default('').describe('Id of your team.').meta({ example: 'DEF123GHIJ' }),
      topic: z
        .string()
        .regex(/^[\w.-]*$/)
        .default('')
        .describe('Bundle id of the app.')
        .meta({ example: 'org.example.chat' }),
      alert: z
        .string()
        .min(1)
        .max(200)
        .default('New message')
        .describe('What the phone shows unless the app replaces it.')
        .meta({ live: true }),
      url: origin.default('https://api.push.apple.com').describe('Address of the service.'),
      sandbox_url: origin
        .default('https://api.sandbox.push.apple.com')
        .describe('Address of the service for apps under development.'),
    })
    .prefault({})
    .describe('Apple Push Notification service, for an iOS or macOS app of your own.'),
  unencrypted_content: z
    .boolean()
    .default(false)
    .describe(
      "Whether apps by FCM and APNs get sender and text, if the user's server tells them. Google and Apple can read them.",
    )
    .meta({ live: true }),
  ca: z
    .string()
    .default('')
    .describe('File with further certificate authorities of push services, in PEM. Empty: none.')
    .meta({ path: 'config' }),
});

export type Settings = z.output<typeof settings>;
