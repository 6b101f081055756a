/** §5: service discovery: features, nodes, metadata of a node, and its items. */
import type { DiscoItem, DiscoQuery, DiscoSource } from '../../server/module/index.js';
import { formatDateTime } from '../../server/stanza/datetime.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { type Field, form, readForm } from '../../server/stanza/forms.js';
import { NS } from '../../server/stanza/ns.js';
import type { Element } from '../../server/xml/element.js';
import { type Barrier, barrier, entryFor, missing, ownersOf, refusal } from './access.js';
import { childrenOf, isCollection } from './collections.js';
import type { Holder, Node } from './node.js';
import type { PubSub } from './pubsub.js';

/** §10: features of accounts and the service. */
const everywhere = [
  'access-authorize',
  'access-open',
  'access-presence',
  'access-roster',
  'access-whitelist',
  'auto-create',
  'collections',
  'config-node',
  'config-node-max',
  'create-and-configure',
  'create-nodes',
  'delete-items',
  'delete-nodes',
  'get-pending',
  'instant-nodes',
  'item-ids',
  'last-published',
  'leased-subscription',
  'manage-subscriptions',
  'member-affiliation',
  'meta-data',
  'multi-collections',
  'modify-affiliations',
  'multi-items',
  'multi-subscribe',
  'outcast-affiliation',
  'persistent-items',
  'presence-notifications',
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

const further = [NS.orderBy, `${NS.orderBy}@${NS.pubsub}`, NS.pubsubFilter, NS.attachments];

export const serviceFeatures = [NS.pubsub, ...everywhere, ...further, NS.pps, NS.rsm];
export const accountFeatures = [
  NS.pubsub,
  ...everywhere,
  ...further,
  `${NS.pubsub}#auto-subscribe`,
  `${NS.pubsub}#filtered-notifications`,
  `${NS.pubsub}#presence-subscribe`,
  `${NS.pubsub}#pubsub-on-a-jid`,
];

const metaData = `${NS.pubsub}#meta-data`;

export function sources(pubsub: PubSub, isAccount: boolean): DiscoSource[] {
  interface Queried {
    readonly holder: Holder;
    readonly node: Node;
    readonly obstacle: Barrier | undefined;
  }

  /** The queried node. Throws StanzaError if it does not exist. */
  const queried = async ({ from, to, node: name }: DiscoQuery): Promise<Queried> => {
    const prepare = (holder: Holder, node: Node) => entryFor(pubsub, holder, node, from.bare);
    return pubsub.holders.inTurn(to.bare, name ?? '', prepare, ({ holder, node, prepared }) => {
      if (node === undefined) throw missing(holder, name ?? '', from.bare, prepared);
      return { holder, node, obstacle: barrier(holder, node, from.bare, prepared) };
    });
  };

  /** The same, if it is readable for the requester. Throws StanzaError. */
  const readable = async (query: DiscoQuery): Promise<Queried> => {
    const found = await queried(query);
    if (found.obstacle !== undefined) throw refusal(found.obstacle);
    return found;
  };

  /**
   * §5.3: metadata is available even without read access, so that one can request a subscription. On an account, nodes
   * with the model whitelist, and nodes that ban the requester, stay hidden.
   */
  const described = async (query: DiscoQuery): Promise<Queried & { readonly isShutOut: boolean }> => {
    const found = await queried(query);
    const { obstacle } = found;
    const isShutOut = obstacle === 'whitelist' || obstacle === 'outcast';
    if (isShutOut && isAccount) throw refusal(obstacle);
    return { ...found, isShutOut };
  };

  return [
    {
      identities: () => [
        isAccount
          ? { category: 'pubsub', type: 'pep' }
          : { category: 'pubsub', type: 'service', name: 'Publish-Subscribe' },
      ],
      /** §5.2: the nodes that the requester may read. */
      items: async ({ from, to, payload }) => {
        const isWanted = typesIn(payload);
        const holder = await pubsub.holders.get(to.bare);
        const items: DiscoItem[] = [];
        for (const node of holder.nodes.values()) {
          // XEP-0248 §4.2: nodes in a collection are listed there
          if (node.config['pubsub#collection'].some((name) => holder.nodes.has(name))) continue;
          if (!isWanted(node.config['pubsub#type'])) continue;
          const entry = entryFor(pubsub, holder, node, from.bare);
          if (barrier(holder, node, from.bare, entry instanceof Promise ? await entry : entry) !== undefined) continue;
          items.push({ jid: holder.jid.bare, node: node.name, name: node.config['pubsub#title'] || undefined });
        }
        return items;
      },
    },
    {
      // Nodes of ad-hoc commands share this namespace.
      node: (name) => name !== NS.commands && !pubsub.host.declared.commands().some((command) => command.node === name),
      identities: async (query) => {
        const { node } = await described(query);
        return isCollection(node)
          ? [
              { category: 'pubsub', type: 'collection' },
              { category: 'hierarchy', type: 'branch' },
            ]
          : [{ category: 'pubsub', type: 'leaf' }];
      },
      features: () => [NS.pubsub],
      /** §5.4. */
      forms: async (query) => {
        const { holder, node, isShutOut } = await described(query);
        const { config, stored, subscriptions } = node;
        const access: Field = { var: 'pubsub#access_model', type: 'list-single', value: config['pubsub#access_model'] };
        if (isShutOut) return [form({ type: 'result', formType: metaData, fields: [access] })];
        const publishers = Object.entries(stored.affiliations).flatMap(([jid, one]) =>
          one === 'publisher' ? jid : [],
        );
        const subscribed = [...subscriptions.values()].filter(({ state }) => state === 'subscribed');
        return [
          form({
            type: 'result',
            formType: metaData,
            fields: [
              { var: 'pubsub#title', type: 'text-single', value: config['pubsub#title'] },
              { var: 'pubsub#description', type: 'text-single', value: config['pubsub#description'] },
              { var: 'pubsub#type', type: 'text-single', value: config['pubsub#type'] },
              { var: 'pubsub#language', type: 'list-single', value: config['pubsub#language'] },
              { var: 'pubsub#contact', type: 'jid-multi', value: config['pubsub#contact'] },
              access,
              { var: 'pubsub#publish_model', type: 'list-single', value: config['pubsub#publish_model'] },
              { var: 'pubsub#max_items', type: 'text-single', value: config['pubsub#max_items'] },
              { var: 'pubsub#creator', type: 'jid-single', value: stored.creator },
              { var: 'pubsub#creation_date', type: 'text-single', value: formatDateTime(stored.created) },
              { var: 'pubsub#owner', type: 'jid-multi', value: ownersOf(holder, node) },
              { var: 'pubsub#publisher', type: 'jid-multi', value: publishers },
              { var: 'pubsub#num_subscribers', type: 'text-single', value: subscribed.length },
            ],
          }),
        ];
      },
      /** §5.5. */
      items: async (query) => {
        const { holder, node } = await readable(query);
        if (isCollection(node))
          return childrenOf(holder, node.name).map(({ name, config }) => ({
            jid: holder.jid.bare,
            node: name,
            name: config['pubsub#title'] || undefined,
          }));
        const items = await pubsub.holders.items(holder, node);
        return [...items.index.keys()].map((name) => ({ jid: holder.jid.bare, name }));
      },
    },
  ];
}

/** XEP-0462: a predicate for the requested node types; '' is a node without a type. Throws StanzaError. */
function typesIn(payload: Element | undefined): (type: string) => boolean {
  const element = payload?.getChild('filter', NS.pubsubFilter)?.getChild('x', NS.dataForms);
  if (element === undefined) return () => true;
  const form = readForm(element, NS.pubsubFilter);
  const [included, excluded] = ['included-types', 'excluded-types'].map((name) => form.fields.get(name));
  if (included !== undefined && excluded !== undefined) throw new StanzaError('bad-request');
  return (type) => included?.includes(type) ?? !excluded?.includes(type);
}
