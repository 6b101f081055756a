/** XEP-0486: the avatar of a room, in a vCard (XEP-0054) that owners write and everyone who may enter reads. */
import { createHash } from 'node:crypto';
import type { Jid } from '../../server/address/jid.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { NS } from '../../server/stanza/ns.js';
import { type Element, el, parse, serialize } from '../../server/xml/element.js';
import { announceChange, type Muc } from './muc.js';
import type { Room } from './room.js';

/** Characters of XML. */
const largestCard = 200_000;

export async function readCard({ stores }: Muc, room: Room): Promise<Element> {
  const card = await stores.muc_vcards.get(room.jid.bare);
  return card === undefined ? el('vCard', { xmlns: NS.vcardTemp }) : parse(card);
}

/** An empty vCard removes the avatar. Throws StanzaError. */
export async function writeCard(muc: Muc, room: Room, from: Jid, card: Element): Promise<undefined> {
  const { bare } = room.jid;
  if (room.affiliationOf(from) !== 'owner')
    throw new StanzaError('forbidden', 'Only owners of the room can set its avatar.');
  const isEmpty = card.getChildElements().length === 0;
  const xml = serialize(card);
  if (xml.length > largestCard)
    throw new StanzaError('not-acceptable', 'The vCard is too large. Use a smaller picture.');
  const avatar = card.getChildren('PHOTO', NS.vcardTemp).flatMap((photo) => {
    const data = photo.getChildText('BINVAL', NS.vcardTemp);
    return data ? [createHash('sha1').update(Buffer.from(data, 'base64')).digest('hex')] : [];
  });
  if (isEmpty) await muc.stores.muc_vcards.delete(bare);
  else await muc.stores.muc_vcards.set(bare, xml);
  await muc.rooms.save(room, { avatar });
  announceChange(muc, room, ['104']);
  return undefined;
}
