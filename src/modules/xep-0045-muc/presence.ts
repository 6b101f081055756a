/** XEP-0045 §7.2, §7.6, §7.7, §7.14: entering a room, changing nickname or presence, and leaving. */
import { createHash, timingSafeEqual } from 'node:crypto';
import { z } from 'zod';
import { Jid } from '../../server/address/jid.js';
import { PrecisError } from '../../server/address/precis.js';
import { monotonic } from '../../server/clock.js';
import { defineQuestion, type Events, type Maybe } from '../../server/module/index.js';
import type { Origin } from '../../server/routing/passage.js';
import type { Session } from '../../server/routing/session.js';
import { StanzaError, type StanzaErrorCondition, type StanzaErrorOptions } from '../../server/stanza/errors.js';
import { NS } from '../../server/stanza/ns.js';
import { Stanza } from '../../server/stanza/stanza.js';
import { jid, stanzaXml } from '../../server/stanza/stored.js';
import { el } from '../../server/xml/element.js';
import { demandUnlisted } from './block-lists.js';
import { sendHistory } from './history.js';
import { leave, receiveError } from './leaving.js';
import { announce, cleaned, deliver, detached, type Muc, pour, unavailableFrom } from './muc.js';
import { type Affiliation, defaultRole, isAtLeast, type Role } from './privileges.js';
import {
  isOpenTo,
  isWelcome,
  keyOf,
  type Occupant,
  place,
  type Room,
  type Seat,
  type Shown,
  shownNick,
} from './room.js';
import { isPubliclyLogged } from './room-config.js';
import { sendSubject } from './subject.js';
import { receiveSubscription } from './xep-0437-activity.js';
import { currentVersion, sendVersions } from './xep-0463-versions.js';
import { redeem, tokenFor } from './xep-0488-tokens.js';

/** Characters of content. */
const longestPresence = 16_384;

export function receivePresence(muc: Muc, stanza: Stanza, origin: Origin): Maybe<void> {
  const to = stanza.to!;
  if (to.local === undefined) return receiveSubscription(muc, stanza, origin);
  switch (stanza.type) {
    case undefined:
      return muc.rooms.inRoomFor(stanza.from!, to, (room) => available(muc, room, stanza, origin));
    case 'unavailable':
      return muc.rooms.inRoom(to, (room) => {
        const seat = room?.seat(stanza.from!);
        // §17.3: a presence from a client that is not in the room is ignored
        if (room === undefined || seat === undefined) return;
        return leave(muc, room, seat, { stanza: cleaned(stanza, room.jid) });
      });
    case 'error':
      return receiveError(muc, stanza, origin);
    default:
      // §17.3: other types neither enter nor leave
      return;
  }
}

function available(muc: Muc, room: Room | undefined, stanza: Stanza, origin: Origin): Maybe<void> {
  const to = stanza.to!;
  const from = stanza.from!;
  if (to.resource === undefined) throw refusal('jid-malformed', to, 'The address needs a nickname.'); // §7.2.1
  const seat = room?.seat(from);
  const isJoin = stanza.has(NS.muc, 'x');
  if (room === undefined || seat === undefined) {
    if (!isJoin) return notifyAbsent(muc, stanza);
    return room === undefined ? create(muc, stanza, origin) : enter(muc, room, stanza, origin, false);
  }
  seat.heardAt = monotonic();
  demandPace(muc, room, from);
  const nick = isJoin ? enteringNick(muc, room, from, to) : nickOf(muc, to);
  if (nick !== seat.occupant.nick) changeNick(muc, room, seat, stanza, nick);
  else changePresence(muc, room, seat, stanza);
  // §17.3: a client that joins again is sent the whole state again
  if (isJoin) {
    // It may have moved to this node.
    seat.session = sessionOf(from, origin) ?? seat.session;
    demandOutputRoom(room, seat.session);
    welcome(muc, room, seat, stanza, [], room.shownOf(seat.occupant));
  }
}

