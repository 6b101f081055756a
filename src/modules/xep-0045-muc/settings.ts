import { z } from 'zod';
import { count, seconds } from '../../server/config/units.js';
import type { RoomConfig } from './room-config.js';

/** `[modules.muc]`. */
export const settings = z.strictObject({
  subdomain: z.string().min(1).default('conference').describe('The rooms are at SUBDOMAIN.HOST.'),
  name: z.string().default('Chat rooms').describe('Name of the service.'),
  creation: z
    .enum(['anyone', 'users', 'admins'])
    .default('users')
    .describe('Who may create rooms: anyone, users of this host, or its administrators.'),
  admins_own_rooms: z
    .boolean()
    .default(true)
    .describe(
      'Whether administrators of the host are owners of every room, without being on its lists: they may enter, read and configure it.',
    ),
  lock_new_rooms: z
    .boolean()
    .default(true)
    .describe('Whether a new room is locked for others until its owner has configured it.'),
  lock_seconds: seconds({ min: 10 })
    .default(300)
    .describe('After this time a locked room opens with the default configuration.'),
  rooms: count({ min: 1 }).default(100_000).describe('Maximum number of rooms.'),
  rooms_per_user: count({ min: 1 }).default(100).describe('Maximum number of rooms created by one user.'),
  creations_per_hour: count({ min: 1, unlimited: true })
    .default(100)
    .describe('Rooms that one user, or all users of a remote server together, can create in an hour.'),
  reports_per_hour: count({ min: 1, unlimited: true })
    .default(20)
    .describe('Reports per hour that one user can make about participants and rooms (ProtoXEP Group Chat Reporting).'),
  presences_per_minute: count({ min: 1, unlimited: true })
    .default(60)
    .describe('How often per minute one user can enter a room, or change their nickname or availability in it.'),
  joins_per_user: count({ min: 1 })
    .default(500)
    .describe('Maximum number of rooms that one user can be in, counted per client.'),
  occupants: count({ min: 1 }).default(5000).describe('Maximum number of occupants of one room.'),
  members: count({ min: 1 })
    .default(10_000)
    .describe('Maximum number of affiliations in one room: members, admins, owners and banned users.'),
  nickname_length: count({ min: 1, max: 255 }).default(100).describe('Maximum length of a nickname in characters.'),
  subject_length: count({ min: 1 }).default(2000).describe('Maximum length of a subject in characters.'),
  history: count({ min: 0, max: 1000 })
    .default(100)
    .describe('Maximum number of messages that a room keeps in memory and sends to a new occupant.'),
  invitations: count({ min: 1 }).default(20).describe('Maximum number of invitations in one message.'),
  invitations_per_hour: count({ min: 1, unlimited: true })
    .default(200)
    .describe(
      'Invitations that one user, or all users of a remote server together, can send through rooms in an hour.',
    ),
  activity_subscriptions: count({ min: 0 })
    .default(10_000)
    .describe('Maximum number of clients that can subscribe to activity in rooms they are not in (XEP-0437).'),
  away_copies: count({ min: 0 })
    .default(1000)
    .describe(
      'Maximum members who are not in the room whose accounts get a copy of a message, to wake their apps (XEP-0357). Only accounts of this server; one that wants none is not asked again for ten minutes.',
    ),
  idle_seconds: seconds({ min: 10 })
    .default(300)
    .describe('How long an empty room stays in memory, and how long an empty temporary room lasts after a restart.'),
  lists_for: z
    .enum(['admins', 'members', 'occupants'])
    .default('members')
    .describe(
      'Who may read the lists of members, admins and owners of a non-anonymous room: "admins" of the room; "members", and in a members-only room all occupants (recommended by XEP-0045 §9.5); or all "occupants" and members.',
    ),
  silence_seconds: seconds({ min: 1, unlimited: true })
    .default(900)
    .describe(
      'After this time without a message in a room, an empty one is sent to each occupant on another server who has been silent too: whoever is gone is removed by the error in return (XEP-0045 §18.1.2).',
    ),
  page: count({ min: 10 }).default(100).describe('Maximum number of rooms in one page of service discovery.'),
  defaults: z
    .strictObject({
      persistent: z.boolean().default(false).describe('Whether the room remains when it is empty.'),
      public: z.boolean().default(true).describe('Whether service discovery lists the room.'),
      members_only: z.boolean().default(false).describe('Whether only members may enter.'),
      moderated: z.boolean().default(false).describe('Whether only occupants with voice may speak.'),
      whois: z.enum(['moderators', 'anyone']).default('moderators').describe('Who sees the real addresses.'),
      private_messages: z
        .enum(['anyone', 'participants', 'moderators', 'none'])
        .default('anyone')
        .describe('Who may send private messages.'),
      member_invites: z.boolean().default(false).describe('Whether members may invite to members-only rooms.'),
      subject_by_all: z.boolean().default(false).describe('Whether participants may change the subject.'),
      archive: z
        .boolean()
        .default(true)
        .describe('Whether messages are archived (XEP-0313). Everyone who may enter may read the archive.'),
      public_log: z
        .boolean()
        .default(false)
        .describe(
          'Whether occupants are notified that the archive is a public log (status 170). Never in members-only rooms or rooms with a password.',
        ),
      history_length: count({ max: 1000 }).default(20).describe('Maximum number of messages sent on entering.'),
      registration: z.boolean().default(true).describe('Whether users may register as members.'),
      registration_approval: z
        .boolean()
        .default(false)
        .describe(
          'Whether admins of the room approve registrations; required for registration in a members-only room.',
        ),
      lock_nicknames: z.boolean().default(false).describe('Whether users with a registered nickname must use it.'),
      public_occupants: z
        .boolean()
        .default(false)
        .describe('Whether service discovery lists the occupants for users who may enter.'),
      member_list_for: z
        .array(z.enum(['moderator', 'participant', 'visitor']))
        .default([])
        .describe('Roles that may read the lists of members, admins and owners, even in semi-anonymous rooms.'),
      lang: z.string().max(35).default('').describe('Language of the discussion.'),
    })
    .prefault({})
    .describe('Default configuration of new rooms.'),
});

/** The default configuration of a new room. */
export function defaultsOf({ defaults, history }: z.output<typeof settings>): RoomConfig {
  return {
    name: '',
    description: '',
    lang: defaults.lang,
    persistent: defaults.persistent,
    public: defaults.public,
    membersOnly: defaults.members_only,
    moderated: defaults.moderated,
    password: '',
    whois: defaults.whois,
    privateMessages: defaults.private_messages,
    memberInvites: defaults.member_invites,
    subjectByAll: defaults.subject_by_all,
    maxUsers: null,
    presenceOf: ['moderator', 'participant', 'visitor'],
    memberListFor: defaults.member_list_for,
    archived: defaults.archive,
    publicLog: defaults.public_log,
    historyLength: Math.min(defaults.history_length, history),
    registration: defaults.registration,
    approval: defaults.registration_approval,
    lockNicks: defaults.lock_nicknames,
    publicOccupants: defaults.public_occupants,
    pubsub: '',
    slowMode: 0,
    forwardMentions: false,
  };
}
