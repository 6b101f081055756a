/** XEP-0500: minimum time between two messages of one occupant. */
import { monotonic } from '../../server/clock.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { NS } from '../../server/stanza/ns.js';
import type { Stanza } from '../../server/stanza/stanza.js';
import { isAtLeast } from './privileges.js';
import type { Occupant, Room } from './room.js';

/** §6: limits messages with a body by occupants who are neither admin nor owner. Throws StanzaError. */
export function checkPace(room: Room, occupant: Occupant, stanza: Stanza): void {
  const { slowMode } = room.config;
  if (slowMode === 0 || !stanza.has(NS.client, 'body')) return;
  if (isAtLeast(room.affiliationOf(occupant.user), 'admin')) return;
  const { bare } = occupant.user;
  const now = monotonic();
  // By user, independent of nickname and of leaving in between
  if (now - (room.spoke.get(bare) ?? Number.NEGATIVE_INFINITY) < slowMode * 1000)
    throw new StanzaError('policy-violation', `Wait ${slowMode} seconds between messages.`, {
      type: 'wait',
    });
  room.spoke.delete(bare);
  room.spoke.set(bare, now);
  for (const [user, at] of room.spoke) {
    if (now - at < slowMode * 1000) break;
    room.spoke.delete(user);
  }
}
