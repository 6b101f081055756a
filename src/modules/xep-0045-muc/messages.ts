/** XEP-0045 §7.4, §7.5: messages to the room and private messages. */

import type { Jid } from '../../server/address/jid.js';
import { monotonic } from '../../server/clock.js';
import { type Maybe, repeatedFrame } from '../../server/module/index.js';
import type { FirstFrame, Origin } from '../../server/routing/passage.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { readForm } from '../../server/stanza/forms.js';
import { randomId } from '../../server/stanza/ids.js';
import { isLasting } from '../../server/stanza/lasting.js';
import { NS } from '../../server/stanza/ns.js';
import type { Stanza } from '../../server/stanza/stanza.js';
import { el } from '../../server/xml/element.js';
import { StorageError } from '../../storage/contract.js';
import { type Archived, archiveOnce } from './archive.js';
import { copyToAway } from './away.js';
import { demandUnlisted } from './block-lists.js';
import { remember } from './history.js';
import { decline, invite } from './inviting.js';
import { receiveError } from './leaving.js';
import { cleaned, deliverToAll, type Muc } from './muc.js';
import { hasRole, type Role } from './privileges.js';
import { receiveDecision } from './registration.js';
import { isOpenTo, type Occupant, occupantIdElement, type Room, type Seat, stanzaIdElement } from './room.js';
import { isSubject } from './room-history.js';
import { changeSubject } from './subject.js';
import { receiveVoiceForm } from './voice.js';
import { retractOwn } from './xep-0424-retraction.js';
import { notifyActivity, unsubscribe } from './xep-0437-activity.js';
import { forwardMentions } from './xep-0452-mentions.js';
import { checkPace } from './xep-0500-slow-mode.js';
import { countMessage } from './xep-0502-activity.js';
import { withoutForbiddenMentions } from './xep-0513-mentions.js';

export function receiveMessage(muc: Muc, stanza: Stanza, origin: Origin): Maybe<void> {
  const to = stanza.to!;
  if (stanza.type === 'error')
    return to.local === undefined ? unsubscribe(muc, stanza.from!) : receiveError(muc, stanza, origin);
  if (to.local === undefined) throw new StanzaError('service-unavailable');
  const isForAll = stanza.type === 'groupchat' && to.resource === undefined;
  const handle = (room: Room | undefined): Maybe<void> => {
    // §17.2
    if (room === undefined || !isOpenTo(room, stanza.from!))
      throw new StanzaError('item-not-found', 'There is no such room.');
    if (to.resource !== undefined) return receivePrivate(muc, room, stanza, origin);
    if (stanza.type === 'groupchat') return receiveGroupchat(muc, room, stanza, origin);
    return mediate(muc, room, stanza, origin);
  };
  return isForAll ? muc.rooms.inRoom(to, handle) : muc.rooms.inRoomFor(stanza.from!, to, handle);
}

/** §7.4. */
function receiveGroupchat(muc: Muc, room: Room, stanza: Stanza, origin: Origin): Maybe<void> {
  const frame = repeatedFrame(origin);
  if (frame !== undefined && room.config.archived && room.seat(stanza.from!) === undefined)
    return demandArchived(muc, room, stanza, frame);
  const seat = seatOf(room, stanza);
  const { occupant } = seat;
  demandUnlisted(muc, room, occupant.user, () => new StanzaError('forbidden', 'You are on a block list.'));
  if (!hasRole(occupant.role, 'participant')) throw new StanzaError('forbidden', 'You have no voice in the room.');
  muc.host.demandFanOut(stanza.content, room.seats.size);
  const outgoing = withoutForbiddenMentions(room, occupant.role, cleaned(stanza, room.jid))
    .with({ from: occupant.jid, id: stanza.id ?? randomId() })
    .plus(occupantIdElement(occupant.id));
  const sent = { id: stanza.id, origin };
  if (isSubject(outgoing)) return changeSubject(muc, room, seat, outgoing, sent);
  checkPace(room, occupant, outgoing);
  countMessage(room, outgoing);
  if (!isLasting(outgoing)) {
    deliverToAll(muc, room, outgoing);
    return;
  }
  const go = ({ id, durable }: Archived): Maybe<void> => {
    if (durable !== undefined) muc.host.acknowledgeAfter(stanza, origin, durable);
    const broadcast = () => broadcastArchived(muc, room, occupant, outgoing, id);
    if (durable === undefined || !muc.host.isStorageFailing) return broadcast();
    // acknowledgeAfter answers the sender with an error.
    return durable.then(broadcast, (error: unknown) => {
      if (!(error instanceof StorageError)) throw error;
    });
  };
  const archived = archiveOnce(muc, room, outgoing, seat, sent);
  return archived instanceof Promise ? archived.then(go) : go(archived);
}

