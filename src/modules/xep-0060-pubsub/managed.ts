/** Nodes that the server maintains and that follow another node: those of XEP-0465, and the summaries of XEP-0470. */
import { flat } from '../../server/address/flat.js';
import { NS } from '../../server/stanza/ns.js';
import { type Element, serialize } from '../../server/xml/element.js';
import { itemEvent, retractEvent } from './events.js';
import type { Holder, Node } from './node.js';
import type { NodeConfig } from './node-config.js';
import { notify } from './notify.js';
import type { PubSub } from './pubsub.js';

export const subscribersOf = (node: string): string => `${NS.pps.replace(/:0$/, ':subscribers:0')}/${node}`;
export const summaryOf = (node: string): string => `${NS.attachmentsSummary}/${node}`;
/** XEP-0465 §4.2: an account's own subscriptions; written by the module of XEP-0376. */
const ownSubscriptions = NS.pps.replace(/:0$/, ':subscriptions:0');
const prefixes = [subscribersOf(''), summaryOf('')];

/** Whether only the server may write to a node of this name. */
export const isManaged = (name: string): boolean =>
  name === ownSubscriptions || prefixes.some((prefix) => name.startsWith(prefix));
export const isAttachments = (name: string): boolean => name.startsWith(`${NS.attachments}/`);

/** The settings that a node shares with the one it follows. */
export const shared = ({ config }: Node): Partial<NodeConfig> => ({
  'pubsub#access_model': config['pubsub#access_model'],
  'pubsub#roster_groups_allowed': config['pubsub#roster_groups_allowed'],
});

/** Initial configuration of a follower. */
const following = (node: Node, more: Partial<NodeConfig> = {}): Partial<NodeConfig> => ({
  ...shared(node),
  'pubsub#max_items': 'max',
  'pubsub#send_last_published_item': 'never',
  ...more,
});

/** XEP-0470 §4.3: everyone who may publish may attach. */
export const attachmentsConfig = (node: Node): Partial<NodeConfig> =>
  following(node, { 'pubsub#publish_model': node.config['pubsub#publish_model'] });

/** Puts an item into a managed node, which is created with its first item. */
export function put(
  pubsub: PubSub,
  { jid }: Holder,
  followed: Node,
  name: string,
  id: string,
  payload: Element,
): Promise<void> {
  const { holders } = pubsub;
  return holders.inTurn(
    jid.bare,
    name,
    () => undefined,
    async ({ holder, node: found, items }) => {
      const writes: Promise<unknown>[] = [];
      let node = found;
      if (node === undefined) {
        const made = holders.create(holder, name, holder.jid, following(followed), followed.stored.affiliations);
        writes.push(made.write);
        node = made.node;
      }
      const event = itemEvent(holder, node, id, jid.bare, payload);
      const item = { by: jid.bare, xml: flat(serialize(payload)) };
      writes.push(holders.setItem(holder, node, items ?? node.items!, id, item, event));
      await holders.commit(holder, ...writes);
      notify(pubsub, holder, node, event);
    },
  );
}

/** Removes an item from a managed node. */
export function take(pubsub: PubSub, { jid }: Holder, name: string, id: string): Promise<void> {
  const { holders } = pubsub;
  return holders.inTurn(
    jid.bare,
    name,
    () => undefined,
    async ({ holder, node, items }) => {
      if (node === undefined || !items!.index.has(id)) return;
      await holders.commit(holder, holders.removeItems(holder, node, items!, [id]));
      notify(pubsub, holder, node, retractEvent(holder, node, [id]));
    },
  );
}

/** The nodes that follow this one. */
export const followersOf = (holder: Holder, node: Node): Node[] =>
  [...holder.nodes.values()].filter(
    ({ name }) =>
      name === subscribersOf(node.name) ||
      name === summaryOf(node.name) ||
      (isAttachments(name) && name.startsWith(attachmentsPrefix(holder, node.name))),
  );

export const attachmentsPrefix = (holder: Holder, node: string): string =>
  `${NS.attachments}/xmpp:${holder.jid.bare}?;node=${encodeURIComponent(node)};item=`;
