/**
 * XEP-0513: permissions for mentions in a room, set by its owners. Forbidden mentions are removed before a message is
 * sent to anyone. Kinds that the XEP does not define are allowed but count.
 */
import type { IqRequest } from '../../server/module/index.js';
import { defineForm } from '../../server/stanza/define-form.js';
import { StanzaError } from '../../server/stanza/errors.js';
import type { Field } from '../../server/stanza/forms.js';
import { randomId } from '../../server/stanza/ids.js';
import { NS } from '../../server/stanza/ns.js';
import { Stanza } from '../../server/stanza/stanza.js';
import { type Element, el } from '../../server/xml/element.js';
import { type MentionKind, type MentionLevel, type MentionRights, mentionKinds } from './mention-rights.js';
import { deliverToAll, type Muc } from './muc.js';
import { hasRole, type Role } from './privileges.js';
import type { Room } from './room.js';

/** Default settings; only moderators may mention groups larger than the room. */
const defaults: MentionRights = {
  count: 20,
  individual: 'participants',
  channel: 'moderators',
  space: 'moderators',
  server: 'moderators',
  associations: 'participants',
  hats: 'participants',
};

export const mentionFeatures: readonly string[] = [
  NS.explicitMentions,
  ...mentionKinds.filter((kind) => kind !== 'individual').map((kind) => `${NS.explicitMentions}#${kind}`),
];

/** "Mentions via Roles and Affiliations". */
const associations = ['moderators', 'participants', 'visitors', 'owner', 'admin', 'member', 'none'];

const leastRole: Readonly<Record<MentionLevel, Role | undefined>> = {
  participants: 'participant',
  moderators: 'moderator',
  none: undefined,
};

const levelField = (label: string) =>
  ({
    type: 'list-single',
    label,
    required: true,
    options: [
      { value: 'participants', label: 'Participants' },
      { value: 'moderators', label: 'Moderators Only' },
      { value: 'none', label: 'Nobody' },
    ],
  }) as const;

const form = defineForm(NS.explicitMentions, {
  'mentions#count': {
    type: 'text-single',
    label: 'How many mentions are allowed in a message?',
    required: true,
    datatype: 'xs:integer',
    min: 0,
    max: 100,
  },
  'mentions#individual': levelField('Who can mention individual users?'),
  'mentions#channel': levelField('Who can mention rooms?'),
  'mentions#space': levelField('Who can mention spaces?'),
  'mentions#server': levelField('Who can mention servers?'),
  'mentions#associations': levelField('Who can mention roles/affiliations?'),
  'mentions#hats': levelField('Who can mention hats?'),
});

const rightsOf = ({ stored }: Room): MentionRights => stored.mentions ?? defaults;

const names = ['count', ...mentionKinds] as const;

const valuesOf = (rights: Partial<MentionRights>) =>
  Object.fromEntries(names.map((name) => [`mentions#${name}`, rights[name]]));

/** "Multi-User Chats Permissions": the fields for `muc#roominfo`. */
export function mentionFields(room: Room): Field[] {
  const rights = rightsOf(room);
  return names.map((name) => ({
    var: `mentions#${name}`,
    type: name === 'count' ? 'text-single' : 'list-single',
    value: rights[name],
  }));
}

export const offerRights = (room: Room): Element =>
  el(
    'query',
    { xmlns: NS.explicitMentions },
    form.form(valuesOf(rightsOf(room)), { title: 'Who can mention whom in the room' }),
  );

/** Notifies the occupants of changed settings. Throws StanzaError. */
export async function changeRights(muc: Muc, room: Room, { from, payload }: IqRequest): Promise<void> {
  if (room.affiliationOf(from) !== 'owner') throw new StanzaError('forbidden', 'Only owners of the room can do that.');
  const submission = form.read(payload.getChild('x', NS.dataForms));
  if (submission === undefined) return;
  const before = rightsOf(room);
  const after: MentionRights = {
    count: submission['mentions#count'],
    individual: submission['mentions#individual'],
    channel: submission['mentions#channel'],
    space: submission['mentions#space'],
    server: submission['mentions#server'],
    associations: submission['mentions#associations'],
    hats: submission['mentions#hats'],
  };
  const changed = names.filter((name) => before[name] !== after[name]);
  if (changed.length === 0) return;
  await muc.rooms.save(room, { mentions: after });
  const notice = form.result(valuesOf(Object.fromEntries(changed.map((name) => [name, after[name]]))), {
    title: 'Who can mention whom in the room has changed',
  });
  deliverToAll(muc, room, Stanza.build('message', { from: room.jid, type: 'groupchat', id: randomId() }, notice));
}

/** The message without mentions that the role does not permit; without any if there are too many. */
export function withoutForbiddenMentions(room: Room, role: Role, stanza: Stanza): Stanza {
  if (!stanza.has(NS.explicitMentions, 'mention')) return stanza;
  const rights = rightsOf(room);
  const sent = stanza.childNames().filter(({ ns, name }) => ns === NS.explicitMentions && name === 'mention').length;
  const isTooMuch = sent > rights.count;
  return stanza.without(
    NS.explicitMentions,
    'mention',
    (attributes) => isTooMuch || !isAllowed(rights, role, attributes),
  );
}

function isAllowed(rights: MentionRights, role: Role, attrs: Element['attrs']): boolean {
  const isOfGroup = attrs.mentions !== undefined;
  // "Mentioning an Individual": only by occupant id, which reveals no real address
  if (isOfGroup === (attrs.occupantid !== undefined) || attrs.jid !== undefined) return false;
  const kind = isOfGroup ? kindOf(attrs.mentions!) : 'individual';
  if (kind === undefined) return true;
  const least = leastRole[rights[kind]];
  return least !== undefined && hasRole(role, least);
}

/** Undefined for a kind that the XEP does not define. The XEP writes these with `#`, but in one example without. */
function kindOf(uri: string): MentionKind | undefined {
  const text = uri.trim();
  if (!text.startsWith(NS.explicitMentions)) return undefined;
  const name = text.slice(NS.explicitMentions.length).replace(/^#/, '');
  return associations.includes(name) ? 'associations' : mentionKinds.find((kind) => kind === name);
}

/**
 * XEP-0452: bare addresses of listed users that a message mentions by occupant id. Mentions with `<noping/>` or
 * `<active/>` are skipped: forwarding is for absent users. So are groups, which consist of occupants.
 */
export function explicitlyMentioned(room: Room, stanza: Stanza): string[] {
  if (!stanza.has(NS.explicitMentions, 'mention')) return [];
  return stanza
    .children()
    .filter((child) => child.is('mention', NS.explicitMentions) && child.attrs.mentions === undefined)
    .filter((mention) => !['noping', 'active'].some((name) => mention.getChild(name, NS.explicitMentions)))
    .map(({ attrs }) => room.userOf(attrs.occupantid ?? ''))
    .filter((user) => user !== undefined);
}
