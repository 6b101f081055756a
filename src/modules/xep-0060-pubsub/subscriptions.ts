/**
 * Subscriptions: requests by subscribers (§6.1 to §6.4, §5.6) and management by owners (§8.6 to §8.8). An address has
 * more than one subscription to a node only if their options differ (§6.1.6); repeating a request returns the existing
 * one.
 */

import { Jid } from '../../server/address/jid.js';
import { wall } from '../../server/clock.js';
import { demandFew } from '../../server/stanza/addresses.js';
import { defineForm } from '../../server/stanza/define-form.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { readForm } from '../../server/stanza/forms.js';
import { randomId } from '../../server/stanza/ids.js';
import { NS } from '../../server/stanza/ns.js';
import { Stanza } from '../../server/stanza/stanza.js';
import { type Element, el } from '../../server/xml/element.js';
import { affiliationOf, barrier, demandOwner, entryFor, missing, ownersOf, refusal } from './access.js';
import { isCollection } from './collections.js';
import { deliver } from './delivery.js';
import { noSuchNode, pubsubError, unsupported } from './errors.js';
import { eventFrom } from './events.js';
import { subscriptionsAt } from './holders.js';
import { sendLastTo } from './last-items.js';
import { firstSubid, type Holder, type Node, type Subscriber, type Subscription } from './node.js';
import { invalidOptions, type Options, offeredOptions, readOptions } from './options.js';
import type { PubSub } from './pubsub.js';
import { type Action, find, formIn, inTurn, nameIn, nodeNamed } from './request.js';
import { accepts, forOwner, solicited, speakersOf } from './speakers.js';
import { publishSubscriber } from './xep-0465-public.js';

/** Owners asked to approve a subscription. */
const mostAsked = 20;
const authorization = `${NS.pubsub}#subscribe_authorization`;

type State = Subscription['state'] | 'none';
type Whose = Pick<Subscriber, 'jid' | 'subid'>;

/** Declined addresses remembered per node. */
const mostDeclined = 1000;
/** Subscriptions of one address to one node. */
const mostAtOnce = 10;

const shown = (node: string | undefined, { jid, subid }: Whose, subscription: State): Element =>
  el('subscription', { node, jid: jid.full, subid, subscription });

const answer = (...children: (Element | undefined)[]): Element => el('pubsub', { xmlns: NS.pubsub }, ...children);

/** The address to subscribe, which must be the requester's. Throws StanzaError. */
function subscriberIn({ element, from }: Action, notOwn: () => StanzaError): Jid {
  const { jid } = element.attrs;
  if (jid === undefined) throw pubsubError('bad-request', 'jid-required');
  const subscriber = Jid.tryParse(jid);
  if (subscriber === undefined || !subscriber.sameBare(from)) throw notOwn();
  return subscriber;
}

const invalidJid = () => pubsubError('bad-request', 'invalid-jid'); // §6.1.3.1
const notYours = () => new StanzaError('forbidden'); // §6.2.3.3, §6.3.4.1

// ---------------------------------------------------------------------------------------------------------------
// Subscribers

