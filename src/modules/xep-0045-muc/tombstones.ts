/** XEP-0424 §4, XEP-0425 §5: tombstones of retracted messages and of their corrections (XEP-0308). */
import { NS } from '../../server/stanza/ns.js';
import { Stanza } from '../../server/stanza/stanza.js';
import type { Element } from '../../server/xml/element.js';
import type { LogEntry } from '../../storage/contract.js';
import type { Muc } from './muc.js';
import type { Occupant, Remembered, Room } from './room.js';

/** Later messages of the author that are searched for corrections. */
const mostLookedAt = 100;

/**
 * Replaces a message with a tombstone, durably in the archive and in the history. If `author` is given, only a message
 * of that occupant. Resolves with whether a message was replaced.
 */
export async function replaceWithTombstone(
  muc: Muc,
  room: Room,
  id: string,
  tombstone: Element,
  author?: Occupant,
): Promise<boolean> {
  const [archived] = (await muc.archive.read(room.jid, { ids: [id], limit: 1 })).entries;
  const remembered = room.history.find((message) => message.id === id);
  const original = archived === undefined ? remembered?.stanza : Stanza.parse(archived.value);
  if (original === undefined || original.has(NS.retract, 'retracted')) return false;
  if (author !== undefined && occupantIdIn(original) !== author.id) return false;

  const isCorrection = (stanza: Stanza): boolean =>
    original.id !== undefined &&
    stanza.child(NS.correct, 'replace')?.attrs.id === original.id &&
    occupantIdIn(stanza) === occupantIdIn(original);
  for (const message of room.history)
    if (message === remembered || isCorrection(message.stanza)) replace(message, tombstone);
  if (archived === undefined) return true;
  const later = await muc.archive.read(room.jid, { with: archived.with, after: id, limit: mostLookedAt });
  const corrections = later.entries.filter(
    ({ value }: LogEntry) => value.includes(NS.correct) && isCorrection(Stanza.parse(value)),
  );
  for (const one of [archived, ...corrections])
    await muc.archive.tombstone(room.jid, one.id, tombstone, staysInTombstone);
  return true;
}

function replace(message: Remembered, tombstone: Element): void {
  message.stanza = message.stanza.only(staysInTombstone).plus(tombstone);
}

const occupantIdIn = (stanza: Stanza): string | undefined => stanza.child(NS.occupantId, 'occupant-id')?.attrs.id;

/**
 * XEP-0425 §5: the tombstone keeps the occupant id, the real sender (for readers who may see it) and the archive id.
 */
const staysInTombstone = ({ ns, name }: { readonly ns: string; readonly name: string }): boolean =>
  (ns === NS.occupantId && name === 'occupant-id') ||
  (ns === NS.stanzaId && name === 'stanza-id') ||
  (ns === NS.mucUser && name === 'x');