/** The former home of the room may have accepted the message, and its occupants are not known here. */
async function demandArchived({ archive }: Muc, room: Room, stanza: Stanza, frame: FirstFrame): Promise<void> {
  if ((await archive.archivedFrom(room.jid, frame, stanza)) === undefined) throw notInRoom();
}

/** Broadcasts a message under its archive id. */
function broadcastArchived(muc: Muc, room: Room, occupant: Occupant, outgoing: Stanza, id: string): Maybe<void> {
  const identified = outgoing.plus(stanzaIdElement(id, room.jid));
  deliverToAll(muc, room, identified);
  remember(muc, room, id, identified);
  notifyActivity(muc, room, identified);
  const forwarded = room.config.forwardMentions ? forwardMentions(muc, room, identified, occupant.user) : [];
  copyToAway(muc, room, identified, occupant.user, forwarded);
  if (outgoing.has(NS.retract, 'retract')) return retractOwn(muc, room, occupant, outgoing);
}

/** The least role that may send private messages, by setting; undefined for nobody. */
const privateSenders: Readonly<Record<Room['config']['privateMessages'], Role | undefined>> = {
  anyone: 'visitor',
  participants: 'participant',
  moderators: 'moderator',
  none: undefined,
};

/** §7.5. */
function receivePrivate(muc: Muc, room: Room, stanza: Stanza, origin: Origin): void {
  if (stanza.type === 'groupchat')
    throw new StanzaError('bad-request', 'Send groupchat messages to the bare address of the room.');
  const { occupant } = seatOf(room, stanza);
  const target = occupantAt(room, stanza.to!);
  demandUnlisted(muc, room, occupant.user, () => new StanzaError('forbidden', 'You are on a block list.'));
  const least = privateSenders[room.config.privateMessages];
  // Everyone may write to a moderator.
  const isAllowed = least !== undefined && (hasRole(occupant.role, least) || target.role === 'moderator');
  if (!isAllowed) throw new StanzaError('forbidden', 'You cannot send private messages here.');
  const outgoing = cleaned(stanza, room.jid)
    .with({ from: occupant.jid })
    .plus(el('x', { xmlns: NS.mucUser }), occupantIdElement(occupant.id));
  // One message for the account, whatever the number of its clients. The real sender differs from "from".
  const writes: Promise<unknown>[] = [];
  const relayed: Origin = {
    session: undefined,
    acknowledges: origin.acknowledges,
    acknowledgeAfter: (done, what) => {
      if (what === 'network') origin.acknowledgeAfter(done, what);
      else writes.push(done);
    },
    behalf: { speakers: [stanza.from!], isAsked: true },
    frame: origin.frame,
  };
  const addressees = target.seats.map(({ jid }) => jid);
  const routed = muc.host.routeToAll(outgoing, addressees, relayed);
  // The room does not wait for the recipient's account; only the sender's acknowledgement does.
  if (routed !== undefined) origin.acknowledgeAfter(routed.then(() => Promise.all(writes)));
  else for (const durable of writes) origin.acknowledgeAfter(durable);
}

/** A message to the room that is not a groupchat message: an invitation, a request or a decision. */
function mediate(muc: Muc, room: Room, stanza: Stanza, origin: Origin): Maybe<void> {
  const x = stanza.child(NS.mucUser, 'x');
  if (x?.getChild('invite', NS.mucUser) !== undefined) return invite(muc, room, stanza, x, origin);
  if (x?.getChild('decline', NS.mucUser) !== undefined) return decline(muc, room, stanza, x, origin);
  const form = stanza.child(NS.dataForms, 'x');
  if (form !== undefined) {
    const reading = readForm(form);
    const isDecision = reading.formType === NS.mucRegister || reading.fields.has('muc#register_allow');
    if (isDecision) return receiveDecision(muc, room, stanza.from!, reading);
    return receiveVoiceForm(muc, room, seatOf(room, stanza), reading);
  }
  seatOf(room, stanza);
  throw new StanzaError('bad-request', 'Messages to the room need the type "groupchat".'); // §17.2
}

const notInRoom = () => new StanzaError('not-acceptable', 'You are not in the room.');

/** The sender's seat in the room. Throws StanzaError (§7.4, §7.5). */
export function seatOf(room: Room, stanza: Stanza): Seat {
  const seat = room.seat(stanza.from!);
  if (seat === undefined) throw notInRoom();
  seat.heardAt = monotonic();
  return seat;
}

/** Throws StanzaError. */
export function occupantAt(room: Room, jid: Jid): Occupant {
  const occupant = room.occupant(jid.resource!);
  if (occupant === undefined || occupant.nick !== jid.resource)
    throw new StanzaError('item-not-found', 'No occupant has that nickname.');
  return occupant;
}
