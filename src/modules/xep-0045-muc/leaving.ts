/** XEP-0045 §7.14, §11.1, §18.1.2: leaving a room, being removed from it, and losing the connection to it. */
import { z } from 'zod';
import { Jid } from '../../server/address/jid.js';
import { defineQuestion, type Maybe } from '../../server/module/index.js';
import type { Origin } from '../../server/routing/passage.js';
import type { Session } from '../../server/routing/session.js';
import { NS } from '../../server/stanza/ns.js';
import type { Stanza } from '../../server/stanza/stanza.js';
import { jid } from '../../server/stanza/stored.js';
import { el } from '../../server/xml/element.js';
import { isOfCopy, noteRefusal } from './away.js';
import { type Announcement, announce, deliverByAccount, type Muc, unavailableFrom } from './muc.js';
import { keyOf, type Occupant, type Room, type Seat } from './room.js';
import { noteLeaving } from './xep-0437-activity.js';

/** §18.1.2: errors that show that a client is no longer in the room. */
const deliveryErrors = [
  'gone',
  'item-not-found',
  // The server denies the domain of the occupant (RFC 6120 §8.3.3.10).
  'not-allowed',
  'recipient-unavailable',
  'redirect',
  'remote-server-not-found',
  'remote-server-timeout',
  'service-unavailable',
];

/** One client leaves or is disconnected. The occupant leaves with its last client. */
export function leave(muc: Muc, room: Room, seat: Seat, announcement: Announcement): Maybe<void> {
  const { occupant } = seat;
  if (occupant.seats.length === 1) return remove(muc, room, occupant, announcement);
  const since = room.shownOf(occupant);
  const parts = {
    stanza: unavailableFrom(occupant.jid),
    isKnown: true,
    seats: [seat],
    standing: { ...room.standingOf(occupant), role: 'none' },
  } as const;
  deliverByAccount(muc, seat, room.presence(occupant, { ...parts, codes: [...(announcement.codes ?? []), '110'] }));
  unseat(muc, room, seat);
  occupant.shown = {};
  announce(muc, room, occupant, { since });
}

/** An occupant leaves or is removed, with all clients. A temporary room is removed with its last occupant (§3). */
export function remove(muc: Muc, room: Room, occupant: Occupant, announcement: Announcement = {}): Maybe<void> {
  announce(muc, room, occupant, {
    stanza: unavailableFrom(occupant.jid),
    standing: { affiliation: room.affiliationOf(occupant.user), role: 'none' },
    ...announcement,
  });
  forgetOccupant(muc, room, occupant);
  // §10.1.3: so is a room whose owner leaves before configuring it
  const isPersistent = room.config.persistent && room.lockedSince === undefined;
  if (room.seats.size === 0 && !isPersistent) return muc.rooms.remove(room);
}

export function forgetOccupant(muc: Muc, room: Room, occupant: Occupant): void {
  room.occupants.delete(keyOf(occupant.nick));
  for (const seat of [...occupant.seats]) unseat(muc, room, seat);
}

function unseat(muc: Muc, room: Room, seat: Seat): void {
  const { occupant } = seat;
  room.seats.delete(seat.jid.full);
  occupant.seats.splice(occupant.seats.indexOf(seat), 1);
  muc.rooms.countJoin(occupant.user.bare, -1);
  room.wantsCopies(occupant.user.bare);
  noteLeaving(muc, room, seat);
}

/** §11.2: the service shuts down. Clients are notified of their own occupant only; the rooms persist. */
export function closeAll(muc: Muc): void {
  for (const room of muc.rooms.loaded()) {
    for (const occupant of [...room.occupants.values()]) {
      const farewell = room.presence(occupant, {
        stanza: unavailableFrom(occupant.jid),
        isKnown: false,
        codes: ['110', '332'],
        standing: { affiliation: room.affiliationOf(occupant.user), role: 'none' },
      });
      for (const seat of occupant.seats) deliverByAccount(muc, seat, farewell);
      forgetOccupant(muc, room, occupant);
    }
  }
}

/**
 * Asked at a room: notify a client that it is no longer in the room. Has the occupant's and the client's full
 * addresses.
 */
export const lost = defineQuestion({
  name: 'muc.lost',
  given: z.object({ occupant: jid, client: jid }),
  answer: z.null(),
});

/** §11.2: the same after a crash, for a client that was in rooms before it and still believes it is. */
export async function notifyAfterCrash({ host, jid: service, presence }: Muc, session: Session): Promise<void> {
  for (const from of [...(presence?.directed(session).values() ?? [])]) {
    if (from.domain !== service.domain) continue;
    const { full: client } = session.jid;
    if (from.resource !== undefined) await host.askHome(lost, from.toBare(), { occupant: from.full, client });
    else await host.route(unavailableFrom(from).with({ to: session.jid })); // XEP-0437
  }
}

export async function notifyLost(
  { host, rooms, stores }: Muc,
  room: Jid,
  given: { readonly occupant: string; readonly client: string },
): Promise<null> {
  const client = Jid.parse(given.client);
  // The room outlived the crash.
  if (rooms.peek(room.bare)?.seat(client) !== undefined) return null;
  const member = await stores.muc_members.get(room.bare, client.bare);
  const x = el(
    'x',
    { xmlns: NS.mucUser },
    el('item', { affiliation: member?.affiliation ?? 'none', role: 'none' }),
    el('status', { code: '110' }),
    el('status', { code: '332' }),
  );
  await host.route(unavailableFrom(Jid.parse(given.occupant)).with({ to: client }).plus(x));
  return null;
}

/** §11.1, §18.1.2: a stanza of the room could not be delivered. */
export function receiveError(muc: Muc, stanza: Stanza, origin: Origin): Maybe<void> {
  const conditions = stanza.child(NS.client, 'error')?.getChildElements() ?? [];
  if (!conditions.some(({ name }) => deliveryErrors.includes(name))) return;
  return muc.rooms.inRoom(stanza.to!, (room) => {
    if (room !== undefined && isOfCopy(stanza)) return noteRefusal(room, stanza.from!);
    const seat = room?.seat(stanza.from!);
    if (room === undefined || seat === undefined) return;
    // Raised by this server for a client that is still connected: the user has blocked the sender (XEP-0191).
    if (origin.isRaised === true || (origin.session === undefined && seat.session?.isOver === false)) return;
    return leave(muc, room, seat, { codes: ['333'] });
  });
}

/** §18.1.2: removes clients of servers that the policy has denied since they came: nothing reaches them any more. */
export async function removeDenied(muc: Muc): Promise<void> {
  const { host, rooms } = muc;
  const known = new Map<string, boolean>();
  const isDenied = ({ jid: { domain } }: Seat): boolean => {
    let is = known.get(domain);
    if (is === undefined) known.set(domain, (is = !host.isLocal(domain) && host.isDenied(domain)));
    return is;
  };
  for (const { jid, seats } of [...rooms.loaded()])
    for (const seat of [...seats.values()].filter(isDenied))
      await rooms.inRoom(jid, (room) =>
        room?.seat(seat.jid) === seat ? leave(muc, room, seat, { codes: ['333'] }) : undefined,
      );
}