/** §6.1, with options (§6.3.7). */
export async function subscribe(action: Action): Promise<Element> {
  const { pubsub, request, from, element } = action;
  const { settings, holders, host } = pubsub;
  const name = nodeNamed(action);
  const jid = subscriberIn(action, invalidJid);
  const optionsElement = request.payload.getChild('options', NS.pubsub);
  const { node: named, jid: whose } = optionsElement?.attrs ?? {};
  if (named !== undefined || whose !== undefined) throw new StanzaError('bad-request'); // §6.3.7
  const form = formIn(optionsElement);
  const isPublic = element.getChild('public', NS.pps) !== undefined;
  return inTurn(action, name, async ({ holder, node, prepared: entry }) => {
    if (node === undefined) throw missing(holder, name, from.bare, entry);
    const obstacle = barrier(holder, node, from.bare, entry);
    if (obstacle !== undefined && obstacle !== 'authorize') throw refusal(obstacle);
    if (!node.config['pubsub#subscribe'] && affiliationOf(holder, node, from.bare) !== 'owner')
      throw unsupported('subscribe');
    const all = subscriptionsAt(holder, node, jid);
    if (all.some(isPending)) throw pubsubError('not-authorized', 'pending-subscription'); // §6.1.3.7
    const requested = all.length === 0 || form === undefined ? undefined : readOptions(form, node, {});
    const present = requested === undefined ? all[0] : all.find((one) => sameOptions(one, requested));
    const subid = present?.subid ?? freeSubid(all);
    if (present === undefined) demandDifferent(node, all, requested);
    const wasPublic = present?.public === true;
    // Requesting a subscription that an owner made turns it into the subscriber's own.
    const { public: _, by: __, ...before } = present === undefined ? {} : optionsOf(present);
    const previous: Options = isPublic ? { ...before, public: true } : before;
    const options =
      form === undefined || all.length > 0
        ? { ...previous, ...requested }
        : (readOptions(form, node, previous) ?? previous);
    // §12.4: the node can require it
    const isTemporary = node.config['pubsub#tempsub'] || options.expires === 'presence';
    // §6.1.3.6: a later account of this name must not get these notifications
    if (pubsub.host.isAnonymous(request.from.bare) && !isTemporary)
      throw new StanzaError('forbidden', undefined, { type: 'cancel' });
    const state = obstacle === 'authorize' ? 'pending' : 'subscribed';
    if (present === undefined || present.by !== undefined) {
      const own = [...(holder.subscribers.get(from.bare) ?? [])].filter(({ by }) => by === undefined).length;
      const pendingCount = [...node.subscriptions.values()].filter((one) => one.state === 'pending').length;
      const limit =
        present === undefined &&
        (all.length >= mostAtOnce || node.subscriptions.size >= settings.subscriptions_per_node)
          ? 'pubsub.subscriptions'
          : own >= settings.subscriptions_per_user
            ? 'pubsub.subscriptions_per_user'
            : state === 'pending' && pendingCount >= settings.pending_per_node
              ? 'pubsub.pending'
              : undefined;
      if (limit !== undefined) {
        host.limitHit(limit);
        throw pubsubError('policy-violation', 'too-many-subscriptions'); // §6.1.3.9
      }
    }
    const subscription: Subscription = { ...options, state, ...(isTemporary ? { expires: 'presence' } : {}) };
    await holders.commit(holder, holders.setSubscription(holder, node, { jid, subid }, subscription));
    if (state === 'pending') askOwners(pubsub, holder, node, jid.full);
    else {
      if (isPublic || wasPublic) await publishSubscriber(pubsub, holder, node, jid, isPublic);
      if (present === undefined) {
        notifyOwners(pubsub, holder, node, { jid, subid }, state);
        // §6.1.7, after the result
        const subscriber = subscriptionsAt(holder, node, jid).find((one) => one.subid === subid);
        if (subscriber !== undefined) setImmediate(() => pubsub.aside(sendLastTo(pubsub, holder, subscriber)));
      }
    }
    // §6.3.7: the result has the effective options
    return answer(shown(name, { jid, subid }, state), form && el('options', null, offeredOptions(node, subscription)));
  });
}

function optionsOf({ jid: _jid, node: _node, subid: _subid, state: _state, ...options }: Subscriber): Options {
  return options;
}

const optionNames = ['deliver', 'expires', 'body', 'shows', 'type', 'depth'] as const;
const sameOptions = (one: Options, other: Options): boolean =>
  optionNames.every((name) => JSON.stringify(one[name]) === JSON.stringify(other[name]));

/** The smallest unused subid. */
function freeSubid(all: readonly Subscriber[]): string {
  let next = Number(firstSubid);
  while (all.some(({ subid }) => subid === String(next))) next++;
  return String(next);
}

/** XEP-0248 §5.1.3: one subscription per type to a collection, whatever its depth. Throws StanzaError. */
function demandDifferent(node: Node, all: readonly Subscriber[], options: Options = {}): void {
  const typeOf = ({ type = 'nodes' }: Options) => type;
  if (isCollection(node) && all.some((one) => typeOf(one) === typeOf(options))) throw new StanzaError('conflict');
}

