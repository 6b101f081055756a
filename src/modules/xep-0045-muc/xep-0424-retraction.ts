/** XEP-0424: what its author takes back in a room is not given to those who come later, nor out of the archive. */
import { wall } from '../../server/clock.js';
import { formatDateTime } from '../../server/stanza/datetime.js';
import { NS } from '../../server/stanza/ns.js';
import type { Stanza } from '../../server/stanza/stanza.js';
import { el } from '../../server/xml/element.js';
import type { Muc } from './muc.js';
import type { Occupant, Room } from './room.js';
import { bury } from './tombstones.js';

/** §5: by the occupant id; the message is named by the id that the room gave it. */
export async function retractOwn(muc: Muc, room: Room, author: Occupant, stanza: Stanza): Promise<void> {
  const { id } = stanza.child(NS.retract, 'retract')!.attrs;
  if (!id) return;
  // §4: told by which retraction, and when
  const retracted = el('retracted', { xmlns: NS.retract, id: stanza.id, stamp: formatDateTime(wall()) });
  await bury(muc, room, id, retracted, author);
}
