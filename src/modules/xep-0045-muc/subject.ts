/** XEP-0045 §7.2.15, §8.1: the subject of a room. */

import type { Origin } from '../../server/routing/passage.js';
import { delay } from '../../server/stanza/delay.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { timeOf } from '../../server/stanza/ids.js';
import { NS } from '../../server/stanza/ns.js';
import { Stanza } from '../../server/stanza/stanza.js';
import { el } from '../../server/xml/element.js';
import { archiveOnce } from './archive.js';
import { deliver, deliverToAll, detached, type Muc } from './muc.js';
import { hasRole } from './privileges.js';
import { type Room, type Seat, stanzaIdElement } from './room.js';

/** Sent even if empty: it tells a client that it has entered completely. */
export function sendSubject(muc: Muc, room: Room, seat: Seat): void {
  const { subject } = room.stored;
  const stanza =
    subject === undefined
      ? Stanza.build('message', { from: room.jid, type: 'groupchat' }, el('subject'))
      : Stanza.parse(subject.xml).plus(delay(room.jid, subject.at));
  deliver(muc, seat, stanza);
}

/** §8.1, XEP-0313 §6.1.2. The message must be cleaned and have the occupant's address. Throws StanzaError. */
export async function changeSubject(
  muc: Muc,
  room: Room,
  seat: Seat,
  stanza: Stanza,
  sent: { readonly id: string | undefined; readonly origin: Origin },
): Promise<void> {
  const isAllowed = hasRole(seat.occupant.role, room.config.subjectByAll ? 'participant' : 'moderator');
  if (!isAllowed) throw new StanzaError('forbidden', 'You may not change the subject.');
  const text = stanza.text(NS.client, 'subject') ?? '';
  if (text.length > muc.config.subject_length) throw new StanzaError('not-acceptable', 'The subject is too long.');
  const { id, durable } = await archiveOnce(muc, room, stanza, seat, sent);
  const identified = detached(stanza.with({ to: undefined }).plus(stanzaIdElement(id, room.jid)));
  const saved = muc.rooms.save(room, { subject: { text, xml: identified.toXml(NS.client), at: timeOf(id) } });
  await Promise.all([saved, durable]);
  deliverToAll(muc, room, identified);
}
