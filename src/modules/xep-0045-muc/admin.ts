/** XEP-0045 §8, §9, §10: muc#admin requests, which read and change the lists of roles and affiliations. */

import { Jid } from '../../server/address/jid.js';
import { PrecisError } from '../../server/address/precis.js';
import type { IqRequest } from '../../server/module/index.js';
import { demandFew } from '../../server/stanza/addresses.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { NS } from '../../server/stanza/ns.js';
import { type Element, el } from '../../server/xml/element.js';
import { type AffiliationChange, change, checkChanges } from './affiliations.js';
import type { Muc } from './muc.js';
import { pageOf } from './paging.js';
import { type Affiliation, isAffiliation, isAtLeast, isRole, type Role } from './privileges.js';
import { checkRole, setRole } from './roles.js';
import { lastOf, mayRead, type Occupant, type Room, shownNick } from './room.js';

/** Items per request. */
const mostItems = 1000;
const longestReason = 1000;

/** Answers with the list of one role or one affiliation, or one page of it if requested (XEP-0059). */
export function readList({ config }: Muc, room: Room, { from, payload }: IqRequest): Element {
  const [item, ...others] = itemsOf(payload);
  if (item === undefined || others.length > 0) throw new StanzaError('bad-request', 'Request exactly one list.');
  const { role, affiliation } = item.attrs;
  if ((role === undefined) === (affiliation === undefined)) throw new StanzaError('bad-request');
  if (role !== undefined) {
    if (!isRole(role) || role === 'none') throw new StanzaError('bad-request');
    return el('query', { xmlns: NS.mucAdmin }, ...occupantsIn(room, from, role));
  }
  if (!isAffiliation(affiliation) || affiliation === 'none') throw new StanzaError('bad-request');
  if (!mayRead(room, from, affiliation, config.lists_for)) throw new StanzaError('forbidden');
  return membersPage(room, affiliation, payload);
}

/** §8.5 for moderators, §9.8 for admins. */
function occupantsIn(room: Room, reader: Jid, role: Role): Element[] {
  const own = room.seat(reader)?.occupant;
  const isAllowed =
    isAtLeast(room.affiliationOf(reader), 'admin') || (role !== 'moderator' && own?.role === 'moderator');
  if (!isAllowed) throw new StanzaError('forbidden');
  return [...room.occupants.values()]
    .filter((occupant) => occupant.role === role)
    .map((occupant) =>
      el('item', {
        affiliation: room.affiliationOf(occupant.user),
        jid: lastOf(occupant).jid.full,
        nick: occupant.nick,
        role,
      }),
    );
}

function membersPage(room: Room, affiliation: Affiliation, payload: Element): Element {
  const all = room.withAffiliation(affiliation).sort();
  const present = new Map(Array.from(room.occupants.values(), ({ user, nick }) => [user.bare, nick]));
  const itemFor = (jid: string): Element => {
    const { reason, nick } = room.members.get(jid)!;
    const shown = affiliation === 'outcast' ? undefined : (present.get(jid) ?? nick);
    return el('item', { affiliation, jid, nick: shown }, reason === undefined ? undefined : el('reason', null, reason));
  };
  const isPaged = payload.getChild('set', NS.rsm) !== undefined;
  const { shown, set } = pageOf(all, (jid) => jid, payload, { default: all.length, cap: all.length });
  return el('query', { xmlns: NS.mucAdmin }, ...shown.map(itemFor), isPaged ? set : undefined);
}

/** Changes roles or affiliations, all or none. Throws StanzaError. */
export async function changeLists(muc: Muc, room: Room, { from, payload }: IqRequest): Promise<void> {
  const items = itemsOf(payload);
  if (items.length === 0 || items.length > mostItems) throw new StanzaError('bad-request');
  demandFew(items.map(({ attrs }) => `${attrs.jid ?? ''}${attrs.nick ?? ''}`));
  const isAboutRoles = items.every(({ attrs }) => attrs.role !== undefined && attrs.affiliation === undefined);
  const isAboutAffiliations = items.every(({ attrs }) => attrs.affiliation !== undefined && attrs.role === undefined);
  // §17.4: never both in one request
  if (isAboutRoles) return changeRoles(muc, room, from, items);
  if (!isAboutAffiliations) throw new StanzaError('bad-request', 'Change either roles or affiliations, not both.');
  const changes = items.map((item) => changeIn(muc, room, item));
  checkChanges(room, from, changes);
  return change(muc, room, changes, { nick: room.seat(from)?.occupant.nick, user: from.toBare() });
}

async function changeRoles(muc: Muc, room: Room, from: Jid, items: readonly Element[]): Promise<void> {
  const actor = room.seat(from)?.occupant;
  if (actor === undefined) throw new StanzaError('forbidden', 'You are not in the room.');
  const wanted: { target: Occupant; role: Role; reason: string | undefined }[] = [];
  for (const item of items) {
    const { role, nick } = item.attrs;
    if (!isRole(role) || !nick) throw new StanzaError('bad-request');
    const target = occupantNamed(room, nick);
    checkRole(room, actor, target, role);
    wanted.push({ target, role, reason: reasonOf(item) });
  }
  for (const { target, role, reason } of wanted) {
    if (target.role === role) continue;
    await setRole(muc, room, target, role, { actor: actor.nick, reason });
  }
}

function occupantNamed(room: Room, nick: string): Occupant {
  try {
    const occupant = room.occupant(nick);
    if (occupant !== undefined) return occupant;
  } catch (error) {
    if (!(error instanceof PrecisError)) throw error;
  }
  throw new StanzaError('item-not-found', 'No occupant has that nickname.');
}

/** The target is named by a bare address or by the nickname of an occupant. */
function changeIn(muc: Muc, room: Room, item: Element): AffiliationChange {
  const { affiliation, jid, nick } = item.attrs;
  if (!isAffiliation(affiliation)) throw new StanzaError('bad-request');
  const reason = reasonOf(item);
  if (jid === undefined) {
    if (!nick) throw new StanzaError('bad-request', 'An item needs a "jid" or a "nick".');
    return { user: occupantNamed(room, nick).user, affiliation, reason };
  }
  const user = Jid.tryParse(jid)?.toBare();
  if (user === undefined) throw new StanzaError('jid-malformed');
  if (user.local === undefined && affiliation !== 'outcast' && affiliation !== 'none')
    throw new StanzaError('not-acceptable', 'Only users can have this affiliation.');
  return { user, affiliation, reason, nick: nick === undefined || nick === '' ? nick : reservable(muc, nick) };
}

function reservable({ config }: Muc, wanted: string): string {
  try {
    const nick = shownNick(wanted);
    if (nick.length <= config.nickname_length) return nick;
  } catch (error) {
    if (!(error instanceof PrecisError)) throw error;
  }
  throw new StanzaError('not-acceptable', 'The nickname is not valid.');
}

const itemsOf = (payload: Element): Element[] => payload.getChildren('item', NS.mucAdmin);
const reasonOf = (item: Element): string | undefined =>
  item.getChildText('reason', NS.mucAdmin)?.slice(0, longestReason) || undefined;