// ---------------------------------------------------------------------------------------------------------------
// Entering

/** §10.1. */
function create(muc: Muc, stanza: Stanza, origin: Origin): Maybe<void> {
  const { host, config } = muc;
  const from = stanza.from!;
  const to = stanza.to!;
  nickOf(muc, to);
  const access = config.creation;
  const make = async (isPermitted: boolean): Promise<void> => {
    if (!isPermitted) throw refusal('not-allowed', to, 'You may not create rooms here.');
    const { room, isNew } = await muc.rooms.create(to.toBare(), from.toBare());
    await muc.rooms.inRoom(room.jid, (present) => {
      if (present === undefined) throw refusal('item-not-found', to);
      return enter(muc, present, stanza, origin, isNew && present === room);
    });
  };
  const permitted = host.permits(access, from, to);
  return permitted instanceof Promise ? permitted.then(make) : make(permitted);
}

/** The session of a client on this node. */
const sessionOf = (from: Jid, { session }: Origin): Session | undefined =>
  session?.jid.full === from.full ? session : undefined;

/** §7.2; for bearers of a token also XEP-0488 §4.5. */
function enter(muc: Muc, room: Room, stanza: Stanza, origin: Origin, isNew: boolean): Maybe<void> {
  const user = stanza.from!.toBare();
  const isUnknown = room.affiliationOf(user) === 'none' && room.lockedSince === undefined;
  const token = isUnknown ? tokenFor(room, passwordIn(stanza)) : undefined;
  if (token === undefined) return takeSeat(muc, room, stanza, origin, { isNew });
  return redeem(muc, room, token, user).then(() => takeSeat(muc, room, stanza, origin, { hasToken: true }));
}

function takeSeat(
  muc: Muc,
  room: Room,
  stanza: Stanza,
  origin: Origin,
  { isNew = false, hasToken = false }: { readonly isNew?: boolean; readonly hasToken?: boolean },
): void {
  const from = stanza.from!;
  const to = stanza.to!;
  const local = sessionOf(from, origin);
  if (local?.isOver === true) return; // The session ended while the room was loading.
  const nick = enteringNick(muc, room, from, to);
  checkEntry(muc, room, from, nick, hasToken ? undefined : passwordIn(stanza));
  demandPace(muc, room, from);
  demandOutputRoom(room, local);

  const presence = presenceIn(stanza, room);
  const user = from.toBare();
  const present = room.occupant(nick);
  const since = present === undefined ? undefined : room.shownOf(present);
  const role = defaultRole(room.affiliationOf(user), room.config.moderated);
  const occupant = present ?? newOccupant(room, user, nick, role);
  const seat: Seat = { jid: from, session: local, occupant, presence, heardAt: monotonic() };
  place(seat, presence);
  room.seats.set(from.full, seat);
  muc.rooms.countJoin(user.bare, 1);

  const codes: string[] = [];
  if (isNew) codes.push('201');
  if (occupant.nick !== to.resource) codes.push('210');
  welcome(muc, room, seat, stanza, codes, since);
}

function newOccupant(room: Room, user: Jid, nick: string, role: Role): Occupant {
  const jid = room.jid.withResource(nick);
  const occupant: Occupant = { nick, jid, user, id: room.occupantId(user), role, seats: [], shown: {} };
  room.occupants.set(keyOf(nick), occupant);
  return occupant;
}

