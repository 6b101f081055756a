/**
 * §7.1.2, §12.4 and XEP-0163 §4: who is notified. Those who subscribed explicitly; and of an account's nodes its own
 * clients and those of its contacts that say in their capabilities that they want it (`NODE+notify`).
 */
import type { RosterItem } from '../../server/module.js';
import type { Session } from '../../server/routing/session.js';
import { Jid } from '../../server/stanza/jid.js';
import type { Stanza } from '../../server/stanza/stanza.js';
import { barrier, entryFor } from './access.js';
import type { Holder, Node, PubSub } from './node.js';

type Maybe<T> = T | Promise<T>;

export const interest = (node: string): string => `${node}+notify`;

const sees = ({ subscription }: RosterItem): boolean => subscription === 'from' || subscription === 'both';

/** Says to one what the holder says to all: not to whom it has blocked. */
export function tell({ host }: PubSub, stanza: Stanza): Maybe<void> {
  const admitted = host.admits(stanza);
  if (admitted instanceof Promise) return admitted.then((yes) => (yes ? host.route(stanza) : undefined));
  return admitted ? host.route(stanza) : undefined;
}

/** Nobody waits for those who are told: how they are is seen to where the stanza goes. */
export function notify(pubsub: PubSub, holder: Holder, node: Node, event: Stanza): void {
  if (!node.config['pubsub#deliver_notifications']) return;
  if (node.subscriptions.size > 0) pubsub.aside(notifySubscribers(pubsub, holder, node, event));
  if (!holder.isAccount) return;
  const { host, caps, roster } = pubsub;
  const wanted = interest(node.name);
  for (const session of host.sessions(holder.jid.bare))
    if (wants(pubsub, session, wanted) && !isSubscriber(node, session.jid))
      session.send(event.with({ to: session.jid }));

  const toContacts = (items: ReadonlyMap<string, RosterItem>) => {
    for (const [contact, item] of items) {
      if (!sees(item) || contact === holder.jid.bare) continue;
      const sessions = host.sessions(contact);
      if (sessions.length === 0 || barrier(holder, node, contact, item) !== undefined) continue;
      for (const session of sessions) {
        if (session.presence === undefined || !caps.features(session).has(wanted)) continue;
        if (!isSubscriber(node, session.jid)) pubsub.aside(tell(pubsub, event.with({ to: session.jid })));
      }
    }
  };
  const items = roster.get(holder.jid.bare);
  pubsub.aside(items instanceof Promise ? items.then(toContacts) : toContacts(items));
}

export const wants = ({ caps }: PubSub, session: Session, feature: string): boolean =>
  session.presence !== undefined && caps.features(session).has(feature);

/** Is told as a subscriber already. */
const isSubscriber = (node: Node, jid: Jid): boolean =>
  node.subscriptions.size > 0 && (isTold(node, jid.full) || isTold(node, jid.bare));

const isTold = (node: Node, jid: string): boolean => {
  const subscription = node.subscriptions.get(jid);
  return subscription?.state === 'subscribed' && subscription.deliver !== false;
};

async function notifySubscribers(pubsub: PubSub, holder: Holder, node: Node, event: Stanza): Promise<void> {
  for (const [full, { state, deliver }] of [...node.subscriptions]) {
    if (state !== 'subscribed' || deliver === false) continue;
    const to = Jid.parse(full);
    const item = entryFor(pubsub, holder, node, to.bare);
    const obstacle = barrier(holder, node, to.bare, item instanceof Promise ? await item : item);
    if (obstacle === undefined) pubsub.aside(tell(pubsub, event.with({ to })));
  }
}
