/**
 * XEP-0163 §4.3.2, XEP-0060 §12.1: last items sent to a client that becomes available: those of its own account and of
 * the accounts to which it is present, once for each of its interests, and those of nodes it is subscribed to.
 */

import { z } from 'zod';
import { Jid } from '../../server/address/jid.js';
import { defineQuestion, type Maybe } from '../../server/module/index.js';
import type { Session } from '../../server/routing/session.js';
import { StanzaError } from '../../server/stanza/errors.js';
import type { Stanza } from '../../server/stanza/stanza.js';
import { hasFrom, hasTo } from '../../server/stanza/subscription.js';
import type { RosterItem } from '../rfc-6121-roster/services.js';
import { barrier, entryFor } from './access.js';
import { deliver, toSubscriber } from './delivery.js';
import { keyOf } from './holders.js';
import type { Holder, Node, Subscriber } from './node.js';
import { interest, isContactHere, visitorsOf, wants } from './notify.js';
import type { PubSub } from './pubsub.js';
import { solicited, speakersOf } from './speakers.js';

const suffix = '+notify';

/** The names of nodes with a `+notify` feature. */
const interestsIn = (features: ReadonlySet<string>): string[] =>
  [...features].flatMap((feature) => (feature.endsWith(suffix) ? [feature.slice(0, -suffix.length)] : []));

/** An available client, or all clients of a contact. */
interface Recipient {
  readonly jid: Jid;
  /** The names of nodes it wants notifications of. */
  readonly interests: readonly string[];
  /** Whether it is still available and still interested. */
  wants(node: string): boolean;
  /** Set for a session of the account itself; it is sent to directly. */
  readonly session?: Session | undefined;
  /** The recipient's home filters by availability and interest. */
  readonly isChosenAtHome?: true;
}

const ofSession = (pubsub: PubSub, session: Session, features: ReadonlySet<string>): Recipient => ({
  jid: session.jid,
  interests: interestsIn(features),
  wants: (node) => wants(pubsub, session, interest(node)),
  session,
});

/** All clients of a local contact, or one client by full address. */
const ofContact = (jid: Jid, interests: readonly string[]): Recipient => ({
  jid,
  interests,
  wants: () => true,
  isChosenAtHome: true,
});

const ofVisitor = (pubsub: PubSub, owner: string, jid: Jid, features: ReadonlySet<string>): Recipient => ({
  jid,
  interests: interestsIn(features),
  wants: (node) => pubsub.caps.visitors(owner).get(jid.full)?.features().has(interest(node)) === true,
});

/** `gained` are the session's new features. Output is paced by the client. */
export function greet(pubsub: PubSub, session: Session, gained: ReadonlySet<string>): Maybe<void> {
  const recipient = ofSession(pubsub, session, gained);
  if (recipient.interests.length === 0) return;
  const failed = (error: unknown) => pubsub.aside(Promise.reject(error));
  return session.pour(lastItemsFor(pubsub, session, recipient), { lane: '/items', failed });
}

async function* lastItemsFor(pubsub: PubSub, session: Session, recipient: Recipient): AsyncGenerator<undefined, void> {
  const { host, roster } = pubsub;
  const owner = session.jid.toBare();
  await sendLast(pubsub, owner.bare, recipient, undefined);
  yield;
  const here = `@${host.domain}`;
  const wanted = { to: session.jid.full, interests: recipient.interests };
  for (const [contact, item] of await roster.get(owner.bare)) {
    if (session.presence === undefined) return; // unavailable meanwhile
    if (!hasTo(item) || !contact.endsWith(here)) continue;
    const sent = host.askHome(lastItems, Jid.parse(contact), wanted);
    if (!(sent instanceof Promise)) continue;
    await sent.catch(unanswered);
    yield;
  }
}

