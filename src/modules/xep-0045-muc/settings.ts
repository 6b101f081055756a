import { z } from 'zod';
import { count, seconds } from '../../server/config/units.js';
import type { RoomConfig } from './room-config.js';

/** `[modules.muc]`. */
export const settings = z.strictObject({
  subdomain: z.string().min(1).default('conference').describe('The rooms are at SUBDOMAIN.HOST.'),
  name: z.string().default('Chat rooms').describe('What the service is called.'),
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
    .describe('Whether nobody else can enter a new room before its owner has configured it.'),
  lock_seconds: seconds({ min: 10 })
    .default(300)
    .describe('After this long a new room opens with the usual configuration.'),
  rooms: count({ min: 1 }).default(100_000).describe('Rooms in all.'),
  rooms_per_user: count({ min: 1 }).default(100).describe('Rooms that one user can have created.'),
  creations_per_hour: count({ min: 1, unlimited: true })
    .default(100)
    .describe('Rooms that one user, or all of another server, can create in an hour.'),
  reports_per_hour: count({ min: 1, unlimited: true })
    .default(20)
    .describe('Participants and rooms that one user can report in an hour (ProtoXEP Group Chat Reporting).'),
  presences_per_minute: count({ min: 1, unlimited: true })
    .default(60)
    .describe('How often one user can enter a room, or change his nickname or availability in it, in a minute.'),
  joins_per_user: count({ min: 1 }).default(500).describe('Clients that one user can have in rooms, in all.'),
  occupants: count({ min: 1 }).default(5000).describe('Occupants of one room.'),
  members: count({ min: 1 })
    .default(10_000)
    .describe('Addresses on the lists of one room: members, admins, owners and banned ones.'),
  nickname_length: count({ min: 1, max: 255 }).default(100).describe('Characters of a nickname.'),
  subject_length: count({ min: 1 }).default(2000).describe('Characters of a subject.'),
  history: count({ min: 0, max: 1000 })
    .default(100)
    .describe('Messages that a room can send to who enters; also what it holds in memory.'),
  invitations: count({ min: 1 }).default(20).describe('Invitations in one message.'),
  invitations_per_hour: count({ min: 1, unlimited: true })
    .default(200)
    .describe('Invitations that one user, or all of another server, can send through rooms in an hour.'),
  activity_subscriptions: count({ min: 0 })
    .default(10_000)
    .describe('Clients, in all, that are told where something is said while they are not there (XEP-0437).'),
  idle_seconds: seconds({ min: 10 })
    .default(300)
    .describe('How long a room without occupants stays in memory, and a temporary one after a restart.'),
  lists_for: z
    .enum(['admins', 'members', 'occupants'])
    .default('members')
    .describe(
      'Who may read the lists of members, admins and owners of a room where all see the real addresses: admins of the room only; members, and in a members-only room all occupants, as XEP-0045 §9.5 recommends; or all occupants and members.',
    ),
  page: count({ min: 10 }).default(100).describe('Rooms in one answer of service discovery.'),
  defaults: z
    .strictObject({
      persistent: z.boolean().default(false).describe('The room stays when everybody has left.'),
      public: z.boolean().default(true).describe('The room is listed.'),
      members_only: z.boolean().default(false).describe('Only members may enter.'),
      moderated: z.boolean().default(false).describe('Only who was given voice may speak.'),
      whois: z.enum(['moderators', 'anyone']).default('moderators').describe('Who sees the real addresses.'),
      private_messages: z
        .enum(['anyone', 'participants', 'moderators', 'none'])
        .default('anyone')
        .describe('Who may send private messages.'),
      member_invites: z.boolean().default(false).describe('Members may invite to members-only rooms.'),
      subject_by_all: z.boolean().default(false).describe('Participants may change the subject.'),
      archive: z.boolean().default(true).describe('Messages are archived for those who may enter (XEP-0313).'),
      public_log: z
        .boolean()
        .default(false)
        .describe(
          'Occupants are told that the archive is a public log (status 170); never in rooms with a password or for members only.',
        ),
      history_length: count({ max: 1000 }).default(20).describe('Most messages that are sent on entering.'),
      registration: z.boolean().default(true).describe('Anybody may register as a member.'),
      registration_approval: z
        .boolean()
        .default(false)
        .describe('Admins of the room decide who can register; only so can one register in a members-only room.'),
      lock_nicknames: z.boolean().default(false).describe('Who has registered a nickname goes by it, and by no other.'),
      public_occupants: z
        .boolean()
        .default(false)
        .describe('Service discovery lists the occupants to those outside who may enter.'),
      member_list_for: z
        .array(z.enum(['moderator', 'participant', 'visitor']))
        .default([])
        .describe('Roles that may read the lists of members, admins and owners, whoever sees real addresses.'),
      lang: z.string().default('').describe('The language of the discussion.'),
    })
    .prefault({})
    .describe('How new rooms are configured.'),
});

/** How a new room is configured. */
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
