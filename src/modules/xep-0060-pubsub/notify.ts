/**
 * §7.1.2, §12.4 and XEP-0163 §4: recipients of notifications. These are explicit subscribers and, for nodes of an
 * account, interested clients (with the feature `NODE+notify`) of the account, of its contacts, and of others present
 * at it.
 */

import { z } from 'zod';
import { Jid } from '../../server/address/jid.js';
import { defineQuestion, type Maybe } from '../../server/module/index.js';
import type { Audience, Origin } from '../../server/routing/passage.js';
import type { Session } from '../../server/routing/session.js';
import type { Stanza } from '../../server/stanza/stanza.js';
import { hasFrom } from '../../server/stanza/subscription.js';
import type { RosterItem } from '../rfc-6121-roster/services.js';
import { type Kind, notifyAbove } from './above.js';
import { barrier, entryFor } from './access.js';
import { deliver, isActive, subids, toSubscriber } from './delivery.js';
import { subscriptionsAt } from './holders.js';
import type { Holder, Node, Subscriber } from './node.js';
import type { PubSub } from './pubsub.js';
import { solicited, speakersOf } from './speakers.js';

type Roster = ReadonlyMap<string, RosterItem>;

export interface Notice {
  /** §8.4.2: whether pending subscribers are notified too. */
  readonly isForPending?: boolean;
  /** What it is about, for subscribers of collections that contain the node (XEP-0248); default items. */
  readonly kind?: Kind;
  /** The bare address of the user who caused it. */
  readonly by?: string | undefined;
}

export const interest = (node: string): string => `${node}+notify`;

/** Does not wait for delivery; errors are logged. */
export function notify(pubsub: PubSub, holder: Holder, node: Node, event: Stanza, notice: Notice = {}): void {
  if (!node.config['pubsub#deliver_notifications']) return;
  const speakers = speakersOf(holder, node, notice.by);
  notifyAbove(pubsub, holder, node, event, notice.kind ?? 'items', speakers);
  if (!holder.isAccount) {
    toSubscribers(pubsub, holder, node, event, notice, speakers);
    return;
  }
  const contacts = pubsub.roster.get(holder.jid.bare);
  if (contacts instanceof Promise)
    pubsub.aside(contacts.then((items) => ofAccount(pubsub, holder, node, event, notice, items, speakers)));
  else ofAccount(pubsub, holder, node, event, notice, contacts, speakers);
}

function ofAccount(
  pubsub: PubSub,
  holder: Holder,
  node: Node,
  event: Stanza,
  notice: Notice,
  contacts: Roster,
  speakers: readonly Jid[],
): void {
  const { host } = pubsub;
  const origin = solicited(speakers);
  const owner = holder.jid;
  const wanted = interest(node.name);
  // XEP-0163 §4.3.2: a subscriber reached at their clients is not notified at the bare address too.
  const reached = node.subscriptions.size === 0 ? undefined : new Set<string>();
  const isLeft = (jid: Jid): boolean => {
    if (reached === undefined) return true;
    if (subscriptionsAt(holder, node, jid).some(isActive)) return false;
    reached.add(jid.bare);
    return true;
  };

  for (const session of host.sessions(owner.bare))
    if (wants(pubsub, session, wanted) && isLeft(session.jid)) session.send(event.with({ to: session.jid }));

  // The contact's home knows which of its clients are interested.
  const toWilling = solicited(speakers, { kind: 'willing', feature: wanted, except: [] });
  const toContact = (contact: string): Origin | undefined => {
    const except = subscribedResources(holder, node, contact);
    return except.length === 0 ? toWilling : solicited(speakers, { kind: 'willing', feature: wanted, except });
  };
  for (const [contact, item] of contacts)
    if (isContactHere(pubsub, holder, contact, item) && barrier(holder, node, contact, item) === undefined)
      pubsub.aside(deliver(pubsub, event.with({ to: Jid.parse(contact) }), toContact(contact)));

  for (const { jid, features } of visitorsOf(pubsub, holder, contacts))
    if (features.has(wanted) && barrier(holder, node, jid.bare, contacts.get(jid.bare)) === undefined && isLeft(jid))
      pubsub.aside(deliver(pubsub, event.with({ to: jid }), origin));
  toSubscribers(pubsub, holder, node, event, notice, speakers, { reached, contacts });
}

/** Whether this is a local contact who sees the account; they are notified at the bare address. */
export const isContactHere = (
  { host }: PubSub,
  { jid }: Holder,
  contact: string,
  item: RosterItem | undefined,
): boolean => hasFrom(item) && contact !== jid.bare && contact.endsWith(`@${host.domain}`);

/** Full addresses of an account with explicit subscriptions to the node. */
function subscribedResources(holder: Holder, node: Node, bare: string): string[] {
  if (node.subscriptions.size === 0) return [];
  const own = [...(holder.subscribers.get(bare) ?? [])];
  return own
    .filter((one) => one.node.name === node.name && one.jid.resource !== undefined && isActive(one))
    .map(({ jid }) => jid.full);
}

