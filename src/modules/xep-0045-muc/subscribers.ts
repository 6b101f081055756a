/** XEP-0437: clients subscribed to activity in rooms. */

import { z } from 'zod';
import type { Jid } from '../../server/address/jid.js';
import { Portions } from '../../server/limits/portions.js';
import type { Memory } from '../../server/module/index.js';
import type { Session } from '../../server/routing/session.js';
import { jid } from '../../server/stanza/stored.js';

/** A client's subscription; lasts while it is available to the service. Every node has it, for the rooms that live there. */
export interface Subscription {
  readonly jid: Jid;
  /** Another one if the client subscribes again. */
  readonly id: string;
  /** Rooms of this node that the client was notified about and has not been in since. */
  readonly notified: Set<string>;
}

/** What the home of the service knows of it besides. */
export interface Subscribed {
  /** Undefined for clients of other servers and nodes. */
  readonly session: Session | undefined;
  /** The user it counts for in `activity_subscriptions`. */
  readonly holder: string;
}

export interface Subscribers {
  /** By full address. */
  readonly clients: Map<string, Subscription>;
  /** By full address, at the home of the service. Bounded by `portions`, and `clients` with it. */
  readonly held: Map<string, Subscribed>;
  /**
   * By bare address. Also has users without subscriptions who are still in rooms, while these remove them one by one.
   */
  readonly users: Map<string, Set<Subscription>>;
  /** Total ever made. A room that has notified all up to this count has nothing to do until the next subscription. */
  count: number;
  /** Shares of `activity_subscriptions`. */
  readonly portions: Portions;
}

/** Stored by user and room. */
export interface Left {
  /** A message id: messages that arrived after the user left sort after it. */
  readonly at: string;
}

/**
 * These accounts and rooms have moved to another node, or from one: the end of the sessions is not noticed here any more,
 * and the next home of a room knows whom it has notified.
 */
export function followsNone({ clients, held }: Subscribers, concerns: (bare: string) => boolean): void {
  for (const { notified } of clients.values()) for (const room of notified) if (concerns(room)) notified.delete(room);
  for (const [full, { session, holder }] of held)
    if (session !== undefined && concerns(session.jid.bare)) held.set(full, { session: undefined, holder });
}

/** The rooms of this node that are in memory. */
interface RoomsHere {
  loaded(): Iterable<{ readonly jid: Jid; readonly occupants: ReadonlyMap<string, { readonly user: Jid }> }>;
  /** Number of clients in rooms, by account. */
  joins(user: string): number;
}

/**
 * Occupants of rooms that move who have subscribed before: when they leave, that is noted at the room's new home (see
 * `Subscribers.users`). For the hook `moves`.
 */
export const subscribedOccupants = ({ users }: Subscribers, rooms: RoomsHere): Memory<string> => ({
  name: 'muc.subscribed_occupants',
  schema: jid,
  *describe(concerns) {
    for (const { jid: room, occupants } of rooms.loaded()) {
      if (!concerns(room.bare)) continue;
      for (const { user } of occupants.values()) if (users.has(user.bare)) yield [room.bare, user.bare];
    }
  },
  restore: (_, user) => {
    if (!users.has(user)) users.set(user, new Set());
  },
});

/** Forgets users who have neither a subscription nor a client in a room of this node. */
export function forgetFormer({ users }: Subscribers, rooms: RoomsHere): void {
  for (const [user, subscriptions] of users)
    if (subscriptions.size === 0 && rooms.joins(user) === 0) users.delete(user);
}

/** A client that was notified about a room that moves. `id`: of its subscription. */
const movedNotice = z.object({ client: jid, id: z.string() });

/** Who was notified about which room, for the hook `moves`. */
export const notices = ({ clients }: Subscribers): Memory<z.output<typeof movedNotice>> => ({
  name: 'muc.notified',
  schema: movedNotice,
  *describe(concerns) {
    for (const [client, { id, notified }] of clients)
      for (const room of notified) if (concerns(room)) yield [room, { client, id }];
  },
  restore: (room, { client, id }) => {
    const subscription = clients.get(client);
    // Otherwise it has subscribed again meanwhile.
    if (subscription?.id === id) subscription.notified.add(room);
  },
});

export const noSubscribers = (all: number): Subscribers => ({
  clients: new Map(),
  held: new Map(),
  users: new Map(),
  count: 0,
  portions: new Portions(() => ({ all, each: all })),
});
