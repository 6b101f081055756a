/**
 * XEP-0045 §18.1.2: clients that appear to be in a room, but are gone. An error in return for a stanza of the room
 * removes them (leaving.ts). In a silent room, an empty message to each client that may be gone brings about the error.
 *
 * It is a groupchat message and no ping (XEP-0199): a phone need not wake up to answer it, servers may hold it back
 * (XEP-0352), and its error can only come from a server. The `service-unavailable` that answers a ping may also come from
 * a client that does not know pings, which is still in the room.
 */
import { setImmediate } from 'node:timers/promises';
import { monotonic } from '../../server/clock.js';
import { randomId } from '../../server/stanza/ids.js';
import { NS } from '../../server/stanza/ns.js';
import { Stanza } from '../../server/stanza/stanza.js';
import { el } from '../../server/xml/element.js';
import { leave } from './leaving.js';
import { deliver, type Muc } from './muc.js';

/** Messages in one turn of the event loop. */
const messagesPerTurn = 100;

/** Removes clients of this node whose sessions ended without a leaving presence. */
export async function removeGhosts(muc: Muc): Promise<void> {
  for (const room of [...muc.rooms.loaded()]) {
    for (const { jid, session } of [...room.seats.values()]) {
      if (session?.isOver !== true) continue;
      await muc.rooms.inRoom(room.jid, (present) => {
        const seat = present?.seat(jid);
        if (present !== undefined && seat?.session?.isOver === true)
          return leave(muc, present, seat, { codes: ['333'] });
      });
    }
  }
}

/**
 * Looks for ghosts among the clients of other servers and nodes: sends a message to those that have neither sent nor
 * been sent one for `silence_seconds`.
 */
export async function lookForGhosts(muc: Muc): Promise<void> {
  const { rooms, config } = muc;
  const latest = monotonic() - config.silence_seconds * 1000;
  let sent = 0;
  for (const room of rooms.loaded()) {
    if (room.spokeAt > latest) continue;
    for (const seat of room.seats.values()) {
      if (room.isDestroyed) break;
      if (seat.session !== undefined || seat.heardAt > latest) continue;
      seat.heardAt = monotonic();
      const hints = ['no-store', 'no-copy'].map((name) => el(name, { xmlns: NS.hints }));
      deliver(muc, seat, Stanza.build('message', { from: room.jid, type: 'groupchat', id: randomId() }, ...hints));
      if (++sent % messagesPerTurn === 0) await setImmediate();
    }
  }
}
