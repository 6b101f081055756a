/** What was said in a room, as it is remembered. */
import { NS } from '../../server/stanza/ns.js';
import { Stanza } from '../../server/stanza/stanza.js';
import type { Remembered, Room } from './room.js';

/** Characters of a message that is kept in memory, and of all of a room; what is longer is in the archive alone. */
export const longestRemembered = 65_536;
export const mostRemembered = 1_000_000;

/** The messages that a room remembers: the latest of these, and no more than half of what can be kept. */
export function setHistory(room: Room, messages: readonly Remembered[]): void {
  let from = messages.length;
  room.historySize = 0;
  while (from > 0) {
    const { length } = messages[from - 1]!.stanza.content;
    if (room.historySize + length > mostRemembered / 2) break;
    room.historySize += length;
    from--;
  }
  room.history = messages.slice(from);
}

/** XEP-0045 §7.2.15: a subject and nothing to read. */
export const isSubject = (stanza: Stanza): boolean =>
  stanza.has(NS.client, 'subject') && !stanza.has(NS.client, 'body') && !stanza.has(NS.client, 'thread');

/** Without who really said it (XEP-0313 §6.1.2). */
export const withoutSender = (stanza: Stanza): Stanza => stanza.without(NS.mucUser, 'x');

/** A message of the archive as the occupants got it. */
export const asSaid = (xml: string): Stanza => withoutSender(Stanza.parse(xml)).with({ to: undefined });
