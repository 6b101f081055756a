/**
 * XEP-0163 §4.3.2, XEP-0060 §12.1: the last items that somebody gets who turns up: of his own account, of the accounts
 * that he is present at, each once for every interest that he says he has; and of nodes that he subscribed to.
 */

import { z } from 'zod';
import { defineQuestion, type Maybe } from '../../server/module/index.js';
import type { Session } from '../../server/routing/session.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { Jid } from '../../server/stanza/jid.js';
import type { Stanza } from '../../server/stanza/stanza.js';
import { hasFrom, hasTo } from '../../server/stanza/subscription.js';
import type { RosterItem } from '../rfc-6121-roster/services.js';
import { barrier, entryFor } from './access.js';
import { keyOf } from './holders.js';
import type { Holder, Node, Subscriber } from './node.js';
import { interest, isContactHere, visitorsOf, wants } from './notify.js';
import type { PubSub } from './pubsub.js';
import { asked, speakersOf } from './speakers.js';
import { tell, toSubscriber } from './telling.js';

const suffix = '+notify';

/** The names of nodes. */
const interestsIn = (features: ReadonlySet<string>): string[] =>
  [...features].flatMap((feature) => (feature.endsWith(suffix) ? [feature.slice(0, -suffix.length)] : []));

/** A client that is there. */
interface Recipient {
  readonly jid: Jid;
  /** What it wants to be told, by the names of nodes. */
  readonly interests: readonly string[];
  /** Whether it is there still, and wants this still. */
  wants(node: string): boolean;
  /** Its own account says it directly. */
  readonly session?: Session | undefined;
  /** Its home knows whether it is there, and what it wants. */
  readonly isChosenAtHome?: true;
}

const ofSession = (pubsub: PubSub, session: Session, features: ReadonlySet<string>): Recipient => ({
  jid: session.jid,
  interests: interestsIn(features),
  wants: (node) => wants(pubsub, session, interest(node)),
  session,
});

/** All clients of a contact of this host, or the one of a full address. */
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

/** `gained`: features of the session that are new. They go out no faster than its client takes them. */
export function greet(pubsub: PubSub, session: Session, gained: ReadonlySet<string>): void | Promise<void> {
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
    if (session.presence === undefined) return; // gone meanwhile
    if (!hasTo(item) || !contact.endsWith(here)) continue;
    const sent = host.askHome(lastItems, Jid.parse(contact), wanted);
    if (!(sent instanceof Promise)) continue;
    await sent.catch(unanswered);
    yield;
  }
}

/** At a contact of this host: says the last items of its nodes to a client that has turned up. */
export const lastItems = defineQuestion({
  name: 'pubsub.last_items',
  given: z.object({ to: z.string(), interests: z.array(z.string()).readonly() }),
  answer: z.null(),
});

export function sayLastItems(
  pubsub: PubSub,
  owner: Jid,
  { to, interests }: { readonly to: string; readonly interests: readonly string[] },
): Maybe<null> {
  // Mostly all is in memory, and there is nothing: nobody waits for that.
  const holder = pubsub.holders.peek(owner.bare);
  if (holder !== undefined && !interests.some((name) => holder.nodes.has(name))) return null;
  return (async () => {
    const jid = Jid.parse(to);
    const entry = (await pubsub.roster.get(owner.bare)).get(jid.bare);
    if (hasFrom(entry)) await sendLast(pubsub, owner.bare, ofContact(jid, interests), entry);
    return null;
  })();
}

/** At a contact of this host: its clients, and the nodes that they want to hear of. */
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

/** A home that does not answer is no fault of the others. */
function unanswered(error: unknown): null {
  if (!(error instanceof StanzaError)) throw error;
  return null;
}

/** The same for somebody who is present at an account, and no session of its contacts here. */
export async function greetVisitor(pubsub: PubSub, owner: Jid, jid: Jid, gained: ReadonlySet<string>): Promise<void> {
  const recipient = ofVisitor(pubsub, owner.bare, jid, gained);
  if (recipient.interests.length === 0) return;
  await sendLast(pubsub, owner.bare, recipient, (await pubsub.roster.get(owner.bare)).get(jid.bare));
}

/** Somebody is present at the service who was not before: `on_sub_and_presence` of what he subscribed to. */
export async function greetSubscriber(pubsub: PubSub, holder: Holder, jid: Jid): Promise<void> {
  const told = new Set<string>();
  for (const subscriber of [...(holder.subscribers.get(jid.bare) ?? [])]) {
    if (subscriber.jid.resource !== undefined && subscriber.jid.full !== jid.full) continue;
    const { node } = subscriber;
    const key = keyOf(node.name, subscriber.jid.full); // once, however many subscriptions it has
    if (node.config['pubsub#send_last_published_item'] === 'on_sub_and_presence' && !told.has(key) && told.add(key))
      await sendLastTo(pubsub, holder, subscriber, jid);
  }
}

/**
 * A contact gets to see an account, or more of it (XEP-0163 §7, XEP-0060 §12.1): its clients get what they would have
 * been told. `before`: the entry of the roster as it was.
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

/** XEP-0060 §12.1: those that a changed access model lets in get the last item. `before`: the node as it was. */
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

/** The clients of a contact: its sessions here, or what is present of it. */
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

/** What one account has for a client. `entry`: of its roster, for the client's account. */
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
      const origin = asked(speakersOf(holder, node, lastPublisher(node)), audience);
      pubsub.aside(tell(pubsub, last.with({ to: jid }), origin));
    }
  }
}

/** Of the item that `lastOf` found. */
function lastPublisher({ items }: Node): string | undefined {
  const id = items?.last?.id;
  return id === undefined ? undefined : items?.index.get(id)?.by;
}

function lastOf(pubsub: PubSub, holder: Holder, node: Node): Stanza | undefined | Promise<Stanza | undefined> {
  const { config } = node;
  if (!config['pubsub#deliver_notifications'] || !config['pubsub#persist_items']) return undefined;
  return pubsub.holders.last(holder, node);
}

/** The last item for somebody who subscribed; `to`: the client of his that turned up. */
export async function sendLastTo(pubsub: PubSub, holder: Holder, subscriber: Subscriber, to?: Jid): Promise<void> {
  const { node } = subscriber;
  if (node.config['pubsub#send_last_published_item'] === 'never') return;
  if (subscriber.state !== 'subscribed' || subscriber.deliver === false) return;
  const { bare } = subscriber.jid;
  if (barrier(holder, node, bare, await entryFor(pubsub, holder, node, bare)) !== undefined) return;
  const last = await lastOf(pubsub, holder, node);
  if (last === undefined) return;
  const origin = asked(speakersOf(holder, node, lastPublisher(node)));
  await toSubscriber(pubsub, holder, to ? { ...subscriber, jid: to } : subscriber, last, origin);
}
