/** XEP-0045 §7.2.13, §7.2.14: recent messages sent to a new occupant. */
import { wall } from '../../server/clock.js';
import { parseDateTime } from '../../server/stanza/datetime.js';
import { delay } from '../../server/stanza/delay.js';
import { timeOf } from '../../server/stanza/ids.js';
import { NS } from '../../server/stanza/ns.js';
import type { Stanza } from '../../server/stanza/stanza.js';
import type { Element } from '../../server/xml/element.js';
import { detached, type Muc, pour } from './muc.js';
import type { Remembered, Room, Seat } from './room.js';
import { longestRemembered, mostRemembered, setHistory } from './room-history.js';

/** Stores a message, as it was broadcast, for later occupants. */
export function remember({ config }: Muc, room: Room, id: string, stanza: Stanza): void {
  const { length } = stanza.content;
  if (config.history === 0 || length > longestRemembered) return;
  // A message that is sent again after the room's home has died may be archived, and so be in the history.
  const last = room.history.at(-1);
  if (last !== undefined && id <= last.id && room.history.some((earlier) => earlier.id === id)) return;
  room.history.push({ id, at: timeOf(id), stanza: detached(stanza.with({ to: undefined })) });
  room.historySize += length;
  // Twice as many as are sent, so that trimming does not move the array for every message
  if (room.history.length >= config.history * 2 || room.historySize > mostRemembered)
    setHistory(room, room.history.slice(-config.history));
}

export function sendHistory(muc: Muc, room: Room, seat: Seat, request: Element | undefined): void {
  pour(muc, seat, historyFor(room, seat, chosen(muc, room, request)));
}

function* historyFor(room: Room, seat: Seat, messages: readonly Remembered[]): Generator<Stanza, void> {
  for (const { stanza, at } of messages) {
    if (room.seat(seat.jid) !== seat) return; // left in the meantime
    yield stanza.plus(delay(room.jid, at));
  }
}

/** §7.2.14: applies the strictest of the requested limits. */
function chosen({ config }: Muc, room: Room, request: Element | undefined): Remembered[] {
  const { maxstanzas, maxchars, seconds, since } = request?.attrs ?? {};
  const most = Math.min(numberOf(maxstanzas), room.config.historyLength, config.history);
  const characters = numberOf(maxchars);
  if (most === 0 || characters === 0) return [];
  const earliest = Math.max(
    seconds === undefined ? 0 : wall() - numberOf(seconds) * 1000,
    since === undefined ? 0 : (parseDateTime(since) ?? 0),
  );
  const last = room.history.slice(-most).filter(({ at }) => at >= earliest);
  if (characters === Number.POSITIVE_INFINITY) return last;
  let left = characters;
  let from = last.length;
  while (from > 0) {
    const { stanza, at } = last[from - 1]!;
    left -= stanza.plus(delay(room.jid, at)).toXml(NS.client).length;
    if (left < 0) break;
    from--;
  }
  return last.slice(from);
}

/** Text that is not a number sets no limit. */
const numberOf = (text: string | undefined): number =>
  text !== undefined && /^\d{1,12}$/.test(text) ? Number(text) : Number.POSITIVE_INFINITY;
