/** XEP-0045 §10.2, §16.5.3: the room configuration that owners set. */

import type { Jid } from '../../server/address/jid.js';
import { defineForm } from '../../server/stanza/define-form.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { NS } from '../../server/stanza/ns.js';
import type { Element } from '../../server/xml/element.js';
import type { Role } from './privileges.js';

export interface RoomConfig {
  readonly name: string;
  readonly description: string;
  readonly lang: string;
  /** Whether the room remains when it is empty. */
  readonly persistent: boolean;
  readonly public: boolean;
  readonly membersOnly: boolean;
  readonly moderated: boolean;
  /** Empty if no password is required. */
  readonly password: string;
  /** Who sees the real addresses. */
  readonly whois: 'moderators' | 'anyone';
  readonly privateMessages: 'anyone' | 'participants' | 'moderators' | 'none';
  /** Whether members may invite to a members-only room. */
  readonly memberInvites: boolean;
  /** Whether participants may change the subject. */
  readonly subjectByAll: boolean;
  /** Maximum number of occupants; null uses the limit of the service. */
  readonly maxUsers: number | null;
  /** Roles whose presence is broadcast to the others. */
  readonly presenceOf: readonly Role[];
  /** Roles that may read the lists of members, admins and owners, in addition to admins and owners. */
  readonly memberListFor: readonly Role[];
  /** Whether messages are archived (XEP-0313). Everyone who may enter may read the archive. */
  readonly archived: boolean;
  /** Whether the owner wants a public log; `isPubliclyLogged` tells whether there is one. */
  readonly publicLog: boolean;
  /** Maximum number of messages sent on entering. */
  readonly historyLength: number;
  /** Whether non-members can register as members. */
  readonly registration: boolean;
  /** Whether admins approve registrations; required for registration in a members-only room. */
  readonly approval: boolean;
  /** Whether users with a registered nickname must use it. */
  readonly lockNicks: boolean;
  /** Whether service discovery lists the occupants. */
  readonly publicOccupants: boolean;
  readonly pubsub: string;
  /** XEP-0500: minimum number of seconds between two messages of one occupant; 0 disables the limit. */
  readonly slowMode: number;
  /** XEP-0452. */
  readonly forwardMentions: boolean;
}

export interface ConfigLimits {
  readonly occupants: number;
  readonly history: number;
}

/** Characters of a name. */
export const longestName = 200;

// Profanity shows options without a label as "(null)".
const shown = [
  { value: 'moderator', label: 'Moderators' },
  { value: 'participant', label: 'Participants' },
  { value: 'visitor', label: 'Visitors' },
] as const;

/** Affiliations and "none", which clients also send where roles are asked for. */
const noRoles = ['none', 'member', 'admin', 'owner'];

const maxUsers = ({ occupants }: ConfigLimits) => [
  ...[10, 20, 50, 100, 200, 500, 1000]
    .filter((count) => count <= occupants)
    .map((count) => ({ value: String(count), label: String(count) })),
  { value: 'none', label: 'The limit of the service' },
];