/** Asked at every node: the number of clients of these local accounts with a feature. */
export const wanting = defineQuestion({
  name: 'pubsub.wanting',
  given: z.object({ accounts: z.array(z.string()), feature: z.string() }),
  answer: z.number(),
});

export function countWanting(
  pubsub: PubSub,
  { accounts, feature }: { readonly accounts: readonly string[]; readonly feature: string },
): number {
  let count = 0;
  for (const owner of accounts)
    for (const session of pubsub.host.sessions(owner)) if (wants(pubsub, session, feature)) count++;
  return count;
}

/** Approximate number of recipients of an item; includes contacts' clients that may not read it. */
export function audience(
  pubsub: PubSub,
  holder: Holder,
  name: string,
  node: Node | undefined,
  contacts: Roster | undefined,
): Maybe<number> {
  const feature = interest(name);
  let count = node?.subscriptions.size ?? 0;
  if (contacts === undefined) return count;
  for (const { features } of visitorsOf(pubsub, holder, contacts)) if (features.has(feature)) count++;
  const accounts = [holder.jid.bare];
  for (const [contact, item] of contacts) if (isContactHere(pubsub, holder, contact, item)) accounts.push(contact);
  const sum = (counts: readonly number[]) => counts.reduce((all, one) => all + one, count);
  const counted = pubsub.host.askNodes(wanting, { accounts, feature });
  return counted instanceof Promise ? counted.then(sum) : sum(counted);
}

/** Clients present at an account that are not sessions of a local contact. */
export function* visitorsOf(
  { host, caps }: PubSub,
  holder: Holder,
  contacts: Roster,
): Iterable<{ readonly jid: Jid; readonly features: ReadonlySet<string> }> {
  for (const visitor of caps.visitors(holder.jid.bare).values())
    if (visitor.jid.domain !== host.domain || !hasFrom(contacts.get(visitor.jid.bare)))
      yield { jid: visitor.jid, features: visitor.features() };
}

export const wants = ({ caps }: PubSub, session: Session, feature: string): boolean =>
  session.presence !== undefined && caps.features(session).has(feature);

function toSubscribers(
  pubsub: PubSub,
  holder: Holder,
  node: Node,
  event: Stanza,
  { isForPending = false }: Notice,
  speakers: readonly Jid[],
  covered?: Covered,
): void {
  for (const subscriber of [...node.subscriptions.values()]) {
    const { jid, state } = subscriber;
    const isPending = state === 'pending' && isForPending;
    if (!isPending && !isActive(subscriber)) continue;
    if (jid.resource === undefined && covered?.reached?.has(jid.bare)) continue;
    const all = node.several && !isPending ? subscriptionsAt(holder, node, jid).filter(isActive) : [subscriber];
    if (all[0] !== subscriber) continue; // already sent, for all subscriptions of the address
    const origin = solicited(speakers, covered && insteadOf(pubsub, holder, node, subscriber, covered.contacts));
    const send = (item: RosterItem | undefined): Maybe<void> => {
      const obstacle = barrier(holder, node, jid.bare, item);
      if (obstacle === undefined || (isPending && obstacle === 'authorize'))
        return all.length === 1
          ? toSubscriber(pubsub, holder, subscriber, event, origin)
          : toSubscriber(pubsub, holder, combined(all), event.plus(subids(all)), origin);
    };
    const item = entryFor(pubsub, holder, node, jid.bare);
    pubsub.aside(item instanceof Promise ? item.then(send) : send(item));
  }
}

/** Recipients notified as contacts: `reached` holds bare addresses. */
interface Covered {
  readonly reached: ReadonlySet<string> | undefined;
  readonly contacts: Roster;
}

/** XEP-0163 §4.3.2: skips clients that are notified as those of a contact. */
function insteadOf(
  pubsub: PubSub,
  holder: Holder,
  node: Node,
  { jid }: Subscriber,
  contacts: Roster,
): Audience | undefined {
  const item = contacts.get(jid.bare);
  if (jid.resource !== undefined || !isContactHere(pubsub, holder, jid.bare, item)) return undefined;
  if (barrier(holder, node, jid.bare, item) !== undefined) return undefined;
  return {
    kind: 'unwilling',
    feature: interest(node.name),
    except: subscribedResources(holder, node, jid.bare),
  };
}

/** §6.1.6: one notification for all subscriptions of an address, with the union of their options (§12.7). */
function combined([first, ...others]: readonly Subscriber[]): Subscriber {
  let { shows, body, by, ...rest } = first!;
  for (const one of others) {
    by = one.by === undefined ? undefined : by; // one subscription of their own suffices
    shows = shows === undefined || one.shows === undefined ? undefined : [...shows, ...one.shows];
    body ||= one.body;
  }
  return { ...rest, ...(shows && { shows }), ...(body && { body }), ...(by && { by }) };
}
