/** XEP-0313 §3.3.2, §6.1.2, §8.4: the archive of a room, for whoever may enter it. */
import type { IqRequest, Source } from '../../server/module/index.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { stanzaId } from '../../server/stanza/ids.js';
import { NS } from '../../server/stanza/ns.js';
import { Stanza } from '../../server/stanza/stanza.js';
import { type Element, el } from '../../server/xml/element.js';
import type { Archives, ArchiveView } from '../xep-0313-mam/services.js';
import type { Muc } from './muc.js';
import { isAtLeast } from './privileges.js';
import { isWelcome, type Room, type Seat } from './room.js';
import { withoutSender } from './said.js';

/**
 * Puts a message into the archive, where the room has one: the id that it has from now on (XEP-0359). `by`: who said it;
 * the room itself has none. The message is clean.
 */
export function keep(
  { archive, host }: Muc,
  room: Room,
  stanza: Stanza,
  by?: Seat,
): { id: string; durable?: Promise<void> } {
  if (!room.config.archived) return { id: stanzaId(room.jid.bare) };
  const kept = stanza.with({ to: undefined });
  // Nobody can ask an anonymous account who it was once it is gone, and nothing of it stays.
  if (by === undefined || host.isAnonymous(by.jid.bare)) return archive.append(room.jid, kept, {});
  return archive.append(room.jid, kept.plus(senderElement(room, by)), { with: by.occupant.user });
}

/** §6.1.2: who really said it, for those who may know. */
function senderElement(room: Room, { jid, occupant }: Seat): Element {
  const { affiliation, role } = room.standingOf(occupant);
  return el('x', { xmlns: NS.mucUser }, el('item', { affiliation, jid: jid.full, role }));
}

/** As those get it who are not to know who really said it. */
const anonymous = (xml: string): string =>
  xml.includes(NS.mucUser) ? withoutSender(Stanza.parse(xml)).toXml(NS.client) : xml;

/** §6.1.2: throws StanzaError where the asker could not be in the room to hear it. */
function demandReader(room: Room, { from }: IqRequest): void {
  if (!room.config.archived) throw new StanzaError('service-unavailable', 'The room has no archive.');
  const affiliation = room.affiliationOf(from);
  if (!isWelcome(room, affiliation)) throw new StanzaError('forbidden', 'You may not enter the room.');
  const isThere = room.occupantsOf(from.bare).length > 0;
  if (room.config.password !== '' && !isThere && !isAtLeast(affiliation, 'member'))
    throw new StanzaError('forbidden', 'A password is needed.');
}

function viewOf(room: Room, { from }: IqRequest): ArchiveView {
  const role = room.seat(from)?.occupant.role;
  const knows = isAtLeast(room.affiliationOf(from), 'admin') || room.knows(role ?? 'none');
  return knows ? { knowsSenders: true } : { knowsSenders: false, show: anonymous };
}

export function query({ archive }: Muc, room: Room, request: IqRequest): Source<Element> {
  demandReader(room, request);
  return archive.answer(request, viewOf(room, request));
}

export function fields({ archive }: Muc, room: Room, request: IqRequest): Element {
  demandReader(room, request);
  return archive.form();
}

export function metadata({ archive }: Muc, room: Room, request: IqRequest): ReturnType<Archives['metadata']> {
  demandReader(room, request);
  return archive.metadata(room.jid);
}