/** Asked at a local contact: sends the last items of its nodes to a client that became available. */
export const lastItems = defineQuestion({
  name: 'pubsub.last_items',
  given: z.object({ to: z.string(), interests: z.array(z.string()).readonly() }),
  answer: z.null(),
});

export function sendLastItems(
  pubsub: PubSub,
  owner: Jid,
  { to, interests }: { readonly to: string; readonly interests: readonly string[] },
): Maybe<null> {
  // Usually the nodes are cached and none matches: answer synchronously.
  const holder = pubsub.holders.peek(owner.bare);
  if (holder !== undefined && !interests.some((name) => holder.nodes.has(name))) return null;
  return (async () => {
    const jid = Jid.parse(to);
    const entry = (await pubsub.roster.get(owner.bare)).get(jid.bare);
    if (hasFrom(entry)) await sendLast(pubsub, owner.bare, ofContact(jid, interests), entry);
    return null;
  })();
}

/** Asked at a local contact: its clients and the nodes they are interested in. */
export const wishes = defineQuestion({
  name: 'pubsub.wishes',
  given: z.null(),
  answer: z.array(z.object({ jid: z.string(), interests: z.array(z.string()).readonly() })),
});

export const wishesOf = ({ host, caps }: PubSub, owner: Jid) =>
  host
    .sessions(owner.bare)
    .filter(({ presence }) => presence !== undefined)
    .map((session) => ({ jid: session.jid.full, interests: interestsIn(caps.features(session)) }));

/** Ignores a home that does not answer; the others are asked anyway. */
function unanswered(error: unknown): null {
  if (!(error instanceof StanzaError)) throw error;
  return null;
}

/** The same for a client that is present at an account but is not a session of a local contact. */
export async function greetVisitor(pubsub: PubSub, owner: Jid, jid: Jid, gained: ReadonlySet<string>): Promise<void> {
  const recipient = ofVisitor(pubsub, owner.bare, jid, gained);
  if (recipient.interests.length === 0) return;
  await sendLast(pubsub, owner.bare, recipient, (await pubsub.roster.get(owner.bare)).get(jid.bare));
}

/** A client has become present at the service: sends `on_sub_and_presence` items of its subscriptions. */
export async function greetSubscriber(pubsub: PubSub, holder: Holder, jid: Jid): Promise<void> {
  const sent = new Set<string>();
  for (const subscriber of [...(holder.subscribers.get(jid.bare) ?? [])]) {
    if (subscriber.jid.resource !== undefined && subscriber.jid.full !== jid.full) continue;
    const { node } = subscriber;
    const key = keyOf(node.name, subscriber.jid.full); // once per node, whatever the number of subscriptions
    if (node.config['pubsub#send_last_published_item'] === 'on_sub_and_presence' && !sent.has(key) && sent.add(key))
      await sendLastTo(pubsub, holder, subscriber, jid);
  }
}

/**
 * A contact gained access to an account or to more of its nodes (XEP-0163 §7, XEP-0060 §12.1): sends the last items of
 * the newly readable nodes to the contact's clients. `before` is the previous roster entry.
 */
export async function introduce(
  pubsub: PubSub,
  owner: Jid,
  contact: Jid,
  entry: RosterItem,
  before: RosterItem | undefined,
): Promise<void> {
  for (const recipient of await clientsOf(pubsub, await pubsub.holders.get(owner.bare), contact))
    await sendLast(pubsub, owner.bare, recipient, entry, before);
}

/**
 * XEP-0060 §12.1: sends the last item to contacts who gained access by a new access model. `before` is the old node.
 */