/** §7.2.5 to §7.2.10. An undefined password means that none is required. Throws StanzaError. */
function checkEntry(muc: Muc, room: Room, from: Jid, nick: string, password: string | undefined): void {
  const { config } = room;
  const affiliation = room.affiliationOf(from);
  if (affiliation === 'outcast') throw refusal('forbidden', room.jid, 'You are banned from the room.');
  demandUnlisted(muc, room, from, () => refusal('forbidden', room.jid, 'You are on a block list.'));
  if (!isOpenTo(room, from))
    throw refusal('item-not-found', room.jid, 'The room is locked until its owner configures it.');
  if (!isWelcome(room, affiliation))
    throw refusal('registration-required', room.jid, 'Only members may enter the room.');
  const needsPassword = config.password !== '' && password !== undefined && !room.globalOwners.has(from.bare);
  if (needsPassword && !isSame(password, config.password))
    throw refusal('not-authorized', room.jid, 'The password is wrong.');
  checkNick(room, from, nick);
  if (room.occupant(nick) === undefined) demandCapacity(muc, room, affiliation);
  if (muc.rooms.joins(from.bare) >= muc.config.joins_per_user) {
    muc.host.limitHit('muc.joins_per_user');
    throw refusal('resource-constraint', room.jid, 'You are in too many rooms. Leave one first.');
  }
}

/** §7.2.9: checks that the room has space for another occupant. Throws StanzaError. */
function demandCapacity({ config, host }: Muc, room: Room, affiliation: Affiliation): void {
  const most = isAtLeast(affiliation, 'admin') ? config.occupants : (room.config.maxUsers ?? config.occupants);
  if (room.occupants.size < Math.min(most, config.occupants)) return;
  host.limitHit('muc.occupants');
  throw refusal('service-unavailable', room.jid, 'The room is full.', { type: 'wait' });
}

/** §7.2.8: throws StanzaError if another user uses or has reserved the nickname. */
function checkNick(room: Room, user: Jid, nick: string): void {
  const other = room.occupant(nick)?.user.bare ?? room.reservedFor(nick);
  const reserved = room.reservedFor(nick);
  if ((other !== undefined && other !== user.bare) || (reserved !== undefined && reserved !== user.bare))
    throw refusal('conflict', room.jid, 'The nickname is already in use.');
}

/**
 * §7.2.2 to §7.2.15, in order: the other occupants, the client's own presence, history, subject. `since` is what the
 * others already see of the occupant, if anything.
 */
function welcome(
  muc: Muc,
  room: Room,
  seat: Seat,
  stanza: Stanza,
  codes: readonly string[],
  since: Shown | undefined,
): void {
  const { occupant } = seat;
  sendVersions(muc, room, seat, stanza);
  pour(muc, seat, othersFor(room, seat));
  const ownCodes = [...codes];
  if (room.config.whois === 'anyone') ownCodes.push('100');
  if (isPubliclyLogged(room.config)) ownCodes.push('170');
  const ownMore = [currentVersion(room)];
  announce(muc, room, occupant, { by: seat, since, ownCodes, ownMore });
  sendHistory(muc, room, seat, stanza.child(NS.muc, 'x')?.getChild('history', NS.muc));
  sendSubject(muc, room, seat);
}

/** §7.2.3: the other occupants, each in the state it has when it is sent. */
function othersFor(room: Room, seat: Seat): Generator<Stanza, void> {
  const entering = new Set(room.occupants.values());
  entering.delete(seat.occupant);
  seat.entering = entering;
  return (function* () {
    try {
      for (const other of entering) {
        // The client has left meanwhile, or joined again.
        if (seat.entering !== entering || room.seat(seat.jid) !== seat) return;
        entering.delete(other);
        if (other !== seat.occupant && other.seats.length > 0 && room.isShown(other.role))
          yield room.presenceOf(other, room.knows(seat.occupant.role));
      }
    } finally {
      if (seat.entering === entering) seat.entering = undefined;
    }
  })();
}

/** §7.2.18: the client believes that it is in the room, but is not. */
function notifyAbsent({ host }: Muc, stanza: Stanza): void {
  const x = el(
    'x',
    { xmlns: NS.mucUser },
    el('item', { affiliation: 'none', role: 'none' }, el('reason', null, 'You are not in the room.')),
    el('status', { code: '110' }),
    el('status', { code: '307' }),
    el('status', { code: '333' }),
  );
  void host.route(unavailableFrom(stanza.to!).with({ to: stanza.from, id: stanza.id }).plus(x));
}

