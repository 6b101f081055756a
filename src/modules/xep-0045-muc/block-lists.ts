/** Who is on a block list that the server follows neither enters rooms nor speaks in them, unless they know him. */
import type { StanzaError } from '../../server/stanza/errors.js';
import type { Jid } from '../../server/stanza/jid.js';
import type { Muc } from './muc.js';
import type { Room } from './room.js';

/** Throws what `refuse` makes. Those whom a room has on its lists are its own business. */
export function demandUnlisted({ blockLists }: Muc, room: Room, user: Jid, refuse: () => StanzaError): void {
  if (blockLists === undefined || room.affiliationOf(user) !== 'none' || !blockLists.isListed(user, 'rooms')) return;
  throw refuse();
}
