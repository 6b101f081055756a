/**
 * Subscriptions: asked for by subscribers (§6.1 to §6.4, §5.6), listed and ruled by owners (§8.6, §8.8). An address has at
 * most one to a node, so that there are no subscription ids.
 */
import { defineForm } from '../../server/stanza/define-form.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { readForm } from '../../server/stanza/forms.js';
import { randomId } from '../../server/stanza/ids.js';
import { Jid } from '../../server/stanza/jid.js';
import { NS } from '../../server/stanza/ns.js';
import { Stanza } from '../../server/stanza/stanza.js';
import { type Element, el } from '../../server/xml/element.js';
import { affiliationOf, barrier, demandOwner, entryFor, ownersOf, refusal } from './access.js';
import { noSuchNode, pubsubError, unsupported } from './errors.js';
import { eventFrom } from './events.js';
import type { Holder, Node, PubSub, Subscription } from './node.js';
import { tell } from './notify.js';
import { type Action, find, flat, formIn, inTurn, nameIn, nodeNamed } from './request.js';

const optionsForm = defineForm(`${NS.pubsub}#subscribe_options`, {
  'pubsub#deliver': { type: 'boolean', label: 'Send notifications' },
});

/** Owners that are asked for a subscription. */
const mostAsked = 20;
const authorization = `${NS.pubsub}#subscribe_authorization`;

type State = Subscription['state'] | 'none';

const shown = (node: string | undefined, jid: string, subscription: State): Element =>
  el('subscription', { node, jid, subscription });

const answer = (...children: Element[]): Element => el('pubsub', { xmlns: NS.pubsub }, ...children);

/** Whose subscription it is: the asker's own (§6.1.3.1). */
function subscriberIn({ element, from }: Action): Jid {
  const { jid } = element.attrs;
  if (jid === undefined) throw pubsubError('bad-request', 'jid-required');
  const subscriber = Jid.tryParse(jid);
  if (subscriber === undefined || !subscriber.sameBare(from)) throw pubsubError('bad-request', 'invalid-jid');
  // As we give none, whoever names one means another service's
  if (element.attrs.subid) throw pubsubError('not-acceptable', 'invalid-subid');
  return subscriber;
}

/** §6.1, with options (§6.3.7). */
export async function subscribe(action: Action): Promise<Element> {
  const { pubsub, request, from } = action;
  const { settings, holders, host } = pubsub;
  const name = nodeNamed(action);
  const jid = flat(subscriberIn(action).full);
  const form = formIn(request.payload.getChild('options', NS.pubsub));
  const options = form === undefined ? undefined : optionsForm.read(form);
  return inTurn(action, name, async ({ holder, node, prepared: entry }) => {
    if (node === undefined) throw noSuchNode();
    const obstacle = barrier(holder, node, from.bare, entry);
    if (obstacle !== undefined && obstacle !== 'authorize') throw refusal(obstacle);
    if (!node.config['pubsub#subscribe'] && affiliationOf(holder, node, from.bare) !== 'owner')
      throw unsupported('subscribe');
    const present = node.subscriptions.get(jid);
    if (present?.state === 'pending') throw pubsubError('not-authorized', 'pending-subscription'); // §6.1.3.7
    if (present === undefined && node.subscriptions.size >= settings.subscriptions_per_node) {
      host.limitHit('pubsub.subscriptions');
      throw pubsubError('policy-violation', 'too-many-subscriptions'); // §6.1.3.9
    }
    const state = obstacle === 'authorize' ? 'pending' : 'subscribed';
    const deliver = options === undefined ? present?.deliver : options['pubsub#deliver'] === false ? false : undefined;
    const subscription: Subscription = deliver === false ? { state, deliver } : { state };
    await holders.written(holder, holders.setSubscription(holder, node, jid, subscription));
    if (state === 'pending') askOwners(pubsub, holder, node, jid);
    // §6.1.7, behind the result
    else if (present === undefined && deliver !== false)
      setImmediate(() => pubsub.aside(sendLast(pubsub, holder, node, jid)));
    return answer(shown(name, jid, state));
  });
}

