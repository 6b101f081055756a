/**
 * XEP-0437: who asks for it is told in which of his rooms something is said while he is not there: once for each stay
 * outside. His rooms are those that have him on a list, but for banned ones. When he left them is kept, and what was said
 * since is found in the archive: of a room without one he hears only what is said while he is subscribed.
 */

import type { Origin } from '../../server/routing/passage.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { stanzaId } from '../../server/stanza/ids.js';
import { Jid } from '../../server/stanza/jid.js';
import { NS } from '../../server/stanza/ns.js';
import { Stanza } from '../../server/stanza/stanza.js';
import { el } from '../../server/xml/element.js';
import type { Muc } from './muc.js';
import { isListed, type Room, type Seat } from './room.js';
import type { Subscription } from './subscribers.js';

/** Of one user. */
const mostSubscriptions = 20;
/** That one subscription tells of. */
const mostRooms = 500;
/** Latest messages of a room that are looked through for one that counts. */
const mostRead = 50;
const readAtOnce = 20;

/** Presence to the service itself. Throws StanzaError. */
export function receiveSubscription(muc: Muc, stanza: Stanza, origin: Origin): void | Promise<void> {
  const from = stanza.from!;
  if (stanza.type === 'unavailable' || stanza.type === 'error') return unsubscribe(muc, from);
  if (stanza.type !== undefined || !stanza.has(NS.rai, 'rai')) return;
  const { clients, users } = muc.subscribers;
  unsubscribe(muc, from);
  const others = users.get(from.bare) ?? new Set();
  const holder = muc.host.holderOf(from);
  if (others.size >= mostSubscriptions || muc.subscribers.portions.take(holder) !== undefined) {
    muc.host.limitHit('muc.activity_subscriptions');
    throw new StanzaError('resource-constraint', 'There are too many subscriptions.', { type: 'wait' });
  }
  const session = origin.session?.jid.full === from.full ? origin.session : undefined;
  const subscription: Subscription = { jid: from, session, told: new Set(), holder };
  clients.set(from.full, subscription);
  users.set(from.bare, others.add(subscription));
  muc.subscribers.count++;
  return tellOfEarlier(muc, subscription);
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

/** Clients of this server whose sessions ended without a word to the service. */
export function removeGhostSubscriptions(muc: Muc): void {
  for (const { jid, session } of muc.subscribers.clients.values()) if (session?.isOver === true) unsubscribe(muc, jid);
}

/** "Rules": something was said, and everybody who waits for it is told. */
export function tellActivity(muc: Muc, room: Room, stanza: Stanza): void {
  const { users, count } = muc.subscribers;
  if (users.size === 0 || room.toldAll === count || room.lockedSince !== undefined || !isActivity(stanza)) return;
  room.toldAll = count;
  const candidates = users.size < room.members.size ? users : room.members;
  for (const user of candidates.keys()) {
    const subscriptions = users.get(user);
    if (subscriptions === undefined || !isListed(room.members.get(user))) continue;
    for (const subscription of subscriptions)
      if (room.seat(subscription.jid) === undefined) tell(muc, subscription, [room.jid.bare]);
  }
}

/** A client is in the room no more: what is said from now on is news to it. */
export function noteLeaving(muc: Muc, room: Room, { jid }: Seat): void {
  const { clients, users } = muc.subscribers;
  const subscriptions = users.get(jid.bare);
  if (subscriptions === undefined) return;
  clients.get(jid.full)?.told.delete(room.jid.bare);
  room.toldAll = undefined;
  if (subscriptions.size === 0 && muc.rooms.joins(jid.bare) === 0) users.delete(jid.bare);
  if (room.isGone || !isListed(room.members.get(jid.bare))) return;
  muc.stores.muc_left.set(jid.bare, [[room.jid.bare, { at: stanzaId(room.jid.bare) }]]).catch((error: unknown) => {
    muc.log.warn({ err: error, room: room.jid.bare }, 'it was not kept when somebody left the room');
  });
}

/** "Rules": where something was said since he was there. */
async function tellOfEarlier(muc: Muc, subscription: Subscription): Promise<void> {
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
  if (muc.subscribers.clients.get(jid.full) === subscription) tell(muc, subscription, active);
}

/** `lost`: the room is gone, or has him on no list any more. */
async function lookInto(muc: Muc, jid: Jid, user: Jid, at: string): Promise<'active' | 'quiet' | 'lost'> {
  const room = muc.rooms.peek(jid.bare);
  const member =
    room === undefined ? await muc.stores.muc_members.get(jid.bare, user.bare) : room.members.get(user.bare);
  if (!isListed(member)) return 'lost';
  if (room !== undefined && room.occupantsOf(user.bare).length > 0) return 'quiet';
  const { entries } = await muc.archive.read(jid, { after: at, limit: mostRead, backwards: true });
  return entries.some(({ value }) => isActivity(Stanza.parse(value))) ? 'active' : 'quiet';
}

/** Tells of those rooms that it was not told of. */
function tell({ host, jid: service }: Muc, { jid, told }: Subscription, rooms: readonly string[]): void {
  const news = rooms.filter((room) => !told.has(room)).slice(0, mostRooms - told.size);
  if (news.length === 0) return;
  for (const room of news) told.add(room);
  const activity = news.map((room) => el('activity', null, room));
  void host.route(Stanza.build('message', { from: service, to: jid }, el('rai', { xmlns: NS.rai }, ...activity)));
}

/** A new message to read: no correction (XEP-0308), no reaction, no marker. */
const isActivity = (stanza: Stanza): boolean => stanza.has(NS.client, 'body') && !stanza.has(NS.correct, 'replace');
