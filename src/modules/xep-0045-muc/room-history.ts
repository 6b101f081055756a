/** Messages in the history of a room. */
import { NS } from '../../server/stanza/ns.js';
import { Stanza } from '../../server/stanza/stanza.js';
import type { Remembered, Room } from './room.js';

/** Characters of one message in memory, and of all messages of a room. Longer ones are in the archive only. */
export const longestRemembered = 65_536;
export const mostRemembered = 1_000_000;

/** Replaces the history with the latest of these messages, up to half of the maximum size. */
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

/** XEP-0045 §7.2.15: a message that only sets the subject. */
export const isSubject = (stanza: Stanza): boolean =>
  stanza.has(NS.client, 'subject') && !stanza.has(NS.client, 'body') && !stanza.has(NS.client, 'thread');

/** Strips the real sender (XEP-0313 §6.1.2). */
export const withoutSender = (stanza: Stanza): Stanza => stanza.without(NS.mucUser, 'x');

/** An archived message as the occupants received it. */
export const asBroadcast = (xml: string): Stanza => withoutSender(Stanza.parse(xml)).with({ to: undefined });
