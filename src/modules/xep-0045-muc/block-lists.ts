/** Users on a subscribed block list may not enter rooms or speak in them, unless they have an affiliation. */

import type { Jid } from '../../server/address/jid.js';
import type { StanzaError } from '../../server/stanza/errors.js';
import type { Muc } from './muc.js';
import type { Room } from './room.js';

/** Throws the error that `refuse` creates. Users with an affiliation are exempt: the room decides about them itself. */
export function demandUnlisted({ blockLists }: Muc, room: Room, user: Jid, refuse: () => StanzaError): void {
  if (blockLists === undefined || room.affiliationOf(user) !== 'none' || !blockLists.isListed(user, 'rooms')) return;
  throw refuse();
}
