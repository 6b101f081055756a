/** XEP-0437: who asked to hear of activity in rooms. */
import { Portions } from '../../server/portions.js';
import type { Session } from '../../server/routing/session.js';
import type { Jid } from '../../server/stanza/jid.js';

/** A client's, for as long as it is available to the service. */
export interface Subscription {
  readonly jid: Jid;
  /** Where it is a session of this server. */
  readonly session: Session | undefined;
  /** Rooms that it was told of and has not been in since. */
  readonly told: Set<string>;
  /** Whom the bound for all counts it for. */
  readonly holder: string;
}

export interface Subscribers {
  /** By the full address. */
  readonly clients: Map<string, Subscription>;
  /** By the bare one: also of who has none any more, and still is in rooms; they are left one after the other. */
  readonly users: Map<string, Set<Subscription>>;
  /** How many there have been: a room that has told all of so many has nobody to tell before the next. */
  count: number;
  /** Of `activity_subscriptions`. */
  readonly portions: Portions;
}

/** What is stored of a user and a room. */
export interface Left {
  /** An id as the messages have them: those that he had not heard when he left come after it. */
  readonly at: string;
}

export const noSubscribers = (all: number): Subscribers => ({
  clients: new Map(),
  users: new Map(),
  count: 0,
  portions: new Portions(() => ({ all, each: all })),
});
