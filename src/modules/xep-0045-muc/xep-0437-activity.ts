/**
 * XEP-0437: notifies subscribers once about new messages in each of their rooms while they are not in it. A user's
 * rooms are those in which they have an affiliation other than outcast. The time at which they left a room is stored,
 * and later messages are looked up in the archive. In a room without an archive, only messages sent during the
 * subscription count.
 */

import { Jid } from '../../server/address/jid.js';
import type { Maybe } from '../../server/module/index.js';
import type { Origin } from '../../server/routing/passage.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { stanzaId } from '../../server/stanza/ids.js';
import { NS } from '../../server/stanza/ns.js';
import { Stanza } from '../../server/stanza/stanza.js';
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

/** Presence to the service itself. Throws StanzaError. */
export function receiveSubscription(muc: Muc, stanza: Stanza, origin: Origin): Maybe<void> {
  const from = stanza.from!;
  if (stanza.type === 'unavailable' || stanza.type === 'error') return unsubscribe(muc, from);
  if (stanza.type !== undefined || !stanza.has(NS.rai, 'rai')) return;
  const { clients, users } = muc.subscribers;
  unsubscribe(muc, from);
  const others = users.get(from.bare) ?? new Set();
  const holder = muc.host.holderOf(from);
  if (others.size >= mostSubscriptions || muc.subscribers.portions.take(holder) !== undefined) {
    muc.host.limitHit('muc.activity_subscriptions');
    throw new StanzaError('resource-constraint', 'The limit of subscriptions is reached.', { type: 'wait' });
  }
  const session = origin.session?.jid.full === from.full ? origin.session : undefined;
  const subscription: Subscription = { jid: from, session, notified: new Set(), holder };
  clients.set(from.full, subscription);
  users.set(from.bare, others.add(subscription));
  muc.subscribers.count++;
  return notifyMissed(muc, subscription);
}

export function unsubscribe({ subscribers, rooms }: Muc, client: Jid): void {
  const subscription = subscribers.clients.get(client.full);
  if (subscription === undefined) return;
  subscribers.clients.delete(client.full);
  subscribers.portions.give(subscription.holder);
  const others = subscribers.users.get(client.bare)!;
  others.delete(subscription);
  if (others.size === 0 && rooms.joins(client.bare) === 0) subscribers.users.delete(client.bare);
}

/** Removes subscriptions of local clients whose sessions ended without an unavailable presence. */
export function removeGhostSubscriptions(muc: Muc): void {
  for (const { jid, session } of muc.subscribers.clients.values()) if (session?.isOver === true) unsubscribe(muc, jid);
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
      if (room.seat(subscription.jid) === undefined) notify(muc, subscription, [room.jid.bare]);
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
  muc.stores.muc_left.set(jid.bare, [[room.jid.bare, { at: stanzaId(room.jid.bare) }]]).catch((error: unknown) => {
    muc.log.warn({ err: error, room: room.jid.bare }, 'could not store when a user left the room');
  });
}

/** "Rules": notifies about rooms with messages since the user left. */
async function notifyMissed(muc: Muc, subscription: Subscription): Promise<void> {
  const { muc_left } = muc.stores;
  const { jid } = subscription;
  const left = await muc_left.page(jid.bare, { limit: mostRooms });
  const active: string[] = [];
  const lost: string[] = [];
  for (let done = 0; done < left.length; done += readAtOnce) {
    const some = left.slice(done, done + readAtOnce);
    const found = await Promise.all(some.map(([room, { at }]) => lookInto(muc, Jid.parse(room), jid, at)));
    some.forEach(([room], index) => {
      if (found[index] === 'active') active.push(room);
      else if (found[index] === 'lost') lost.push(room);
    });
  }
  if (lost.length > 0) await muc_left.delete(jid.bare, lost);
  if (muc.subscribers.clients.get(jid.full) === subscription) notify(muc, subscription, active);
}

/** `lost` if the room is gone or the user has no affiliation any longer. */
async function lookInto(muc: Muc, jid: Jid, user: Jid, at: string): Promise<'active' | 'quiet' | 'lost'> {
  const room = muc.rooms.peek(jid.bare);
  const member =
    room === undefined ? await muc.stores.muc_members.get(jid.bare, user.bare) : room.members.get(user.bare);
  if (!isListed(member)) return 'lost';
  if (room !== undefined && room.occupantsOf(user.bare).length > 0) return 'quiet';
  const { entries } = await muc.archive.read(jid, { after: at, limit: mostRead, backwards: true });
  return entries.some(({ value }) => isActivity(Stanza.parse(value))) ? 'active' : 'quiet';
}

/** Notifies about the rooms that the client has not been notified about. */
function notify({ host, jid: service }: Muc, { jid, notified }: Subscription, rooms: readonly string[]): void {
  const unseen = rooms.filter((room) => !notified.has(room)).slice(0, mostRooms - notified.size);
  if (unseen.length === 0) return;
  for (const room of unseen) notified.add(room);
  const activity = unseen.map((room) => el('activity', null, room));
  void host.route(Stanza.build('message', { from: service, to: jid }, el('rai', { xmlns: NS.rai }, ...activity)));
}

/** A new readable message: no correction (XEP-0308), reaction or marker. */
const isActivity = (stanza: Stanza): boolean => stanza.has(NS.client, 'body') && !stanza.has(NS.correct, 'replace');