/** §6.2.3.1, §6.2.3.5, §6.3.4.4: the subscription that a request refers to. Throws StanzaError. */
function subscriptionIn({ element }: Action, holder: Holder, node: Node, jid: Jid): Subscriber {
  const all = subscriptionsAt(holder, node, jid);
  const { subid } = element.attrs;
  if (all.length === 0) throw pubsubError('unexpected-request', 'not-subscribed');
  if (subid === undefined && all.length > 1) throw pubsubError('bad-request', 'subid-required');
  const found = subid === undefined ? all[0] : all.find((one) => one.subid === subid);
  if (found === undefined) throw pubsubError('not-acceptable', 'invalid-subid');
  return found;
}

/** §6.2. */
export async function unsubscribe(action: Action): Promise<Element> {
  const { pubsub, from } = action;
  const name = nodeNamed(action);
  const jid = subscriberIn(action, notYours);
  return inTurn(action, name, async ({ holder, node, prepared: entry }) => {
    if (node === undefined) throw missing(holder, name, from.bare, entry);
    const subscriber = subscriptionIn(action, holder, node, jid);
    await drop(pubsub, holder, node, subscriber);
    if (subscriber.by !== undefined) await noteDeclined(pubsub, holder, node, jid.bare);
    return answer(shown(name, subscriber, 'none'));
  });
}

/** Owners cannot subscribe this user again. */
async function noteDeclined({ holders }: PubSub, holder: Holder, node: Node, bare: string): Promise<void> {
  const others = (node.stored.declined ?? []).filter((one) => one !== bare);
  await holders.commit(holder, holders.change(holder, node, { declined: [...others, bare].slice(-mostDeclined) }));
}

/** Ends a subscription without notifying the subscriber. */
export async function drop(
  pubsub: PubSub,
  holder: Holder,
  node: Node,
  subscriber: Subscriber | undefined,
): Promise<void> {
  if (subscriber === undefined) return;
  await pubsub.holders.commit(holder, pubsub.holders.setSubscription(holder, node, subscriber, undefined));
  if (subscriber.public) await publishSubscriber(pubsub, holder, node, subscriber.jid, false);
  if (subscriber.state === 'subscribed') notifyOwners(pubsub, holder, node, subscriber, 'none');
}

/** `pubsub#notify_sub`. */
function notifyOwners(pubsub: PubSub, holder: Holder, node: Node, whose: Whose, state: State): void {
  if (!node.config['pubsub#notify_sub']) return;
  const event = eventFrom(holder, node, shown(node.name, whose, state));
  for (const owner of ownersOf(holder, node).slice(0, mostAsked)) {
    const to = Jid.parse(owner);
    if (owner !== whose.jid.bare) pubsub.aside(deliver(pubsub, event.with({ to }), forOwner(whose.jid, node, owner)));
  }
}

/** §6.3.2. */
export async function offerOptions(action: Action): Promise<Element> {
  const name = nodeNamed(action);
  const jid = subscriberIn(action, notYours);
  const { holder, node } = await find(action, name);
  if (node === undefined) throw noSuchNode();
  const subscriber = subscriptionIn(action, holder, node, jid);
  const { subid } = action.element.attrs;
  return answer(el('options', { node: name, jid: jid.full, subid }, offeredOptions(node, subscriber)));
}

/** §6.3.5. */
export async function setOptions(action: Action): Promise<undefined> {
  const { holders } = action.pubsub;
  const form = formIn(action.element);
  if (form === undefined) throw invalidOptions();
  const jid = subscriberIn(action, notYours);
  return inTurn(action, nodeNamed(action), async ({ holder, node }) => {
    if (node === undefined) throw noSuchNode();
    const subscriber = subscriptionIn(action, holder, node, jid);
    const options = readOptions(form, node, optionsOf(subscriber));
    if (options === undefined) return undefined;
    // Without `by`: setting options makes it the subscriber's own.
    const changed = { ...options, state: subscriber.state };
    await holders.commit(holder, holders.setSubscription(holder, node, subscriber, changed));
    return undefined;
  });
}

/** §6.4: for one readable node, or for all. */
export async function offerDefaultOptions(action: Action): Promise<Element> {
  const { element, from } = action;
  const name = nameIn(element, 'node');
  if (name === undefined) return answer(el('default', null, offeredOptions(undefined, {})));
  const { holder, node, prepared: entry } = await find(action, name);
  if (node === undefined) throw missing(holder, name, from.bare, entry);
  const obstacle = barrier(holder, node, from.bare, entry);
  if (obstacle !== undefined && obstacle !== 'authorize') throw refusal(obstacle);
  return answer(el('default', { node: name }, offeredOptions(node, {})));
}