async function sendLast(pubsub: PubSub, holder: Holder, node: Node, jid: string): Promise<void> {
  if (node.config['pubsub#send_last_published_item'] === 'never') return;
  const last = await pubsub.holders.last(holder, node);
  if (last !== undefined) await tell(pubsub, last.with({ to: Jid.parse(jid) }));
}

/** §6.2. */
export async function unsubscribe(action: Action): Promise<Element> {
  const { holders } = action.pubsub;
  const name = nodeNamed(action);
  const jid = subscriberIn(action).full;
  return inTurn(action, name, async ({ holder, node }) => {
    if (node === undefined) throw noSuchNode();
    if (!node.subscriptions.has(jid)) throw pubsubError('unexpected-request', 'not-subscribed');
    await holders.written(holder, holders.setSubscription(holder, node, jid, undefined));
    return answer(shown(name, jid, 'none'));
  });
}

/** §6.3.2. */
export async function offerOptions(action: Action): Promise<Element> {
  const name = nodeNamed(action);
  const jid = subscriberIn(action).full;
  const subscription = subscriptionOf((await find(action, name)).node, jid);
  const form = optionsForm.form({ 'pubsub#deliver': subscription.deliver !== false });
  return answer(el('options', { node: name, jid }, form));
}

/** §6.3.5. */
export async function setOptions(action: Action): Promise<undefined> {
  const { holders } = action.pubsub;
  const form = formIn(action.element);
  if (form === undefined) throw pubsubError('bad-request', 'invalid-options');
  const submitted = optionsForm.read(form);
  const deliver = submitted?.['pubsub#deliver'];
  const jid = subscriberIn(action).full;
  return inTurn(action, nodeNamed(action), async ({ holder, node }) => {
    const { state } = subscriptionOf(node, jid);
    if (deliver === undefined) return undefined;
    const changed: Subscription = deliver ? { state } : { state, deliver: false };
    await holders.written(holder, holders.setSubscription(holder, node!, jid, changed));
    return undefined;
  });
}

function subscriptionOf(node: Node | undefined, jid: string): Subscription {
  if (node === undefined) throw noSuchNode();
  const subscription = node.subscriptions.get(jid);
  if (subscription === undefined) throw pubsubError('unexpected-request', 'not-subscribed');
  return subscription;
}

/** §6.4. */
export const offerDefaultOptions = ({ element }: Action): Element =>
  answer(el('default', { node: nameIn(element, 'node') }, optionsForm.form({ 'pubsub#deliver': true })));

