/** XEP-0045 §8.2-8.4, §9.6-9.7: granting and revoking roles, which last as long as the occupant stays. */
import type { Maybe } from '../../server/module/index.js';
import { StanzaError } from '../../server/stanza/errors.js';
import type { Element } from '../../server/xml/element.js';
import { remove } from './leaving.js';
import { announce, deliver, type Muc, unavailableFrom } from './muc.js';
import { judgeRole, type Role } from './privileges.js';
import type { ItemParts, Occupant, Room } from './room.js';

/** Throws StanzaError if the actor may not make the change. */
export function checkRole(room: Room, actor: Occupant, target: Occupant, role: Role): void {
  if (role === 'none' && actor === target)
    throw new StanzaError('conflict', 'You cannot kick yourself; leave the room instead.');
  const verdict = judgeRole(room.standingOf(actor), room.standingOf(target), role);
  if (verdict !== 'allowed') throw new StanzaError(verdict);
}

/** Sets a role and announces it. `none` removes the occupant. */
export function setRole(muc: Muc, room: Room, occupant: Occupant, role: Role, item: ItemParts): Maybe<void> {
  if (role === 'none') return remove(muc, room, occupant, { codes: ['307'], item });
  changeRole(muc, room, occupant, role, item);
}

/** muc#roomconfig_presencebroadcast: to the others, the occupant appears to have left. */
export function hide(muc: Muc, room: Room, occupant: Occupant, item: ItemParts = {}): void {
  const standing = { affiliation: room.affiliationOf(occupant.user), role: 'none' } as const;
  const away = room.presence(occupant, {
    stanza: unavailableFrom(occupant.jid),
    isKnown: false,
    codes: [],
    standing,
    item,
  });
  for (const seat of room.seats.values()) if (seat.occupant !== occupant) deliver(muc, seat, away);
}

/**
 * Announces a changed role or affiliation. Occupants who may no longer see the occupant are sent an unavailable
 * presence.
 */
export function changeRole(
  muc: Muc,
  room: Room,
  occupant: Occupant,
  role: Role,
  item: ItemParts,
  more?: readonly Element[],
): void {
  const wasShown = room.isShown(occupant.role);
  occupant.role = role;
  occupant.shown = {};
  if (wasShown && !room.isShown(role)) hide(muc, room, occupant, item);
  announce(muc, room, occupant, { item, ...(more && { more }) });
}
