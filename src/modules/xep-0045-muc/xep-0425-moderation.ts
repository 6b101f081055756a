/** XEP-0425: moderators retract messages of others; the current version and version 0.2, for older clients. */
import { wall } from '../../server/clock.js';
import type { IqRequest } from '../../server/module/index.js';
import { formatDateTime } from '../../server/stanza/datetime.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { randomId } from '../../server/stanza/ids.js';
import { NS } from '../../server/stanza/ns.js';
import { Stanza } from '../../server/stanza/stanza.js';
import { type Element, el } from '../../server/xml/element.js';
import { archiveMessage } from './archive.js';
import { remember } from './history.js';
import { seatOf } from './messages.js';
import { deliverToAll, type Muc } from './muc.js';
import { type Occupant, occupantIdElement, type Room, stanzaIdElement } from './room.js';
import { replaceWithTombstone } from './tombstones.js';

const longestReason = 1000;

interface Moderation {
  readonly id: string;
  readonly reason: string | undefined;
}

/** §4: `<moderate id='…'><retract/></moderate>`. */
export function moderationIn({ payload }: IqRequest): Moderation {
  return demanded(payload, payload.attrs.id, NS.moderate, NS.retract);
}

/** Version 0.2: `<apply-to id='…'><moderate><retract/></moderate></apply-to>`. */
export function oldModerationIn({ payload }: IqRequest): Moderation {
  const moderate = payload.getChild('moderate', NS.moderateOld);
  if (moderate === undefined) throw new StanzaError('bad-request');
  return demanded(moderate, payload.attrs.id, NS.moderateOld, NS.retractOld);
}

function demanded(moderate: Element, id: string | undefined, ns: string, retractNs: string): Moderation {
  const isRetraction = moderate.getChild('retract', retractNs) !== undefined;
  if (!id || !isRetraction) throw new StanzaError('bad-request', 'The request needs the id of the message to retract.');
  return { id, reason: moderate.getChildText('reason', ns)?.slice(0, longestReason) || undefined };
}

/** The retraction is durable in the archive before it is broadcast. Throws StanzaError. */
export async function moderate(muc: Muc, room: Room, { stanza }: IqRequest, { id, reason }: Moderation): Promise<void> {
  const { occupant } = seatOf(room, stanza);
  if (occupant.role !== 'moderator')
    throw new StanzaError('forbidden', 'Only moderators can retract messages of others.');
  const isReplaced = await replaceWithTombstone(muc, room, id, retracted(occupant, reason));
  if (!isReplaced) throw new StanzaError('item-not-found', 'There is no such message.');

  const message = Stanza.build(
    'message',
    { from: room.jid, type: 'groupchat', id: randomId() },
    el('retract', { xmlns: NS.retract, id }, moderated(occupant), reasonElement(reason)),
    el(
      'apply-to',
      { xmlns: NS.fasten, id },
      el(
        'moderated',
        { xmlns: NS.moderateOld, by: occupant.jid.full },
        el('retract', { xmlns: NS.retractOld }),
        reasonElement(reason),
      ),
    ),
  );
  const { id: archived, durable } = archiveMessage(muc, room, message);
  await durable;
  const identified = message.plus(stanzaIdElement(archived, room.jid));
  deliverToAll(muc, room, identified);
  remember(muc, room, archived, identified);
}

/** §5: the tombstone. */
const retracted = (by: Occupant, reason: string | undefined): Element =>
  el('retracted', { xmlns: NS.retract, stamp: formatDateTime(wall()) }, moderated(by), reasonElement(reason));

const moderated = (by: Occupant): Element =>
  el('moderated', { xmlns: NS.moderate, by: by.jid.full }, occupantIdElement(by.id));

const reasonElement = (reason: string | undefined): Element | undefined =>
  reason === undefined ? undefined : el('reason', null, reason);
