/** §5: what accounts and the service can do, which nodes they have, what is known of a node, and which items it has. */
import type { DiscoQuery, DiscoSource } from '../../server/module.js';
import { formatDateTime } from '../../server/stanza/datetime.js';
import { form } from '../../server/stanza/forms.js';
import { NS } from '../../server/stanza/ns.js';
import { el } from '../../server/xml/element.js';
import { barrier, demandReading, entryFor, ownersOf } from './access.js';
import type { Holder, Node, PubSub } from './node.js';

/** §10: what is supported wherever there are nodes. */
const everywhere = [
  'access-authorize',
  'access-open',
  'access-presence',
  'access-roster',
  'access-whitelist',
  'auto-create',
  'config-node',
  'config-node-max',
  'create-and-configure',
  'create-nodes',
  'delete-items',
  'delete-nodes',
  'instant-nodes',
  'item-ids',
  'last-published',
  'manage-subscriptions',
  'member-affiliation',
  'meta-data',
  'modify-affiliations',
  'multi-items',
  'outcast-affiliation',
  'persistent-items',
  'publish',
  'publish-node-full',
  'publish-only-affiliation',
  'publish-options',
  'publisher-affiliation',
  'purge-nodes',
  'retract-items',
  'retrieve-affiliations',
  'retrieve-default',
  'retrieve-default-sub',
  'retrieve-items',
  'retrieve-subscriptions',
  'rsm',
  'subscribe',
  'subscription-notifications',
  'subscription-options',
].map((name) => `${NS.pubsub}#${name}`);

export const serviceFeatures = [NS.pubsub, ...everywhere, NS.rsm];
export const accountFeatures = [
  NS.pubsub,
  ...everywhere,
  `${NS.pubsub}#auto-subscribe`,
  `${NS.pubsub}#filtered-notifications`,
  `${NS.pubsub}#presence-notifications`,
  `${NS.pubsub}#presence-subscribe`,
  `${NS.pubsub}#pubsub-on-a-jid`,
];

export function sources(pubsub: PubSub, isAccount: boolean): DiscoSource[] {
  /** The node that is asked about, if the asker may know of it. Throws StanzaError. */
  const asked = async ({ from, to, node: name }: DiscoQuery): Promise<{ holder: Holder; node: Node }> => {
    const prepare = (holder: Holder, node: Node) => entryFor(pubsub, holder, node, from.bare);
    return pubsub.holders.inTurn(to.bare, name ?? '', prepare, ({ holder, node, prepared }) => ({
      holder,
      node: demandReading(holder, node, from.bare, prepared),
    }));
  };

  return [
    {
      identities: () => [
        isAccount
          ? { category: 'pubsub', type: 'pep' }
          : { category: 'pubsub', type: 'service', name: 'Publish-Subscribe' },
      ],
      /** §5.2: the nodes that the asker may read. */
      items: async ({ from, to }) => {
        const holder = await pubsub.holders.get(to.bare);
        const items = [];
        for (const node of holder.nodes.values()) {
          const entry = entryFor(pubsub, holder, node, from.bare);
          if (barrier(holder, node, from.bare, entry instanceof Promise ? await entry : entry) !== undefined) continue;
          items.push(
            el('item', { jid: holder.jid.bare, node: node.name, name: node.config['pubsub#title'] || undefined }),
          );
        }
        return items;
      },
    },
    {
      // Ad-hoc commands have the same kind of names.
      node: (name) => name !== NS.commands && !pubsub.host.declared.commands().some((command) => command.node === name),
      identities: async (query) => {
        await asked(query);
        return [{ category: 'pubsub', type: 'leaf' }];
      },
      features: () => [NS.pubsub],
      /** §5.4. */
      forms: async (query) => {
        const { holder, node } = await asked(query);
        const { config, stored, subscriptions } = node;
        const subscribed = [...subscriptions.values()].filter(({ state }) => state === 'subscribed');
        return [
          form({
            type: 'result',
            formType: `${NS.pubsub}#meta-data`,
            fields: [
              { var: 'pubsub#title', type: 'text-single', value: config['pubsub#title'] },
              { var: 'pubsub#description', type: 'text-single', value: config['pubsub#description'] },
              { var: 'pubsub#type', type: 'text-single', value: config['pubsub#type'] },
              { var: 'pubsub#language', type: 'text-single', value: config['pubsub#language'] },
              { var: 'pubsub#access_model', type: 'list-single', value: config['pubsub#access_model'] },
              { var: 'pubsub#publish_model', type: 'list-single', value: config['pubsub#publish_model'] },
              { var: 'pubsub#max_items', type: 'text-single', value: config['pubsub#max_items'] },
              { var: 'pubsub#creator', type: 'jid-single', value: stored.creator },
              { var: 'pubsub#creation_date', type: 'text-single', value: formatDateTime(stored.created) },
              { var: 'pubsub#owner', type: 'jid-multi', value: ownersOf(holder, node) },
              { var: 'pubsub#num_subscribers', type: 'text-single', value: subscribed.length },
            ],
          }),
        ];
      },
      /** §5.5. */
      items: async (query) => {
        const { holder, node } = await asked(query);
        const items = await pubsub.holders.items(holder, node);
        return [...items.index.keys()].map((name) => el('item', { jid: holder.jid.bare, name }));
      },
    },
  ];
}