/** §5.6: the requester's subscriptions. */
export async function ownSubscriptions({ pubsub, from, bare, element }: Action): Promise<Element> {
  const holder = await pubsub.holders.get(bare);
  const only = nameIn(element, 'node');
  const all = [...(holder.subscribers.get(from.bare) ?? [])];
  const accepted = await Promise.all(all.map((one) => accepts(pubsub, one)));
  const found = all.flatMap(({ node, jid, subid, state, expires }, index) => {
    if (accepted[index] !== true) return [];
    if ((only !== undefined && node.name !== only) || (typeof expires === 'number' && expires <= wall())) return [];
    return shown(node.name, { jid, subid }, state);
  });
  return answer(el('subscriptions', { node: only }, ...found));
}

/** §5.7. */
export async function ownAffiliations({ pubsub, from, bare, element }: Action): Promise<Element> {
  const holder = await pubsub.holders.get(bare);
  const only = nameIn(element, 'node');
  const found: Element[] = [];
  for (const node of holder.nodes.values()) {
    const affiliation = affiliationOf(holder, node, from.bare);
    if (affiliation === 'none' || (only !== undefined && node.name !== only)) continue;
    found.push(el('affiliation', { node: node.name, affiliation }));
  }
  return answer(el('affiliations', { node: only }, ...found));
}

// ---------------------------------------------------------------------------------------------------------------
// Owners

/** §8.8.1: without pending subscriptions. */
export async function listSubscriptions(action: Action): Promise<Element> {
  const name = nodeNamed(action);
  const { holder, node } = await find(action, name);
  const { subscriptions } = demandOwner(holder, node, action.from.bare);
  const elements = [...subscriptions.values()].flatMap((one) =>
    one.state === 'subscribed' ? shown(undefined, one, one.state) : [],
  );
  return el('pubsub', { xmlns: NS.pubsubOwner }, el('subscriptions', { node: name }, ...elements));
}

/**
 * §8.8.2: changes all subscriptions or none. A subscription that an owner makes for others takes effect only if the
 * owner is among their contacts (speakers.ts). The result is the same either way, so that owners learn nothing about
 * contacts or the existence of an account.
 */
export async function changeSubscriptions(action: Action): Promise<undefined> {
  const { pubsub, from, element } = action;
  const name = nodeNamed(action);
  const elements = element.getChildren('subscription', NS.pubsubOwner);
  demandFew(elements.map(({ attrs }) => attrs.jid));
  const changes = elements.flatMap(({ attrs }) => {
    if (attrs.subscription === undefined) return []; // MUST NOT be changed
    const jid = Jid.tryParse(attrs.jid ?? '');
    const state = (['subscribed', 'pending', 'none'] as const).find((one) => one === attrs.subscription);
    return [{ jid, state, subid: attrs.subid }];
  });
  return inTurn(action, name, async ({ holder, node: found }) => {
    const node = demandOwner(holder, found, from.bare);
    const valid = changes.flatMap(({ jid, state, subid }): Change[] => {
      if (jid === undefined || state === undefined) return [];
      // Without a subid, all subscriptions of the address are changed.
      const all = subscriptionsAt(holder, node, jid).filter((one) => subid === undefined || one.subid === subid);
      return all.length === 0
        ? [{ jid, state, subid: firstSubid }]
        : all.map((one) => ({ jid, state, subid: one.subid }));
    });
    const added = valid.filter(({ jid, state }) => state !== 'none' && subscriptionsAt(holder, node, jid).length === 0);
    // Remote users must subscribe themselves; otherwise this server could be used to flood them.
    if (
      changes.some(({ jid, state }) => jid === undefined || state === undefined) ||
      added.some(({ jid }) => !pubsub.host.isLocal(jid.domain) || node.stored.declined?.includes(jid.bare))
    ) {
      // §8.8.2.4: the error has the unchanged states
      const before = elements.map(({ attrs }) =>
        el('subscription', { jid: attrs.jid, subscription: node.subscriptions.get(attrs.jid ?? '')?.state ?? 'none' }),
      );
      throw new StanzaError('not-acceptable', 'Some of these users must subscribe themselves.', {
        instead: el('pubsub', { xmlns: NS.pubsubOwner }, el('subscriptions', { node: name }, ...before)),
      });
    }
    if (node.subscriptions.size + added.length > pubsub.settings.subscriptions_per_node) {
      pubsub.host.limitHit('pubsub.subscriptions');
      throw pubsubError('policy-violation', 'too-many-subscriptions');
    }
    const forced = added.filter(({ jid }) => jid.bare !== from.bare).length;
    if ((holder.forced.get(from.bare) ?? 0) + forced > pubsub.settings.subscriptions_per_user) {
      pubsub.host.limitHit('pubsub.subscriptions_per_user');
      throw pubsubError('policy-violation', 'too-many-subscriptions');
    }
    await changeStates(pubsub, holder, node, valid, from);
    return undefined;
  });
}

