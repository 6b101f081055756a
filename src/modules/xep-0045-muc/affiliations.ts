/** XEP-0045 §9, §10.3-10.8: affiliations, and what a change of them means for occupants. */
import { z } from 'zod';
import type { Jid } from '../../server/address/jid.js';
import { defineQuestion, onBehalfOf } from '../../server/module/index.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { randomId } from '../../server/stanza/ids.js';
import { NS } from '../../server/stanza/ns.js';
import { Stanza } from '../../server/stanza/stanza.js';
import { jid } from '../../server/stanza/stored.js';
import { type Element, el } from '../../server/xml/element.js';
import { mayInvite, sendInvitation } from './invitations.js';
import { remove } from './leaving.js';
import { deliver, type Muc } from './muc.js';
import { type Affiliation, isAtLeast, judgeAffiliation, roleAfter } from './privileges.js';
import { changeRole } from './roles.js';
import { type ItemParts, isWelcome, type Member, type Room } from './room.js';
import { noteChange } from './xep-0463-versions.js';

export interface AffiliationChange {
  readonly user: Jid;
  readonly affiliation: Affiliation;
  readonly reason?: string | undefined;
  /** The reserved nickname; undefined leaves it unchanged, an empty string removes it. */
  readonly nick?: string | undefined;
}

/** §9.1, §9.2, §10.4: checks that the actor may make all these changes. Throws StanzaError. */
export function checkChanges(room: Room, actor: Jid, changes: readonly AffiliationChange[]): void {
  const own = room.affiliationOf(actor);
  for (const { user, affiliation, nick } of changes) {
    // §9.1: checked first so that an admin, who cannot ban admins, gets this error too
    const isOwn = user.bare === actor.bare || user.bare === actor.domain;
    if (affiliation === 'outcast' && isOwn && isAtLeast(own, 'admin'))
      throw new StanzaError('conflict', 'You cannot ban yourself.');
    // A domain has only its own entry. Global owners rank above admins.
    const before = user.local === undefined ? 'none' : room.affiliationOf(user);
    const verdict = judgeAffiliation(own, before, affiliation);
    if (verdict !== 'allowed') throw new StanzaError(verdict);
    if (nick) {
      const holder = room.reservedFor(nick);
      if (holder !== undefined && holder !== user.bare)
        throw new StanzaError('conflict', 'The nickname is already in use.');
    }
  }
}

/**
 * Persists changes of the lists, then applies them in the room. The last owner cannot be removed. Throws StanzaError.
 */
export async function change(
  muc: Muc,
  room: Room,
  changes: readonly AffiliationChange[],
  actor: { readonly nick?: string | undefined; readonly user?: Jid } = {},
): Promise<void> {
  const { bare } = room.jid;
  const before = new Map(changes.map(({ user }) => [user.bare, room.members.get(user.bare)]));
  const after = new Map<string, Member | undefined>();
  for (const one of changes) after.set(one.user.bare, memberAfter(one, before.get(one.user.bare)));
  const present = room.owners();
  const owners = new Set(present);
  for (const [user, member] of after)
    if (member?.affiliation === 'owner') owners.add(user);
    else owners.delete(user);
  if (owners.size === 0 && present.length > 0) throw new StanzaError('conflict', 'A room needs at least one owner.'); // §10.4
  const added = [...after].filter(([user, member]) => member !== undefined && !room.members.has(user));
  if (room.members.size + added.length > muc.config.members) {
    muc.host.limitHit('muc.members');
    throw new StanzaError('resource-constraint', 'The list of affiliations is full.');
  }

  // The affiliation of an anonymous account ends with its stay; it is not persisted.
  const persisted = [...after].filter(
    (entry): entry is [string, Member] => entry[1] !== undefined && !muc.host.isAnonymous(entry[0]),
  );
  const removed = [...after].filter(([, member]) => member === undefined).map(([user]) => user);
  if (persisted.length > 0) await muc.stores.muc_members.set(bare, persisted);
  if (removed.length > 0) await muc.stores.muc_members.delete(bare, removed);
  for (const { user, reason } of changes) {
    const old = room.members.get(user.bare)?.affiliation ?? 'none';
    const held = room.affiliationOf(user);
    const since = room.listVersion;
    room.setMember(user.bare, after.get(user.bare));
    const now = room.members.get(user.bare)?.affiliation ?? 'none';
    if (old === now) continue;
    const more = [noteChange(room, { since, until: room.listVersion, user: user.bare, before: old, affiliation: now })];
    await apply(muc, room, user, { old, now, held, item: { reason, actor: actor.nick }, more }, actor.user);
  }
}

