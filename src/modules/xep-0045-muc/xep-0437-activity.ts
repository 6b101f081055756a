/**
 * XEP-0437: notifies subscribers once about new messages in each of their rooms while they are not in it. A user's
 * rooms are those in which they have an affiliation other than outcast. The time at which they left a room is stored,
 * and later messages are looked up in the archive. In a room without an archive, only messages sent during the
 * subscription count.
 *
 * Clients subscribe at the service's home, which tells all nodes: each room notifies of its messages itself.
 */
import { z } from 'zod';
import { Jid } from '../../server/address/jid.js';
import { defineQuestion, type Maybe } from '../../server/module/index.js';
import type { Origin } from '../../server/routing/passage.js';
import type { Session } from '../../server/routing/session.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { randomId, stanzaId } from '../../server/stanza/ids.js';
import { NS } from '../../server/stanza/ns.js';
import { Stanza } from '../../server/stanza/stanza.js';
import { jid } from '../../server/stanza/stored.js';
import { el } from '../../server/xml/element.js';
import type { Muc } from './muc.js';
import { isListed, type Room, type Seat } from './room.js';
import type { Subscription } from './subscribers.js';

/** Subscriptions per user. */
const mostSubscriptions = 20;
/** Rooms per subscription. */
const mostRooms = 500;
/** Latest messages of a room that are searched for one that counts. */
const mostRead = 50;
const readAtOnce = 20;

/** Sent to every node by the home of the service: a client subscribes, under this id, or no longer does: null. */
export const subscribing = defineQuestion({
  name: 'muc.activity_subscription',
  given: z.object({ client: jid, id: z.string().nullable() }),
  answer: z.null(),
});

/**
 * Asked at the home of a room: whether it has messages after `at` that the client has not been notified about. `lost`: the
 * room is gone, or the user has no affiliation any longer.
 */
export const unseen = defineQuestion({
  name: 'muc.activity_unseen',
  given: z.object({ client: jid, at: z.string() }),
  answer: z.enum(['active', 'quiet', 'lost']),
});

/** Presence to the service itself. Throws StanzaError. */
export function receiveSubscription(muc: Muc, stanza: Stanza, origin: Origin): Maybe<void> {
  const from = stanza.from!;
  if (stanza.type === 'unavailable' || stanza.type === 'error') return unsubscribe(muc, from);
  if (stanza.type !== undefined || !stanza.has(NS.rai, 'rai')) return;
  return subscribe(muc, from, origin.session?.jid.full === from.full ? origin.session : undefined);
}

async function subscribe(muc: Muc, client: Jid, session: Session | undefined): Promise<void> {
  const { subscribers, host } = muc;
  const { clients, users, held, portions } = subscribers;
  release(muc, client);
  const isFull = !clients.has(client.full) && (users.get(client.bare)?.size ?? 0) >= mostSubscriptions;
  const holder = host.holderOf(client);
  if (isFull || portions.take(holder) !== undefined) {
    host.limitHit('muc.activity_subscriptions');
    await unsubscribe(muc, client);
    throw new StanzaError('resource-constraint', 'The limit of subscriptions is reached.', { type: 'wait' });
  }
  held.set(client.full, { session, holder });
  try {
    await host.askNodes(subscribing, { client: client.full, id: randomId(9) });
  } catch (error) {
    await unsubscribe(muc, client);
    throw error;
  }
  await notifyMissed(muc, client);
}

/** At the home of the service: the client's subscription no longer counts. */
function release({ subscribers: { held, portions } }: Muc, { full }: Jid): void {
  const subscribed = held.get(full);
  if (subscribed === undefined) return;
  held.delete(full);
  portions.give(subscribed.holder);
}

/** At the home of the service. */
export function unsubscribe(muc: Muc, client: Jid): Maybe<void> {
  release(muc, client);
  if (!muc.subscribers.clients.has(client.full)) return;
  const told = muc.host.askNodes(subscribing, { client: client.full, id: null });
  if (told instanceof Promise) return told.then(() => {});
}

/** At every node. */
export function noteSubscription(
  { subscribers, rooms }: Muc,
  { client, id }: { readonly client: string; readonly id: string | null },
): null {
  const { clients, users } = subscribers;
  const jid = Jid.parse(client);
  const all = users.get(jid.bare) ?? new Set();
  const old = clients.get(jid.full);
  if (old !== undefined) all.delete(old);
  if (id === null) {
    clients.delete(jid.full);
    if (all.size === 0 && rooms.joins(jid.bare) === 0) users.delete(jid.bare);
    return null;
  }
  const subscription: Subscription = { jid, id, notified: new Set() };
  clients.set(jid.full, subscription);
  users.set(jid.bare, all.add(subscription));
  subscribers.count++;
  return null;
}