/** The settings, within the limits of the service. */
const settings = (limits: ConfigLimits) =>
  ({
    'muc#roomconfig_roomname': { type: 'text-single', label: 'Name', longest: longestName },
    'muc#roomconfig_roomdesc': { type: 'text-single', label: 'Description', longest: 2000 },
    'muc#roomconfig_lang': { type: 'text-single', label: 'Language of the discussion', longest: 35 },
    'muc#roomconfig_persistentroom': { type: 'boolean', label: 'The room remains when it is empty' },
    'muc#roomconfig_publicroom': { type: 'boolean', label: 'The room is listed' },
    'muc#roomconfig_membersonly': { type: 'boolean', label: 'Only members may enter' },
    'muc#roomconfig_moderatedroom': { type: 'boolean', label: 'Only occupants with voice may speak' },
    'muc#roomconfig_passwordprotectedroom': { type: 'boolean', label: 'Entering requires a password' },
    'muc#roomconfig_roomsecret': { type: 'text-private', label: 'Password', longest: 200 },
    'muc#roomconfig_whois': {
      type: 'list-single',
      label: 'Who sees the real addresses',
      options: [
        { value: 'moderators', label: 'Moderators' },
        { value: 'anyone', label: 'Anyone' },
      ],
    },
    'muc#roomconfig_allowpm': {
      type: 'list-single',
      label: 'Who may send private messages',
      options: [
        { value: 'anyone', label: 'Anyone' },
        { value: 'participants', label: 'Occupants with voice' },
        { value: 'moderators', label: 'Moderators' },
        { value: 'none', label: 'Nobody' },
      ],
      // It was a boolean until version 1.22 of XEP-0045, and is one in ejabberd.
      also: ['allow_private_messages'],
      aliases: { 1: 'anyone', true: 'anyone', 0: 'none', false: 'none' },
    },
    'muc#roomconfig_allowinvites': {
      type: 'boolean',
      label: 'Members may invite others',
      also: ['{http://prosody.im/protocol/muc}roomconfig_allowmemberinvites'],
    },
    'muc#roomconfig_changesubject': { type: 'boolean', label: 'Participants may change the subject' },
    'muc#roomconfig_maxusers': {
      type: 'list-single',
      label: 'Maximum number of occupants',
      options: maxUsers(limits),
      open: true,
    },
    'muc#roomconfig_presencebroadcast': {
      type: 'list-multi',
      label: 'Roles whose presence is broadcast',
      options: shown,
      ignored: noRoles,
    },
    'muc#roomconfig_getmemberlist': {
      type: 'list-multi',
      label: 'Roles that may read the list of members',
      options: shown,
      // Affiliations may be included; those with a right to the list have it anyway.
      ignored: noRoles,
    },
    'muc#roomconfig_enablearchiving': {
      type: 'boolean',
      label: 'Archive messages for users who may enter',
      also: ['muc#roomconfig_mam', 'mam'],
    },
    'muc#roomconfig_enablelogging': { type: 'boolean', label: 'The archive is a public log' },
    'muc#maxhistoryfetch': {
      type: 'text-single',
      label: 'Maximum number of messages sent on entering',
      also: ['muc#roomconfig_defaulthistorymessages', 'muc#roomconfig_historylength'],
      datatype: 'xs:integer',
      min: 0,
      max: limits.history,
    },
    'muc#roomconfig_registration': { type: 'boolean', label: 'Users may register as members' },
    'muc#roomconfig_registration_approval': { type: 'boolean', label: 'Admins approve registrations' },
    'muc#roomconfig_lock_nicknames': { type: 'boolean', label: 'Users must use their registered nickname' },
    'muc#roomconfig_publicoccupants': {
      type: 'boolean',
      label: 'Service discovery lists occupants',
      also: ['public_list'],
    },
    'muc#roomconfig_pubsub': { type: 'text-single', label: 'Address of an associated pubsub node', longest: 1000 },
    'muc#roomconfig_slow_mode_duration': {
      type: 'text-single',
      label: 'Slow mode',
      desc: '0=disabled, any positive integer= users can send a message every X seconds.',
      datatype: 'xs:integer',
      min: 0,
      max: 86_400,
    },
    'muc#roomconfig_forwardmentions': {
      type: 'boolean',
      label: 'Forward messages with mentions to non-present, affiliated users',
    },
  }) as const;

const lists = {
  'muc#roomconfig_roomadmins': { type: 'jid-multi', label: 'Admins' },
  'muc#roomconfig_roomowners': { type: 'jid-multi', label: 'Owners' },
} as const;

export const roomForms = (limits: ConfigLimits) => ({
  /** The form of a new room. It also reads every submission. */
  first: defineForm(NS.mucRoomConfig, { ...settings(limits), ...lists }),
  /**
   * The form of a room that has been configured. Submitted lists replace the stored ones, and clients return the whole
   * form: older versions of Converse.js return the first address of each list, and an old form would undo changes.
   */
  later: defineForm(NS.mucRoomConfig, settings(limits)),
});