// ---------------------------------------------------------------------------------------------------------------
// In the room

/** §7.7. */
function changePresence(muc: Muc, room: Room, seat: Seat, stanza: Stanza): void {
  const { occupant } = seat;
  const presence = presenceIn(stanza, room);
  const isJoin = stanza.has(NS.muc, 'x');
  // §17.3: skip unchanged views; presence of another client of the occupant can also leave the view unchanged
  const since = isJoin || occupant.seats.length > 1 ? room.shownOf(occupant) : undefined;
  place(seat, presence);
  announce(muc, room, occupant, { since, ...(!isJoin && { by: seat }) });
}

/**
 * Asked at a room: a client's last presence there and the address it was sent to. Null if the client is not there or
 * its own presence must stand.
 */
export const lastPresence = defineQuestion({
  name: 'muc.last_said',
  given: z.object({ client: jid, hadOne: z.boolean() }),
  answer: z.object({ to: jid, presence: stanzaXml }).nullable(),
});

export function lastPresenceIn(
  { rooms }: Muc,
  room: Jid,
  { client, hadOne }: { readonly client: string; readonly hadOne: boolean },
): z.output<typeof lastPresence.answer> {
  const seat = rooms.peek(room.bare)?.seat(Jid.parse(client));
  if (seat === undefined) return null;
  const { presence, occupant } = seat;
  // The client itself sent the empty hash if its account had an avatar before; otherwise this server may have added it.
  const photo = presence.child(NS.vcardUpdate, 'x')?.getChildText('photo', NS.vcardUpdate)?.trim();
  return photo === '' && hadOne ? null : { to: occupant.jid.full, presence: presence.toXml(NS.client) };
}

/** XEP-0398 §4: sends the last presence of an account's clients to their rooms again, with the new avatar hash. */
export async function showAvatar(
  { host, jid: service, presence: directing }: Muc,
  { sessions, hadOne }: Events['avatarChanged'],
): Promise<void> {
  for (const session of sessions) {
    const directed = [...(directing?.directed(session).values() ?? [])];
    const rooms = directed.filter(({ domain }) => domain === service.domain).map(({ bare }) => bare);
    for (const room of new Set(rooms)) {
      const last = await host.askHome(lastPresence, Jid.parse(room), { client: session.jid.full, hadOne });
      if (last === null) continue;
      const again = Stanza.parse(last.presence)
        .without(NS.vcardUpdate, 'x')
        .with({ from: session.jid, to: Jid.parse(last.to) });
      await host.fromSession(again, session, { session, acknowledges: false, acknowledgeAfter() {} });
    }
  }
}

/**
 * §7.6. A client that shares its nickname with other clients of its user leaves that occupant, and may join others
 * under the new nickname, which no other user has.
 */
