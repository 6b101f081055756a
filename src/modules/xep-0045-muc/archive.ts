/** XEP-0313 §3.3.2, §6.1.2, §8.4: the archive of a room, readable by everyone who may enter it. */
import { type IqRequest, type Maybe, repeatedFrame, type Source } from '../../server/module/index.js';
import type { Origin } from '../../server/routing/passage.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { stanzaId } from '../../server/stanza/ids.js';
import { NS } from '../../server/stanza/ns.js';
import { Stanza } from '../../server/stanza/stanza.js';
import { type Element, el } from '../../server/xml/element.js';
import type { Archives, ArchiveView } from '../xep-0313-mam/services.js';
import type { Muc } from './muc.js';
import { isAtLeast } from './privileges.js';
import { isWelcome, type Room, type Seat } from './room.js';
import { withoutSender } from './room-history.js';

export interface Archived {
  readonly id: string;
  /** Undefined if it is not archived, or was already. */
  readonly durable?: Promise<void>;
}

/**
 * Archives a message if the room has an archive, and returns its id (XEP-0359). `by` is the sender; messages of the
 * room itself have none. The message must be cleaned already.
 */
export function archiveMessage(
  { archive, host }: Muc,
  room: Room,
  stanza: Stanza,
  by?: Seat,
  origin?: Origin,
): Archived {
  if (!room.config.archived) return { id: stanzaId(room.jid.bare) };
  const unaddressed = stanza.with({ to: undefined });
  // The sender is not stored if anonymous: nothing may outlive the account.
  if (by === undefined || host.isAnonymous(by.jid.bare)) return archive.append(room.jid, unaddressed, { origin });
  return archive.append(room.jid, unaddressed.plus(senderElement(room, by)), { with: by.occupant.user, origin });
}

/**
 * The same for an occupant's message, which another node may send again if the room's home has died: then the archive may
 * have it. `sent`: as the occupant sent it.
 */
export function archiveOnce(
  muc: Muc,
  room: Room,
  outgoing: Stanza,
  by: Seat,
  sent: { readonly id: string | undefined; readonly origin: Origin },
): Maybe<Archived> {
  const frame = repeatedFrame(sent.origin);
  const append = (): Archived => archiveMessage(muc, room, outgoing, by, sent.origin);
  if (frame === undefined || !room.config.archived) return append();
  return muc.archive
    .archivedFrom(room.jid, frame, { type: outgoing.type, id: sent.id })
    .then((id) => (id === undefined ? append() : { id }));
}

/** §6.1.2: the real sender, for readers who may see it. */
function senderElement(room: Room, { jid, occupant }: Seat): Element {
  const { affiliation, role } = room.standingOf(occupant);
  return el('x', { xmlns: NS.mucUser }, el('item', { affiliation, jid: jid.full, role }));
}

/** The message as shown to readers who may not see the real sender. */
const anonymous = (xml: string): string =>
  xml.includes(NS.mucUser) ? withoutSender(Stanza.parse(xml)).toXml(NS.client) : xml;

/** §6.1.2: throws StanzaError if the reader could not enter the room. */
function demandReader(room: Room, { from }: IqRequest): void {
  if (!room.config.archived) throw new StanzaError('service-unavailable', 'The room has no archive.');
  const affiliation = room.affiliationOf(from);
  if (!isWelcome(room, affiliation)) throw new StanzaError('forbidden', 'You may not enter the room.');
  const isOccupant = room.occupantsOf(from.bare).length > 0;
  if (room.config.password !== '' && !isOccupant && !isAtLeast(affiliation, 'member'))
    throw new StanzaError('forbidden', 'The room needs a password.');
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
