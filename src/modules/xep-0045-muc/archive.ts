/** XEP-0313 §4.1.1: the archive of a room, for whoever may enter it. */
import type { IqRequest } from '../../server/module.js';
import { StanzaError } from '../../server/stanza/errors.js';
import type { Element } from '../../server/xml/element.js';
import type { Muc } from './muc.js';
import { isAtLeast } from './privileges.js';
import { isWelcome, type Room } from './room.js';

/** Throws StanzaError where the asker could not be in the room to hear it. */
function demandReader(room: Room, { from }: IqRequest): void {
  if (!room.config.logging) throw new StanzaError('service-unavailable', 'The room has no archive.');
  const affiliation = room.affiliationOf(from);
  if (!isWelcome(room, affiliation)) throw new StanzaError('forbidden', 'You may not enter the room.');
  const isThere = room.occupantsOf(from.bare).length > 0;
  if (room.lockedSince !== undefined && affiliation !== 'owner') throw new StanzaError('item-not-found');
  if (room.config.password !== '' && !isThere && !isAtLeast(affiliation, 'member'))
    throw new StanzaError('forbidden', 'A password is needed.');
}

export function query({ archive }: Muc, room: Room, request: IqRequest): Promise<Element> {
  demandReader(room, request);
  const own = room.seat(request.from)?.occupant;
  const isHigh = isAtLeast(room.affiliationOf(request.from), 'admin');
  const knowsSenders = room.config.whois === 'anyone' || isHigh || own?.role === 'moderator';
  return archive.answer(request, { knowsSenders });
}

export function fields({ archive }: Muc, room: Room, request: IqRequest): Element {
  demandReader(room, request);
  return archive.form();
}

export function metadata({ archive }: Muc, room: Room, request: IqRequest): Promise<Element> {
  demandReader(room, request);
  return archive.metadata(room.jid);
}
