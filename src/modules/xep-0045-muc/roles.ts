/** XEP-0045 §8.2-8.4, §9.6-9.7: giving and taking roles, which last as long as the occupant stays. */
import { StanzaError } from '../../server/stanza/errors.js';
import type { Element } from '../../server/xml/element.js';
import { remove } from './leaving.js';
import { announce, deliver, gone, type Muc } from './muc.js';
import { judgeRole, type Role } from './privileges.js';
import type { ItemParts, Occupant, Room } from './room.js';

/** Throws StanzaError where the actor may not. */
export function checkRole(room: Room, actor: Occupant, target: Occupant, role: Role): void {
  if (role === 'none' && actor === target) throw new StanzaError('conflict', 'You can leave the room.');
  const verdict = judgeRole(room.standingOf(actor), room.standingOf(target), role);
  if (verdict !== 'allowed') throw new StanzaError(verdict);
}

/** Gives a role, and tells all. `none`: the occupant is put out. */
export function setRole(muc: Muc, room: Room, occupant: Occupant, role: Role, item: ItemParts): void | Promise<void> {
  if (role === 'none') return remove(muc, room, occupant, { codes: ['307'], item });
  changeRole(muc, room, occupant, role, item);
}

/** muc#roomconfig_presencebroadcast: for the others it is as if he had left. */
export function hide(muc: Muc, room: Room, occupant: Occupant, item: ItemParts = {}): void {
  const standing = { affiliation: room.affiliationOf(occupant.user), role: 'none' } as const;
  const away = room.presence(occupant, { stanza: gone(occupant.jid), isKnown: false, codes: [], standing, item });
  for (const seat of room.seats.values()) if (seat.occupant !== occupant) deliver(muc, seat, away);
}

/** Announces a role, or an affiliation, that has changed; for those who saw him and do so no more he is gone. */
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
