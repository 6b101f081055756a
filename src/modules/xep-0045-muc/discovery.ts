/** XEP-0045 §6: service discovery of the service and its rooms. Hidden rooms answer only if addressed by name. */
import type { DiscoItem, DiscoQuery, DiscoSource, Identity, Maybe } from '../../server/module/index.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { type Field, form } from '../../server/stanza/forms.js';
import { NS } from '../../server/stanza/ns.js';
import type { Element } from '../../server/xml/element.js';
import type { Muc } from './muc.js';
import { reservedNick } from './registration.js';
import { isOpenTo, isWelcome, type Room } from './room.js';
import { hatsHash } from './xep-0317-hats.js';
import { activityOf } from './xep-0502-activity.js';
import { mentionFeatures, mentionFields } from './xep-0513-mentions.js';

/** Features of the service and of every room. */
const common = [NS.mucStableId, NS.occupantId, NS.vcardTemp];
const ofService = [NS.mucUnique, NS.channelSearchQuery, NS.channelSearchOld, NS.rai];
const ofRooms = [
  NS.mucRequest,
  NS.mucRegister,
  NS.mucRoomConfig,
  NS.mucRoomInfo,
  NS.mucUser,
  NS.mucAdmin,
  NS.mucOwner,
  NS.register,
  NS.selfPing,
  NS.moderate,
  NS.moderateOld,
  NS.stanzaId,
  NS.hats,
  NS.mav,
  NS.mucToken,
  ...mentionFeatures,
];

export function sources(muc: Muc): DiscoSource[] {
  const ofReports = muc.reports === undefined ? [] : [NS.gcReport];
  const inRoom = <T>({ from, to }: DiscoQuery, answer: (room: Room) => T): Maybe<T> =>
    muc.rooms.inRoomFor(from, to, (room) => {
      if (room === undefined || !isOpenTo(room, from)) throw new StanzaError('item-not-found');
      return answer(room);
    });
  return [
    {
      identities: (query): Maybe<readonly Identity[]> =>
        query.to.local === undefined
          ? [{ category: 'conference', type: 'text', name: muc.config.name }]
          : inRoom(query, (room) => [{ category: 'conference', type: 'text', name: room.name }]),
      features: (query): Maybe<readonly string[]> =>
        query.to.local === undefined
          ? [...common, ...ofService, ...ofReports]
          : inRoom(query, (room) => [
              ...common,
              ...ofRooms,
              ...ofReports,
              ...(room.config.archived ? [...muc.archive.features, NS.retractTombstone] : []),
              ...typeOf(room),
            ]),
      forms: (query): Maybe<readonly Element[]> =>
        query.to.local === undefined ? [] : inRoom(query, (room) => [roomInfo(room)]),
      page: muc.config.page,
      items: (query): Maybe<readonly DiscoItem[]> =>
        query.to.local === undefined
          ? muc.rooms.public.map(({ jid, name }) => ({ jid: jid.bare, name }))
          : inRoom(query, (room) => occupantsOf(room, query)),
    },
    {
      node: 'x-roomuser-item',
      identities: (query) => inRoom(query, (room) => reservedNick(room, query.from)),
    },
    {
      // §18.1.1: the server strips only what only the room may say
      node: NS.mucTraffic,
      identities: () => {
        throw new StanzaError('service-unavailable');
      },
    },
  ];
}

/** §4.2. */
const typeOf = ({ config }: Room): string[] => [
  config.password === '' ? 'muc_unsecured' : 'muc_passwordprotected',
  config.public ? 'muc_public' : 'muc_hidden',
  config.persistent ? 'muc_persistent' : 'muc_temporary',
  config.membersOnly ? 'muc_membersonly' : 'muc_open',
  config.moderated ? 'muc_moderated' : 'muc_unmoderated',
  config.whois === 'anyone' ? 'muc_nonanonymous' : 'muc_semianonymous',
];

/** §6.4, XEP-0128. The subject is included only if everyone may enter. */
function roomInfo(room: Room): Element {
  const { config, stored, occupants } = room;
  const fields: Field[] = [
    { var: 'muc#roominfo_description', type: 'text-single', label: 'Description', value: config.description },
    { var: 'muc#roominfo_occupants', type: 'text-single', label: 'Number of occupants', value: occupants.size },
    { var: 'muc#roominfo_subjectmod', type: 'boolean', label: 'Subject can be modified', value: config.subjectByAll },
    // §6.4: the settings that decide what clients offer
    { var: 'muc#roomconfig_changesubject', type: 'boolean', value: config.subjectByAll },
    { var: 'muc#roomconfig_allowinvites', type: 'boolean', value: config.memberInvites },
    { var: 'muc#roomconfig_allowpm', type: 'list-single', value: config.privateMessages },
    { var: 'muc#maxhistoryfetch', type: 'text-single', value: config.historyLength },
    { var: 'muc#roominfo_slow_mode_duration', type: 'text-single', label: 'Slow mode', value: config.slowMode },
  ];
  if (config.name !== '') fields.push({ var: 'muc#roomconfig_roomname', type: 'text-single', value: config.name });
  // The name of subjectmod in ejabberd and Prosody. Converse.js takes any value, even 0, for a yes.
  if (config.subjectByAll) fields.push({ var: 'muc#roominfo_changesubject', type: 'boolean', value: true });
  if (config.lang !== '') fields.push({ var: 'muc#roominfo_lang', type: 'text-single', value: config.lang });
  if (config.pubsub !== '') fields.push({ var: 'muc#roomconfig_pubsub', type: 'text-single', value: config.pubsub });
  if (stored.subject !== undefined && !config.membersOnly && config.password === '')
    fields.push({ var: 'muc#roominfo_subject', type: 'text-single', label: 'Subject', value: stored.subject.text });
  const activity = activityOf(room);
  if (activity !== undefined)
    fields.push({
      var: '{urn:xmpp:muc-activity}message-activity',
      type: 'text-single',
      label: 'Messages per hour',
      value: activity,
    });
  // XEP-0486 §3.3
  if (stored.avatar !== undefined && stored.avatar.length > 0)
    fields.push({ var: 'muc#roominfo_avatarhash', type: 'text-multi', label: 'Avatar hash', value: stored.avatar });
  if (stored.hats !== undefined && stored.hats.length > 0)
    fields.push({ var: 'hats#hash', type: 'text-single', label: 'Hats hash', value: hatsHash(stored.hats) });
  fields.push(...mentionFields(room));
  return form({ type: 'result', formType: NS.mucRoomInfo, fields });
}

/** §6.5: listed for occupants, and for others if the owner allows it. */
function occupantsOf(room: Room, { from }: DiscoQuery): DiscoItem[] {
  const isListed = room.config.publicOccupants && isWelcome(room, room.affiliationOf(from));
  if (room.seat(from) === undefined && !isListed) return [];
  return [...room.occupants.values()].filter(({ role }) => room.isShown(role)).map(({ jid }) => ({ jid: jid.full }));
}
