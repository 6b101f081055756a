/** XEP-0045 §7.14, §11.1, §18.1.2: leaving a room, being put out of it, and not being there any more. */
import { z } from 'zod';
import { defineQuestion, type Maybe } from '../../server/module/index.js';
import type { Origin } from '../../server/routing/passage.js';
import type { Session } from '../../server/routing/session.js';
import { Jid } from '../../server/stanza/jid.js';
import { NS } from '../../server/stanza/ns.js';
import type { Stanza } from '../../server/stanza/stanza.js';
import { jid } from '../../server/stanza/stored.js';
import { el } from '../../server/xml/element.js';
import { announce, deliverByAccount, gone, type Muc, type News } from './muc.js';
import { keyOf, type Occupant, type Room, type Seat } from './room.js';
import { noteLeaving } from './xep-0437-activity.js';

/** §18.1.2: errors by which a client is known to be no more there. */
const deliveryErrors = [
  'gone',
  'item-not-found',
  'recipient-unavailable',
  'redirect',
  'remote-server-not-found',
  'remote-server-timeout',
  'service-unavailable',
];

/** One client leaves, of its own will or not: with it the occupant, where it was the only one. */
export function leave(muc: Muc, room: Room, seat: Seat, news: News): Maybe<void> {
  const { occupant } = seat;
  if (occupant.seats.length === 1) return remove(muc, room, occupant, news);
  const since = room.shownOf(occupant);
  const parts = {
    stanza: gone(occupant.jid),
    isKnown: true,
    seats: [seat],
    standing: { ...room.standingOf(occupant), role: 'none' },
  } as const;
  deliverByAccount(muc, seat, room.presence(occupant, { ...parts, codes: [...(news.codes ?? []), '110'] }));
  unseat(muc, room, seat);
  occupant.shown = {};
  announce(muc, room, occupant, { since });
}

/** An occupant leaves, or is put out, with all clients. A temporary room goes with the last one (§3). */
export function remove(muc: Muc, room: Room, occupant: Occupant, news: News = {}): Maybe<void> {
  announce(muc, room, occupant, {
    stanza: gone(occupant.jid),
    standing: { affiliation: room.affiliationOf(occupant.user), role: 'none' },
    ...news,
  });
  forgetOccupant(muc, room, occupant);
  // §10.1.3: so does one whose owner goes before he has configured it
  const isKept = room.config.persistent && room.lockedSince === undefined;
  if (room.seats.size === 0 && !isKept) return muc.rooms.remove(room);
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
  noteLeaving(muc, room, seat);
}

/** §11.2: the service goes down. Each is told of itself alone; the rooms stay, for those who come back. */
export function closeAll(muc: Muc): void {
  for (const room of muc.rooms.loaded()) {
    for (const occupant of [...room.occupants.values()]) {
      const farewell = room.presence(occupant, {
        stanza: gone(occupant.jid),
        isKnown: false,
        codes: ['110', '332'],
        standing: { affiliation: room.affiliationOf(occupant.user), role: 'none' },
      });
      for (const seat of occupant.seats) deliverByAccount(muc, seat, farewell);
      forgetOccupant(muc, room, occupant);
    }
  }
}

/** At a room: tells a client that it is out, with the occupant's full address and the client's. */
export const lost = defineQuestion({
  name: 'muc.lost',
  given: z.object({ occupant: jid, client: jid }),
  answer: z.null(),
});

/** §11.2: the same for a client who was here before a crash, and does not know of it. */
export async function tellOfCrash({ host, jid: service, presence }: Muc, session: Session): Promise<void> {
  for (const from of [...(presence?.directed(session).values() ?? [])]) {
    if (from.domain !== service.domain) continue;
    const { full: client } = session.jid;
    if (from.resource !== undefined) await host.askHome(lost, from.toBare(), { occupant: from.full, client });
    else await host.route(gone(from).with({ to: session.jid })); // XEP-0437
  }
}

export async function sayLost(
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
  await host.route(gone(Jid.parse(given.occupant)).with({ to: client }).plus(x));
  return null;
}

/** §11.1, §18.1.2: what the room said did not arrive. */
export function receiveError(muc: Muc, stanza: Stanza, origin: Origin): Maybe<void> {
  const conditions = stanza.child(NS.client, 'error')?.getChildElements() ?? [];
  if (!conditions.some(({ name }) => deliveryErrors.includes(name))) return;
  return muc.rooms.inRoom(stanza.to!, (room) => {
    const seat = room?.seat(stanza.from!);
    if (room === undefined || seat === undefined) return;
    // Said by this server, of a client that is there: he has blocked who said something to him (XEP-0191).
    if (origin.session === undefined && seat.session?.isOver === false) return;
    return leave(muc, room, seat, { codes: ['333'] });
  });
}

/** §18.1.2: clients of this server whose sessions ended without their leaving having come here. */
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
