/** Delivery of notifications to one address. */

import { Jid } from '../../server/address/jid.js';
import type { Maybe } from '../../server/module/index.js';
import type { Origin } from '../../server/routing/passage.js';
import { NS } from '../../server/stanza/ns.js';
import type { Stanza } from '../../server/stanza/stanza.js';
import { type Element, el } from '../../server/xml/element.js';
import { withBody } from './events.js';
import { showsOf } from './guests.js';
import type { Holder, Show, Subscriber } from './node.js';
import type { PubSub } from './pubsub.js';
import { accepts, solicited } from './speakers.js';

/** Routes a stanza of the holder unless the holder has blocked the recipient. `origin` names further speakers. */
export function deliver({ host }: PubSub, stanza: Stanza, origin?: Origin): Maybe<void> {
  const admitted = host.admits(stanza);
  if (admitted instanceof Promise) return admitted.then((yes) => (yes ? host.route(stanza, origin) : undefined));
  return admitted ? host.route(stanza, origin) : undefined;
}

export const isActive = (subscriber: Subscriber): boolean =>
  subscriber.state === 'subscribed' && subscriber.deliver !== false;

/** §7.1.2.7, §12.20. */
export const subids = (subscribers: readonly Subscriber[]): Element =>
  el('headers', { xmlns: NS.shim }, ...subscribers.map(({ subid }) => el('header', { name: 'SubID' }, subid)));

/** Delivers an event according to the subscriber's options; may skip it. */
export function toSubscriber(
  pubsub: PubSub,
  holder: Holder,
  subscriber: Subscriber,
  event: Stanza,
  origin: Origin | undefined,
): Maybe<void> {
  if (subscriber.by === undefined) return toSubscribed(pubsub, holder, subscriber, event, origin);
  const speakers = [Jid.parse(subscriber.by), ...(origin?.behalf?.speakers ?? [])];
  const go = (isAccepted: boolean) =>
    isAccepted ? toSubscribed(pubsub, holder, subscriber, event, solicited(speakers, origin?.audience)) : undefined;
  const accepted = accepts(pubsub, subscriber);
  return accepted instanceof Promise ? accepted.then(go) : go(accepted);
}

function toSubscribed(
  pubsub: PubSub,
  holder: Holder,
  subscriber: Subscriber,
  event: Stanza,
  origin: Origin | undefined,
): Maybe<void> {
  const { jid, node, expires, shows, body } = subscriber;
  const send = () => deliver(pubsub, (body ? withBody(event) : event).with({ to: jid }), origin);
  const isForPresent = node.config['pubsub#presence_based_delivery'];
  if (!isForPresent && shows === undefined && expires !== 'presence') return send();
  const go = (present: readonly Show[] | undefined): Maybe<void> => {
    // The client left while the server was down.
    if (expires === 'presence' && present?.length === 0) return pubsub.end(holder, node, subscriber);
    if (isForPresent && !present?.length) return;
    if (shows !== undefined && present !== undefined && !present.some((show) => shows.includes(show))) return;
    return send();
  };
  const present = showsOf(pubsub, holder, jid);
  return present instanceof Promise ? present.then(go) : go(present);
}