export type RoomForms = ReturnType<typeof roomForms>;
type Submitted = NonNullable<ReturnType<RoomForms['first']['read']>>;

/** The form as sent to an owner; `lists` are those of a new room. */
export function offered(
  { first, later }: RoomForms,
  config: RoomConfig,
  limits: ConfigLimits,
  lists?: { readonly admins: readonly Jid[]; readonly owners: readonly Jid[] },
): Element {
  const title = 'Room configuration';
  const values = valuesOf(config, limits);
  if (lists === undefined) return later.form(values, { title });
  return first.form(
    { ...values, 'muc#roomconfig_roomadmins': lists.admins, 'muc#roomconfig_roomowners': lists.owners },
    { title },
  );
}

const valuesOf = (config: RoomConfig, limits: ConfigLimits) => ({
  'muc#roomconfig_roomname': config.name,
  'muc#roomconfig_roomdesc': config.description,
  'muc#roomconfig_lang': config.lang,
  'muc#roomconfig_persistentroom': config.persistent,
  'muc#roomconfig_publicroom': config.public,
  'muc#roomconfig_membersonly': config.membersOnly,
  'muc#roomconfig_moderatedroom': config.moderated,
  'muc#roomconfig_passwordprotectedroom': config.password !== '',
  'muc#roomconfig_roomsecret': config.password,
  'muc#roomconfig_whois': config.whois,
  'muc#roomconfig_allowpm': config.privateMessages,
  'muc#roomconfig_allowinvites': config.memberInvites,
  'muc#roomconfig_changesubject': config.subjectByAll,
  'muc#roomconfig_maxusers': maxUsersIn(config, limits),
  'muc#roomconfig_presencebroadcast': only(config.presenceOf),
  'muc#roomconfig_getmemberlist': only(config.memberListFor),
  'muc#roomconfig_enablearchiving': config.archived,
  'muc#roomconfig_enablelogging': config.publicLog,
  'muc#maxhistoryfetch': Math.min(config.historyLength, limits.history),
  'muc#roomconfig_registration': isRegistrationOpen(config),
  'muc#roomconfig_registration_approval': config.approval,
  'muc#roomconfig_lock_nicknames': config.lockNicks,
  'muc#roomconfig_publicoccupants': config.publicOccupants,
  'muc#roomconfig_pubsub': config.pubsub,
  'muc#roomconfig_slow_mode_duration': config.slowMode,
  'muc#roomconfig_forwardmentions': config.forwardMentions,
});

/** The limits of the service may be smaller than when the room was configured. */
const maxUsersIn = ({ maxUsers }: RoomConfig, { occupants }: ConfigLimits): string =>
  maxUsers === null || maxUsers > occupants ? 'none' : String(maxUsers);

const only = (wanted: readonly Role[]) => shown.map(({ value }) => value).filter((role) => wanted.includes(role));

/** The configuration after a submission; missing fields keep their values. Throws StanzaError. */
export function configured(config: RoomConfig, values: Submitted, limits: ConfigLimits): RoomConfig {
  return {
    name: values['muc#roomconfig_roomname']?.trim() ?? config.name,
    description: values['muc#roomconfig_roomdesc'] ?? config.description,
    lang: values['muc#roomconfig_lang'] ?? config.lang,
    persistent: values['muc#roomconfig_persistentroom'] ?? config.persistent,
    public: values['muc#roomconfig_publicroom'] ?? config.public,
    membersOnly: values['muc#roomconfig_membersonly'] ?? config.membersOnly,
    moderated: values['muc#roomconfig_moderatedroom'] ?? config.moderated,
    password: passwordOf(config, values),
    whois: values['muc#roomconfig_whois'] ?? config.whois,
    privateMessages: values['muc#roomconfig_allowpm'] ?? config.privateMessages,
    memberInvites: values['muc#roomconfig_allowinvites'] ?? config.memberInvites,
    subjectByAll: values['muc#roomconfig_changesubject'] ?? config.subjectByAll,
    maxUsers: maxUsersOf(values['muc#roomconfig_maxusers'], config, limits),
    presenceOf: values['muc#roomconfig_presencebroadcast'] ?? config.presenceOf,
    memberListFor: values['muc#roomconfig_getmemberlist'] ?? config.memberListFor,
    archived: values['muc#roomconfig_enablearchiving'] ?? config.archived,
    publicLog: values['muc#roomconfig_enablelogging'] ?? config.publicLog,
    historyLength: values['muc#maxhistoryfetch'] ?? config.historyLength,
    registration: registrationOf(config, values),
    approval: values['muc#roomconfig_registration_approval'] ?? config.approval,
    lockNicks: values['muc#roomconfig_lock_nicknames'] ?? config.lockNicks,
    publicOccupants: values['muc#roomconfig_publicoccupants'] ?? config.publicOccupants,
    pubsub: values['muc#roomconfig_pubsub'] ?? config.pubsub,
    slowMode: values['muc#roomconfig_slow_mode_duration'] ?? config.slowMode,
    forwardMentions: values['muc#roomconfig_forwardmentions'] ?? config.forwardMentions,
  };
}