/** §5.6: those of whoever asks. */
export async function ownSubscriptions({ pubsub, from, bare, element }: Action): Promise<Element> {
  const holder = await pubsub.holders.get(bare);
  const only = nameIn(element, 'node');
  const found: Element[] = [];
  for (const node of holder.nodes.values()) {
    if (only !== undefined && node.name !== only) continue;
    for (const [jid, { state }] of node.subscriptions)
      if (Jid.parse(jid).bare === from.bare) found.push(shown(node.name, jid, state));
  }
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

/** §8.8.1. */
export async function listSubscriptions(action: Action): Promise<Element> {
  const name = nodeNamed(action);
  const { holder, node } = await find(action, name);
  const { subscriptions } = demandOwner(holder, node, action.from.bare);
  const elements = [...subscriptions].map(([jid, { state }]) => shown(undefined, jid, state));
  return el('pubsub', { xmlns: NS.pubsubOwner }, el('subscriptions', { node: name }, ...elements));
}

/** §8.8.2: all of them or none. */
export async function changeSubscriptions(action: Action): Promise<undefined> {
  const { pubsub, from, element } = action;
  const changes = element.getChildren('subscription', NS.pubsubOwner).flatMap(({ attrs }) => {
    if (attrs.subscription === undefined) return []; // MUST NOT be changed
    const jid = Jid.tryParse(attrs.jid ?? '');
    const state = (['subscribed', 'pending', 'none'] as const).find((one) => one === attrs.subscription);
    if (jid === undefined || state === undefined) throw new StanzaError('bad-request');
    return [{ jid: flat(jid.full), state }];
  });
  return inTurn(action, nodeNamed(action), async ({ holder, node: found }) => {
    const node = demandOwner(holder, found, from.bare);
    const added = changes.filter(({ jid, state }) => state !== 'none' && !node.subscriptions.has(jid));
    // Whom nobody here answers for has to ask by himself: else anybody could be flooded in our name.
    if (added.some(({ jid }) => !pubsub.host.isLocal(Jid.parse(jid).domain)))
      throw new StanzaError('not-acceptable', 'Users of other servers subscribe by themselves.');
    if (node.subscriptions.size + added.length > pubsub.settings.subscriptions_per_node) {
      pubsub.host.limitHit('pubsub.subscriptions');
      throw pubsubError('policy-violation', 'too-many-subscriptions');
    }
    await changeStates(pubsub, holder, node, changes);
    return undefined;
  });
}

/** Writes down who is what, and tells them (§8.8.4, §12.21). */
async function changeStates(
  pubsub: PubSub,
  holder: Holder,
  node: Node,
  changes: readonly { readonly jid: string; readonly state: State }[],
): Promise<void> {
  const real = changes.filter(({ jid, state }) => (node.subscriptions.get(jid)?.state ?? 'none') !== state);
  const writes = real.map(({ jid, state }) =>
    pubsub.holders.setSubscription(
      holder,
      node,
      jid,
      state === 'none' ? undefined : { ...node.subscriptions.get(jid), state },
    ),
  );
  await pubsub.holders.written(holder, ...writes);
  for (const { jid, state } of real) {
    const event = eventFrom(holder, node, shown(node.name, jid, state));
    pubsub.aside(tell(pubsub, event.with({ to: Jid.parse(jid) })));
    if (state === 'subscribed') pubsub.aside(sendLast(pubsub, holder, node, jid));
  }
}

/** XEP-0163 §7, §8.2.4: subscribers who may read no more are so no longer. */
export async function dropBarred(pubsub: PubSub, holder: Holder, node: Node, only?: string): Promise<void> {
  const changes: { jid: string; state: State }[] = [];
  for (const [jid, { state }] of [...node.subscriptions]) {
    const { bare } = Jid.parse(jid);
    if (only !== undefined && bare !== only) continue;
    const obstacle = barrier(holder, node, bare, await entryFor(pubsub, holder, node, bare));
    if (obstacle !== undefined && !(obstacle === 'authorize' && state === 'pending'))
      changes.push({ jid, state: 'none' });
  }
  if (changes.length > 0) await changeStates(pubsub, holder, node, changes);
}

/** §8.6: asks all owners; the first answer counts. */
function askOwners(pubsub: PubSub, holder: Holder, node: Node, jid: string): void {
  const form = defineForm(authorization, {
    'pubsub#node': { type: 'text-single', label: 'Node' },
    'pubsub#subscriber_jid': { type: 'jid-single', label: 'Subscriber' },
    'pubsub#allow': { type: 'boolean', label: 'Allow the subscription?' },
  }).form(
    { 'pubsub#node': node.name, 'pubsub#subscriber_jid': Jid.parse(jid), 'pubsub#allow': false },
    { title: 'Subscription request' },
  );
  for (const owner of ownersOf(holder, node).slice(0, mostAsked)) {
    const header = { from: holder.jid, to: Jid.parse(owner), id: randomId() };
    pubsub.aside(pubsub.host.route(Stanza.build('message', header, form)));
  }
}

/** §8.6: an owner's answer; whether it was one. Throws StanzaError. */
export async function authorize(pubsub: PubSub, bare: string, stanza: Stanza): Promise<boolean> {
  const element = stanza.child(NS.dataForms, 'x');
  if (element === undefined || stanza.from === undefined || stanza.type === 'error') return false;
  const form = readForm(element);
  if (form.formType !== authorization) return false;
  if (form.type === 'cancel') return true;
  const name = form.get('pubsub#node') ?? '';
  const jid = Jid.tryParse(form.get('pubsub#subscriber_jid') ?? '')?.full ?? '';
  const allow = form.bool('pubsub#allow') ?? false;
  const { from } = stanza;
  return pubsub.holders.inTurn(
    bare,
    name,
    () => undefined,
    async ({ holder, node: found }) => {
      const node = demandOwner(holder, found, from.bare);
      if (node.subscriptions.get(jid)?.state !== 'pending') return true; // somebody else was first
      await changeStates(pubsub, holder, node, [{ jid, state: allow ? 'subscribed' : 'none' }]);
      return true;
    },
  );
}