interface Change extends Whose {
  readonly state: State;
}

/** Persists changed subscriptions and notifies the subscribers (§8.8.4, §12.21). `actor` is the owner who made them. */
async function changeStates(
  pubsub: PubSub,
  holder: Holder,
  node: Node,
  changes: readonly Change[],
  actor?: Jid,
): Promise<void> {
  const real = changes.flatMap(({ jid, subid, state }) => {
    const before = subscriptionsAt(holder, node, jid).find((one) => one.subid === subid);
    return (before?.state ?? 'none') === state ? [] : [{ jid: before?.jid ?? jid, subid, state, before }];
  });
  const writes = real.map(({ jid, subid, state, before }) => {
    const isTemporary = before === undefined && node.config['pubsub#tempsub'];
    const by = before === undefined && actor !== undefined && !actor.sameBare(jid) ? { by: actor.bare } : {};
    const options: Options = before ? optionsOf(before) : { ...(isTemporary && { expires: 'presence' }), ...by };
    const subscription = state === 'none' ? undefined : { ...options, state };
    return pubsub.holders.setSubscription(holder, node, { jid, subid }, subscription);
  });
  await pubsub.holders.commit(holder, ...writes);
  for (const { jid, subid, state, before } of real) {
    const event = eventFrom(holder, node, shown(node.name, { jid, subid }, state));
    const subscriber = subscriptionsAt(holder, node, jid).find((one) => one.subid === subid);
    pubsub.aside(notifyChange(pubsub, holder, node, event.with({ to: jid }), before ?? subscriber, actor));
    if (state !== 'pending' && (state === 'subscribed' || before?.state === 'subscribed'))
      notifyOwners(pubsub, holder, node, { jid, subid }, state);
    if (before?.public) await publishSubscriber(pubsub, holder, node, jid, state === 'subscribed');
    if (state === 'subscribed' && subscriber !== undefined) pubsub.aside(sendLastTo(pubsub, holder, subscriber));
  }
}

/** Notifies a subscriber of a change by an owner. */
async function notifyChange(
  pubsub: PubSub,
  holder: Holder,
  node: Node,
  event: Stanza,
  subscriber: Subscriber | undefined,
  actor: Jid | undefined,
): Promise<void> {
  if (subscriber !== undefined && !(await accepts(pubsub, subscriber))) return;
  await deliver(pubsub, event, solicited(speakersOf(holder, node, actor?.bare)));
}

/**
 * XEP-0163 §7, §8.2.4, §8.7.5: unsubscribes users who lost access, and approves pending ones who have gained it. `only`
 * restricts it to one bare address.
 */
export async function dropBarred(pubsub: PubSub, holder: Holder, node: Node, only?: string): Promise<void> {
  const changes: Change[] = [];
  for (const { jid, subid, state } of [...node.subscriptions.values()]) {
    if (only !== undefined && jid.bare !== only) continue;
    const obstacle = barrier(holder, node, jid.bare, await entryFor(pubsub, holder, node, jid.bare));
    if (obstacle === undefined) {
      if (state === 'pending') changes.push({ jid, subid, state: 'subscribed' });
    } else if (!(obstacle === 'authorize' && state === 'pending')) changes.push({ jid, subid, state: 'none' });
  }
  if (changes.length > 0) await changeStates(pubsub, holder, node, changes);
}