/**
 * Clients return the whole form, and users who set a password may overlook the checkbox: a new password always protects.
 * Some servers lack the checkbox, and some clients do not send it.
 */
function passwordOf(config: RoomConfig, values: Submitted): string {
  const password = values['muc#roomconfig_roomsecret'] ?? config.password;
  const isNew = password !== '' && password !== config.password;
  const isWanted = isNew || (values['muc#roomconfig_passwordprotectedroom'] ?? password !== '');
  if (isWanted && password === '')
    throw new StanzaError('not-acceptable', 'Set a password, or turn off password protection.'); // §10.1.3
  return isWanted ? password : '';
}

/** A client that returns the form unchanged changes nothing, even while registration is suspended. */
function registrationOf(config: RoomConfig, values: Submitted): boolean {
  const wanted = values['muc#roomconfig_registration'] ?? isRegistrationOpen(config);
  return wanted === isRegistrationOpen(config) ? config.registration : wanted;
}

/** Without approval, registration in a members-only room would let anyone in. */
export const isRegistrationOpen = ({ registration, membersOnly, approval }: RoomConfig): boolean =>
  registration && (!membersOnly || approval);

/** §7.2.12, §13.3: whether people outside the room can read its messages. */
export const isPubliclyLogged = ({ publicLog, archived, membersOnly, password }: RoomConfig): boolean =>
  publicLog && archived && !membersOnly && password === '';

/** Completes a stored configuration; settings added since it was written get their defaults. */
export function restored(
  defaults: RoomConfig,
  stored: Partial<RoomConfig> & { readonly logging?: boolean },
): RoomConfig {
  const { logging, ...present } = stored;
  // The archive and the public log used to be one setting.
  const before = logging === undefined ? {} : { archived: logging, publicLog: false };
  return { ...defaults, ...before, ...present };
}

function maxUsersOf(text: string | undefined, { maxUsers }: RoomConfig, { occupants }: ConfigLimits): number | null {
  if (text === undefined) return maxUsers;
  if (text === 'none') return null;
  const number = /^\d{1,9}$/.test(text) ? Number(text) : 0;
  if (number < 1 || number > occupants)
    throw new StanzaError('not-acceptable', `The maximum number of occupants must be 1 to ${occupants}.`);
  return number;
}

/**
 * §10.2.1: status codes for a configuration change; empty if nothing has changed. Dino looks at the first code only, and
 * queries the room again if it is 104.
 */
export function changeCodes(before: RoomConfig, after: RoomConfig): string[] {
  const codes: string[] = [];
  const isLogged = isPubliclyLogged(after);
  if (isPubliclyLogged(before) !== isLogged) codes.push(isLogged ? '170' : '171');
  if (before.whois !== after.whois) codes.push(after.whois === 'anyone' ? '172' : '173');
  const rest = (config: RoomConfig) => JSON.stringify({ ...config, publicLog: true, whois: 'anyone' });
  return codes.length > 0 || rest(before) !== rest(after) ? ['104', ...codes] : [];
}