/** The list entry after a change; fields that the change leaves out keep their value. */
function memberAfter({ affiliation, reason, nick }: AffiliationChange, before: Member | undefined): Member | undefined {
  if (affiliation === 'none') return undefined;
  // §9.1: outcasts have no nickname
  const reserved = affiliation === 'outcast' ? undefined : nick === undefined ? before?.nick : nick || undefined;
  return {
    affiliation,
    ...(reserved !== undefined && { nick: reserved }),
    ...(reason !== undefined && { reason }),
  };
}

/** Applies a change to the occupants, or notifies the user if they are absent. */
async function apply(
  muc: Muc,
  room: Room,
  user: Jid,
  {
    old,
    now,
    held,
    item,
    more,
  }: { old: Affiliation; now: Affiliation; held: Affiliation; item: ItemParts; more: readonly Element[] },
  actor: Jid | undefined,
): Promise<void> {
  const { moderated, membersOnly } = room.config;
  // One entry bans a whole domain.
  const present = [...room.occupants.values()].filter(({ user: one }) =>
    user.local === undefined
      ? one.domain === user.domain && room.affiliationOf(one) === 'outcast'
      : one.bare === user.bare,
  );
  for (const occupant of present) {
    const affiliation = room.affiliationOf(occupant.user);
    if (affiliation === 'outcast') await remove(muc, room, occupant, { codes: ['301'], item, more });
    else if (!isWelcome(room, affiliation)) await remove(muc, room, occupant, { codes: ['321'], item, more });
    else changeRole(muc, room, occupant, roleAfter(occupant.role, held, affiliation, moderated), item, more);
  }
  if (present.length > 0) return;
  announceAbsent(muc, room, user, now, more);
  if (actor === undefined || actor.bare === user.bare || user.local === undefined) return;
  if (!muc.notices.take(`${room.jid.bare} ${actor.bare} ${user.bare}`) || !mayInvite(muc, actor, 1)) return;
  // §9.5: a new member of a members-only room is invited
  if (membersOnly && old === 'none' && now === 'member') {
    sendInvitation(muc, room, user, actor);
  } else if (old !== 'outcast' && now !== 'outcast') await notifyAbsent(muc, room, user, now, item, actor);
}

/** Asked at a user's home: whether they know this address. */
export const known = defineQuestion({
  name: 'muc.known',
  given: z.object({ who: jid }),
  answer: z.boolean(),
});

/**
 * §18.1: optional notice to a user who is not in the room; a ban is not announced. It is sent on behalf of the admin
 * and includes their reason and nickname only if the user knows them.
 */
async function notifyAbsent(
  muc: Muc,
  room: Room,
  user: Jid,
  affiliation: Affiliation,
  parts: ItemParts,
  admin: Jid,
): Promise<void> {
  const { host } = muc;
  const isKnown = user.domain === host.domain && (await host.askHome(known, user, { who: admin.full }));
  const { reason, actor } = isKnown ? parts : {};
  const item = el(
    'item',
    { affiliation, role: 'none', jid: user.bare },
    actor === undefined ? undefined : el('actor', { nick: actor }),
    reason === undefined ? undefined : el('reason', null, reason),
  );
  const x = el('x', { xmlns: NS.mucUser }, item, el('status', { code: '101' }));
  void host.route(
    Stanza.build('message', { from: room.jid, to: user, id: randomId() }, x),
    onBehalfOf([admin], { isAsked: false }),
  );
}

/** §10.3: tells occupants who may see real addresses about a changed affiliation of an absent user. */
function announceAbsent(muc: Muc, room: Room, user: Jid, affiliation: Affiliation, more: readonly Element[]): void {
  const x = el('x', { xmlns: NS.mucUser }, el('item', { affiliation, role: 'none', jid: user.bare }), ...more);
  const message = Stanza.build('message', { from: room.jid, id: randomId() }, x);
  for (const seat of room.seats.values())
    if (room.knows(seat.occupant.role) && (affiliation !== 'outcast' || seat.occupant.role === 'moderator'))
      deliver(muc, seat, message);
}

/** Gives an affiliation to a user who has none. If `actor` is given, the user is notified on their behalf. */
export const grant = (
  muc: Muc,
  room: Room,
  user: Jid,
  affiliation: Affiliation,
  { nick, actor }: { readonly nick?: string | undefined; readonly actor?: Jid } = {},
): Promise<void> =>
  change(muc, room, [{ user: user.toBare(), affiliation, nick }], actor === undefined ? {} : { user: actor.toBare() });