/** §8.6: asks all owners; the first answer counts. */
function askOwners(pubsub: PubSub, holder: Holder, node: Node, jid: string): void {
  for (const owner of ownersOf(holder, node).slice(0, mostAsked))
    pubsub.aside(
      pubsub.host.route(question(holder, node, jid, Jid.parse(owner)), forOwner(Jid.parse(jid), node, owner)),
    );
}

const authorizationForm = defineForm(authorization, {
  'pubsub#node': { type: 'text-single', label: 'Node' },
  'pubsub#subscriber_jid': { type: 'jid-single', label: 'Subscriber' },
  'pubsub#allow': { type: 'boolean', label: 'Allow the subscription?' },
});

const question = (holder: Holder, node: Node, jid: string, to: Jid): Stanza =>
  Stanza.build(
    'message',
    { from: holder.jid, to, id: randomId() },
    authorizationForm.form(
      { 'pubsub#node': node.name, 'pubsub#subscriber_jid': Jid.parse(jid), 'pubsub#allow': false },
      { title: 'Subscription request' },
    ),
  );

/** §8.7: an owner's nodes with pending subscriptions. */
export const pendingNodes = (holder: Holder, owner: string): string[] =>
  [...holder.nodes.values()].flatMap((node) =>
    affiliationOf(holder, node, owner) === 'owner' && [...node.subscriptions.values()].some(isPending) ? node.name : [],
  );

/** §8.7.4: sends an owner all pending requests of a node again. */
export function askAgain(pubsub: PubSub, holder: Holder, node: Node, owner: Jid): void {
  for (const subscriber of node.subscriptions.values())
    if (isPending(subscriber))
      pubsub.aside(pubsub.host.route(question(holder, node, subscriber.jid.full, owner), solicited([subscriber.jid])));
}

const isPending = ({ state }: Subscriber): boolean => state === 'pending';

/** §8.6: handles an owner's answer. Resolves with whether the stanza was one. Throws StanzaError. */
export async function authorize(pubsub: PubSub, bare: string, stanza: Stanza): Promise<boolean> {
  const element = stanza.child(NS.dataForms, 'x');
  if (element === undefined || stanza.from === undefined || stanza.type === 'error') return false;
  const form = readForm(element);
  if (form.formType !== authorization || (form.type !== 'submit' && form.type !== 'cancel')) return false;
  if (form.type === 'cancel') return true;
  const name = form.get('pubsub#node') ?? '';
  const jid = Jid.tryParse(form.get('pubsub#subscriber_jid') ?? '');
  const allow = form.bool('pubsub#allow') ?? false;
  const { from } = stanza;
  return pubsub.holders.inTurn(
    bare,
    name,
    () => undefined,
    async ({ holder, node: found }) => {
      const node = demandOwner(holder, found, from.bare);
      const pending = jid && subscriptionsAt(holder, node, jid).filter(isPending);
      if (pending === undefined || pending.length === 0) return true; // another owner was first
      const state = allow ? 'subscribed' : 'none';
      await changeStates(
        pubsub,
        holder,
        node,
        pending.map((one) => ({ jid: one.jid, subid: one.subid, state })),
        from,
      );
      return true;
    },
  );
}

/** Errors by which a server says that an address does not exist. Others may pass: an outage, a policy. */
const finalErrors = ['gone', 'item-not-found', 'service-unavailable'];

/** §12.3: ends subscriptions of addresses that are permanently unreachable. `error` is a bounced notification. */
export async function bounced(pubsub: PubSub, bare: string, error: Stanza): Promise<void> {
  const reason = error.child(NS.client, 'error');
  const isFinal = reason?.getChildElements().some((child) => finalErrors.includes(child.getName())) === true;
  const name = error.child(NS.pubsubEvent, 'event')?.getChildElements()[0]?.attrs.node;
  const { from } = error;
  if (!isFinal || name === undefined || from === undefined) return;
  await pubsub.holders.inTurn(
    bare,
    name,
    () => undefined,
    async ({ holder, node }) => {
      if (node !== undefined)
        for (const one of subscriptionsAt(holder, node, from)) await drop(pubsub, holder, node, one);
    },
  );
}