/** Removes subscriptions of local clients whose sessions ended without an unavailable presence. */
export async function removeGhostSubscriptions(muc: Muc): Promise<void> {
  for (const [full, { session }] of [...muc.subscribers.held])
    if (session?.isOver === true) await unsubscribe(muc, Jid.parse(full));
}

/** "Rules": a message was sent; notifies every subscriber who has not been notified yet. */
export function notifyActivity(muc: Muc, room: Room, stanza: Stanza): void {
  const { users, count } = muc.subscribers;
  if (users.size === 0 || room.notifiedCount === count || room.lockedSince !== undefined || !isActivity(stanza)) return;
  room.notifiedCount = count;
  const candidates = users.size < room.members.size ? users : room.members;
  for (const user of candidates.keys()) {
    const subscriptions = users.get(user);
    if (subscriptions === undefined || !isListed(room.members.get(user))) continue;
    for (const subscription of subscriptions)
      if (room.seat(subscription.jid) === undefined && marks(subscription, room.jid.bare))
        send(muc, subscription.jid, [room.jid.bare]);
  }
}

/** A client has left the room: later messages are unseen. */
export function noteLeaving(muc: Muc, room: Room, { jid }: Seat): void {
  const { clients, users } = muc.subscribers;
  const subscriptions = users.get(jid.bare);
  if (subscriptions === undefined) return;
  clients.get(jid.full)?.notified.delete(room.jid.bare);
  room.notifiedCount = undefined;
  if (subscriptions.size === 0 && muc.rooms.joins(jid.bare) === 0) users.delete(jid.bare);
  if (room.isDestroyed || !isListed(room.members.get(jid.bare))) return;
  // XEP-0175: its data may have been deleted already.
  if (muc.host.isAnonymous(jid.bare)) return;
  muc.stores.muc_left.set(jid.bare, [[room.jid.bare, { at: stanzaId(room.jid.bare) }]]).catch((error: unknown) => {
    muc.log.warn({ err: error, room: room.jid.bare }, 'could not store when a user left the room');
  });
}

/** "Rules": notifies about rooms with messages since the user left. */
async function notifyMissed(muc: Muc, client: Jid): Promise<void> {
  const { muc_left } = muc.stores;
  const left = await muc_left.page(client.bare, { limit: mostRooms });
  const active: string[] = [];
  const lost: string[] = [];
  for (let done = 0; done < left.length; done += readAtOnce) {
    const some = left.slice(done, done + readAtOnce);
    const found = await Promise.all(
      some.map(([room, { at }]) => muc.host.askHome(unseen, Jid.parse(room), { client: client.full, at })),
    );
    some.forEach(([room], index) => {
      if (found[index] === 'active') active.push(room);
      else if (found[index] === 'lost') lost.push(room);
    });
  }
  if (lost.length > 0) await muc_left.delete(client.bare, lost);
  if (muc.subscribers.clients.has(client.full)) send(muc, client, active);
}

/** At the home of a room: as the question `unseen`. An active room counts as notified. */
export async function lookInto(
  muc: Muc,
  jid: Jid,
  { client, at }: { readonly client: string; readonly at: string },
): Promise<'active' | 'quiet' | 'lost'> {
  const user = Jid.parse(client);
  const room = muc.rooms.peek(jid.bare);
  const member =
    room === undefined ? await muc.stores.muc_members.get(jid.bare, user.bare) : room.members.get(user.bare);
  if (!isListed(member)) return 'lost';
  if (room !== undefined && room.occupantsOf(user.bare).length > 0) return 'quiet';
  const { entries } = await muc.archive.read(jid, { after: at, limit: mostRead, backwards: true });
  if (!entries.some(({ value }) => isActivity(Stanza.parse(value)))) return 'quiet';
  const subscription = muc.subscribers.clients.get(client);
  return subscription !== undefined && marks(subscription, jid.bare) ? 'active' : 'quiet';
}

/** Marks a room as one that the client was notified about. Returns false if it was already, or there are too many. */
function marks({ notified }: Subscription, room: string): boolean {
  if (notified.has(room) || notified.size >= mostRooms) return false;
  notified.add(room);
  return true;
}

function send({ host, jid: service }: Muc, client: Jid, rooms: readonly string[]): void {
  if (rooms.length === 0) return;
  const activity = rooms.map((room) => el('activity', null, room));
  void host.route(Stanza.build('message', { from: service, to: client }, el('rai', { xmlns: NS.rai }, ...activity)));
}

/** A new readable message: no correction (XEP-0308), reaction or marker. */
const isActivity = (stanza: Stanza): boolean => stanza.has(NS.client, 'body') && !stanza.has(NS.correct, 'replace');