export async function reveal(pubsub: PubSub, holder: Holder, node: Node, before: Node): Promise<void> {
  if (!holder.isAccount) return;
  const { bare } = holder.jid;
  const contacts = await pubsub.roster.get(holder.jid.bare);
  const isLetIn = (who: string, entry: RosterItem | undefined) => barrier(holder, before, who, entry) !== undefined;
  for (const [contact, entry] of contacts)
    if (isContactHere(pubsub, holder, contact, entry) && isLetIn(contact, entry))
      await sendLast(pubsub, bare, ofContact(Jid.parse(contact), [node.name]), entry);
  for (const { jid } of [...visitorsOf(pubsub, holder, contacts)]) {
    const entry = contacts.get(jid.bare);
    if (!isLetIn(jid.bare, entry)) continue;
    await sendLast(pubsub, bare, { ...ofVisitor(pubsub, bare, jid, none), interests: [node.name] }, entry);
  }
}

const none: ReadonlySet<string> = new Set();

/** The clients of a contact: its local sessions, or else its clients present at the account. */
async function clientsOf(pubsub: PubSub, holder: Holder, contact: Jid): Promise<Recipient[]> {
  const { host, caps } = pubsub;
  const here = contact.domain === host.domain ? await host.askHome(wishes, contact, null) : [];
  const found = here.map(({ jid, interests }) => ofContact(Jid.parse(jid), interests));
  if (found.length === 0)
    for (const visitor of caps.visitors(holder.jid.bare).values())
      if (visitor.jid.bare === contact.bare)
        found.push(ofVisitor(pubsub, holder.jid.bare, visitor.jid, visitor.features()));
  return found;
}

/** Sends an account's last items to a client. `entry` is the account's roster entry for the client's account. */
async function sendLast(
  pubsub: PubSub,
  bare: string,
  recipient: Recipient,
  entry: RosterItem | undefined,
  before?: RosterItem,
): Promise<void> {
  const { jid, interests, session, isChosenAtHome } = recipient;
  const known = pubsub.holders.get(bare);
  const holder: Holder = known instanceof Promise ? await known : known;
  if (holder.nodes.size === 0) return;
  for (const name of interests) {
    const node = holder.nodes.get(name);
    if (node?.config['pubsub#send_last_published_item'] !== 'on_sub_and_presence') continue;
    if (barrier(holder, node, jid.bare, entry) !== undefined) continue;
    if (hasFrom(before) && barrier(holder, node, jid.bare, before) === undefined) continue;
    const found = lastOf(pubsub, holder, node);
    const last = found instanceof Promise ? await found : found;
    if (last === undefined || !recipient.wants(name)) continue;
    if (bare === jid.bare) session?.send(last.with({ to: jid }));
    else {
      const audience = isChosenAtHome && ({ kind: 'willing', feature: interest(name), except: [] } as const);
      const origin = solicited(speakersOf(holder, node, lastPublisher(node)), audience);
      pubsub.aside(deliver(pubsub, last.with({ to: jid }), origin));
    }
  }
}

/** The publisher of the item that `lastOf` found. */
function lastPublisher({ items }: Node): string | undefined {
  const id = items?.last?.id;
  return id === undefined ? undefined : items?.index.get(id)?.by;
}

function lastOf(pubsub: PubSub, holder: Holder, node: Node): Maybe<Stanza | undefined> {
  const { config } = node;
  if (!config['pubsub#deliver_notifications'] || !config['pubsub#persist_items']) return undefined;
  return pubsub.holders.last(holder, node);
}

/** Sends the last item to a subscriber; `to` is the client that became available. */
export async function sendLastTo(pubsub: PubSub, holder: Holder, subscriber: Subscriber, to?: Jid): Promise<void> {
  const { node } = subscriber;
  if (node.config['pubsub#send_last_published_item'] === 'never') return;
  if (subscriber.state !== 'subscribed' || subscriber.deliver === false) return;
  const { bare } = subscriber.jid;
  if (barrier(holder, node, bare, await entryFor(pubsub, holder, node, bare)) !== undefined) return;
  const last = await lastOf(pubsub, holder, node);
  if (last === undefined) return;
  const origin = solicited(speakersOf(holder, node, lastPublisher(node)));
  await toSubscriber(pubsub, holder, to ? { ...subscriber, jid: to } : subscriber, last, origin);
}
