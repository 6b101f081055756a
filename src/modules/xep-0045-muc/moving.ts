/**
 * Rooms that move to another node of a cluster: what is only in memory moves with them. The record, the members and the
 * archive are read again at the new home.
 */
import { z } from 'zod';
import { Jid } from '../../server/address/jid.js';
import { monotonic } from '../../server/clock.js';
import type { Memory } from '../../server/module/index.js';
import { NS } from '../../server/stanza/ns.js';
import { Stanza } from '../../server/stanza/stanza.js';
import { jid, stanzaXml } from '../../server/stanza/stored.js';
import { affiliations, roles } from './privileges.js';
import { keyOf, type Occupant, type Remembered, type Room, type Seat } from './room.js';
import { setHistory } from './room-history.js';
import type { Rooms } from './rooms.js';
import { storedMember } from './stored.js';

const ago = z.number();

const schema = z.object({
  occupants: z.array(
    z.object({
      nick: z.string(),
      user: jid,
      role: z.enum(roles),
      seats: z.array(z.object({ jid, presence: stanzaXml })),
    }),
  ),
  /** Anonymous users on its lists, which are not stored. */
  guests: z.array(z.tuple([jid, storedMember])),
  /** Of a room without an archive. */
  history: z.array(z.object({ id: z.string(), at: z.number(), xml: stanzaXml })),
  /** Milliseconds since it was locked. */
  locked: ago.optional(),
  touched: ago,
  /** Milliseconds since the last message of each user. */
  spoke: z.array(z.tuple([z.string(), ago])),
  invited: z.array(z.tuple([z.string(), z.string()])),
  applicants: z.array(z.string()),
  listChanges: z.array(
    z.object({
      since: z.string(),
      until: z.string(),
      user: z.string(),
      before: z.enum(affiliations),
      affiliation: z.enum(affiliations),
    }),
  ),
  activity: z.object({ hours: z.number(), counts: z.array(z.number()), since: ago }),
});
type State = z.output<typeof schema>;

/** The rooms in memory, for the hook `moves`. */
export const roomsInMemory = (rooms: Rooms, isAnonymous: (bare: string) => boolean): Memory<State> => ({
  name: 'muc.rooms',
  schema,
  *describe(concerns) {
    for (const room of rooms.loaded()) if (concerns(room.jid.bare)) yield [room.jid.bare, describe(room, isAnonymous)];
  },
  restore: (bare, state) => rooms.restore(Jid.parse(bare), (room) => restore(rooms, room, state)),
});

const hourMs = 3_600_000;

function describe(room: Room, isAnonymous: (bare: string) => boolean): State {
  const now = monotonic();
  const { activity } = room;
  return {
    occupants: [...room.occupants.values()].map(({ nick, user, role, seats }) => ({
      nick,
      user: user.full,
      role,
      seats: seats.map((seat) => ({ jid: seat.jid.full, presence: seat.presence.toXml(NS.client) })),
    })),
    guests: [...room.members].filter(([user]) => isAnonymous(user)),
    history: room.config.archived
      ? []
      : room.history.map(({ id, at, stanza }) => ({ id, at, xml: stanza.toXml(NS.client) })),
    locked: room.lockedSince === undefined ? undefined : now - room.lockedSince,
    touched: now - room.touched,
    spoke: [...room.spoke].map(([user, at]) => [user, now - at]),
    invited: [...room.invited],
    applicants: [...room.applicants],
    listChanges: [...room.listChanges],
    activity: {
      hours: Math.floor(now / hourMs) - activity.hour,
      counts: activity.counts,
      since: now - activity.since,
    },
  };
}

/** Goes on with a room that was read from the storage. */
function restore(rooms: Rooms, room: Room, state: State): void {
  const now = monotonic();
  for (const [user, member] of state.guests) room.setMember(user, member);
  for (const { nick, user, role, seats } of state.occupants) {
    const jid = room.jid.withResource(nick);
    const owner = Jid.parse(user);
    const occupant: Occupant = { nick, jid, user: owner, id: room.occupantId(owner), role, seats: [], shown: {} };
    for (const one of seats) {
      const [jid, presence] = [Jid.parse(one.jid), Stanza.parse(one.presence)];
      const seat: Seat = { jid, session: undefined, occupant, presence, heardAt: now };
      occupant.seats.push(seat);
      room.seats.set(seat.jid.full, seat);
      rooms.countJoin(owner.bare, 1);
    }
    room.occupants.set(keyOf(nick), occupant);
  }
  if (!room.config.archived) {
    const remembered = state.history.map(({ id, at, xml }): Remembered => ({ id, at, stanza: Stanza.parse(xml) }));
    setHistory(room, remembered);
  }
  room.lockedSince = state.locked === undefined ? undefined : now - state.locked;
  room.touched = now - state.touched;
  for (const [user, since] of state.spoke) room.spoke.set(user, now - since);
  for (const [invitee, inviter] of state.invited) room.invited.set(invitee, inviter);
  for (const user of state.applicants) room.applicants.add(user);
  room.listChanges.push(...state.listChanges);
  Object.assign(room.activity, {
    hour: Math.floor(now / hourMs) - state.activity.hours,
    counts: [...state.activity.counts],
    since: now - state.activity.since,
  });
}