function changeNick(muc: Muc, room: Room, seat: Seat, stanza: Stanza, nick: string): void {
  const { occupant } = seat;
  const other = room.occupant(nick);
  checkNick(room, occupant.user, nick);
  const locked = lockedNick(room, occupant.user);
  if (locked !== undefined && locked !== nick)
    throw refusal('not-acceptable', room.jid, 'The room requires you to use your registered nickname.');
  const presence = presenceIn(stanza, room);
  const ownCodes = nick === stanza.to!.resource ? [] : ['210'];
  const farewell = { stanza: unavailableFrom(occupant.jid), codes: ['303'], item: { nick } };
  const isOnly = occupant.seats.length === 1;
  if (other === occupant || (other === undefined && isOnly)) {
    announce(muc, room, occupant, farewell);
    room.occupants.delete(keyOf(occupant.nick));
    occupant.nick = nick;
    occupant.jid = room.jid.withResource(nick);
    room.occupants.set(keyOf(nick), occupant);
    place(seat, presence);
    announce(muc, room, occupant, { by: seat, ownCodes });
    return;
  }
  if (other === undefined) demandCapacity(muc, room, room.affiliationOf(occupant.user));
  const sinceLeft = isOnly ? undefined : room.shownOf(occupant);
  if (isOnly) announce(muc, room, occupant, farewell);
  else {
    const codes = [...farewell.codes, '110'];
    deliver(muc, seat, room.presence(occupant, { ...farewell, codes, isKnown: true, seats: [seat] }));
  }
  occupant.seats.splice(occupant.seats.indexOf(seat), 1);
  occupant.shown = {};
  if (isOnly) room.occupants.delete(keyOf(occupant.nick));
  // Occupants who saw the change of nickname expect a presence under the new one.
  const since = other === undefined || isOnly ? undefined : room.shownOf(other);
  seat.occupant = other ?? newOccupant(room, occupant.user, nick, occupant.role);
  place(seat, presence);
  if (!isOnly) announce(muc, room, occupant, { by: seat, since: sinceLeft });
  announce(muc, room, seat.occupant, { by: seat, since, ownCodes });
}

// ---------------------------------------------------------------------------------------------------------------

/** Throws StanzaError if the client has too much unread output. */
function demandOutputRoom(room: Room, session: Session | undefined): void {
  try {
    session?.demandRoom(3); // lists, occupants, history
  } catch (error) {
    if (!(error instanceof StanzaError)) throw error;
    throw refusal('resource-constraint', room.jid, error.text, { type: 'wait' });
  }
}

/** §14.6: limits presences, since each is broadcast to the whole room. Throws StanzaError. */
function demandPace({ presences, host }: Muc, room: Room, user: Jid): void {
  if (presences.take(`${room.jid.bare} ${host.userOf(user)}`)) return;
  host.limitHit('muc.presences_per_minute');
  throw refusal('policy-violation', room.jid, 'Too many presences. Try again later.', { type: 'wait' });
}

/** §7.10: the registered nickname, if the room enforces it. */
const lockedNick = (room: Room, user: Jid): string | undefined =>
  room.config.lockNicks ? room.members.get(user.bare)?.nick : undefined;

/** §7.2.2, §7.10: the nickname under which a user enters. Throws StanzaError. */
const enteringNick = (muc: Muc, room: Room, user: Jid, to: Jid): string => lockedNick(room, user) ?? nickOf(muc, to);

/** The nickname in an address. Throws StanzaError if it is not valid. */
export function nickOf(muc: Muc, jid: Jid): string {
  try {
    const nick = shownNick(jid.resource ?? '');
    if (nick.length > muc.config.nickname_length) throw refusal('not-acceptable', jid, 'The nickname is too long.');
    return nick;
  } catch (error) {
    // §17.1: empty or invisible
    if (error instanceof PrecisError) throw refusal('jid-malformed', jid, 'The nickname is not valid.');
    throw error;
  }
}

const passwordIn = (stanza: Stanza): string => stanza.child(NS.muc, 'x')?.getChildText('password', NS.muc) ?? '';

/** The part of a presence that the room stores and shows. Throws StanzaError if it is too long. */
function presenceIn(stanza: Stanza, room: Room): Stanza {
  const presence = cleaned(stanza, room.jid);
  if (presence.content.length > longestPresence)
    throw refusal('policy-violation', room.jid, 'The presence is too long.');
  return detached(presence.with({ to: undefined, type: undefined }));
}

export const refusal = (
  condition: StanzaErrorCondition,
  room: Jid,
  text?: string,
  options: StanzaErrorOptions = {},
): StanzaError => new StanzaError(condition, text, { by: room.bare, ...options });

const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
const isSame = (one: string, other: string): boolean => timingSafeEqual(digest(one), digest(other));
