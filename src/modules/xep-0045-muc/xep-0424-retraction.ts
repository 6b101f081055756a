/** XEP-0424: messages retracted by their author are removed from the history and the archive. */
import { wall } from '../../server/clock.js';
import { formatDateTime } from '../../server/stanza/datetime.js';
import { NS } from '../../server/stanza/ns.js';
import type { Stanza } from '../../server/stanza/stanza.js';
import { el } from '../../server/xml/element.js';
import type { Muc } from './muc.js';
import type { Occupant, Room } from './room.js';
import { replaceWithTombstone } from './tombstones.js';

/** §5: the author is matched by occupant id, and the message by the id the room assigned. */
export async function retractOwn(muc: Muc, room: Room, author: Occupant, stanza: Stanza): Promise<void> {
  const { id } = stanza.child(NS.retract, 'retract')!.attrs;
  if (!id) return;
  // §4: the tombstone has the id of the retraction and its time
  const retracted = el('retracted', { xmlns: NS.retract, id: stanza.id, stamp: formatDateTime(wall()) });
  await replaceWithTombstone(muc, room, id, retracted, author);
}
