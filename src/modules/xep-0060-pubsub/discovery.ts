/** §5: what accounts and the service can do, which nodes they have, what is known of a node, and which items it has. */
import type { DiscoQuery, DiscoSource } from '../../server/module.js';
import { formatDateTime } from '../../server/stanza/datetime.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { form, readForm } from '../../server/stanza/forms.js';
import { NS } from '../../server/stanza/ns.js';
import { readRsm, rsmSet } from '../../server/stanza/rsm.js';
import { type Element, el } from '../../server/xml/element.js';
import { barrier, demandReading, entryFor, missing, ownersOf } from './access.js';
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
  'get-pending',
  'instant-nodes',
  'item-ids',
  'last-published',
  'leased-subscription',
  'manage-subscriptions',
  'member-affiliation',
  'meta-data',
  'modify-affiliations',
  'multi-items',
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

export function sources(pubsub: PubSub, isAccount: boolean): DiscoSource[] {
  /** The node that is asked about, if the asker may know of it. Throws StanzaError. */
  const asked = async ({ from, to, node: name }: DiscoQuery): Promise<{ holder: Holder; node: Node }> => {
    const prepare = (holder: Holder, node: Node) => entryFor(pubsub, holder, node, from.bare);
    return pubsub.holders.inTurn(to.bare, name ?? '', prepare, ({ holder, node, prepared }) => {
      if (node === undefined) throw missing(holder, name ?? '', from.bare, prepared);
      return { holder, node: demandReading(holder, node, from.bare, prepared) };
    });
  };

  return [
    {
      identities: () => [
        isAccount
          ? { category: 'pubsub', type: 'pep' }
          : { category: 'pubsub', type: 'service', name: 'Publish-Subscribe' },
      ],
      /** §5.2: the nodes that the asker may read. */
      items: async ({ from, to, payload }) => {
        const isWanted = typesIn(payload);
        const holder = await pubsub.holders.get(to.bare);
        const items = [];
        for (const node of holder.nodes.values()) {
          if (!isWanted(node.config['pubsub#type'])) continue;
          const entry = entryFor(pubsub, holder, node, from.bare);
          if (barrier(holder, node, from.bare, entry instanceof Promise ? await entry : entry) !== undefined) continue;
          items.push(
            el('item', { jid: holder.jid.bare, node: node.name, name: node.config['pubsub#title'] || undefined }),
          );
        }
        return paged(items, payload, 'node');
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
        const publishers = Object.entries(stored.affiliations).flatMap(([jid, one]) =>
          one === 'publisher' ? jid : [],
        );
        const subscribed = [...subscriptions.values()].filter(({ state }) => state === 'subscribed');
        return [
          form({
            type: 'result',
            formType: `${NS.pubsub}#meta-data`,
            fields: [
              { var: 'pubsub#title', type: 'text-single', value: config['pubsub#title'] },
              { var: 'pubsub#description', type: 'text-single', value: config['pubsub#description'] },
              { var: 'pubsub#type', type: 'text-single', value: config['pubsub#type'] },
              { var: 'pubsub#language', type: 'list-single', value: config['pubsub#language'] },
              { var: 'pubsub#contact', type: 'jid-multi', value: config['pubsub#contact'] },
              { var: 'pubsub#access_model', type: 'list-single', value: config['pubsub#access_model'] },
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
        const { holder, node } = await asked(query);
        const items = await pubsub.holders.items(holder, node);
        const all = [...items.index.keys()].map((name) => el('item', { jid: holder.jid.bare, name }));
        return paged(all, query.payload, 'name');
      },
    },
  ];
}

/** A page of the items (XEP-0059), where one is asked for: they are known by this attribute. */
function paged(items: Element[], payload: Element | undefined, attribute: 'node' | 'name'): Element[] {
  const set = payload?.getChild('set', NS.rsm);
  if (set === undefined) return items;
  const { max, after, before, index = 0 } = readRsm(set, { default: items.length, cap: items.length });
  const positionOf = (id: string): number => {
    const at = items.findIndex(({ attrs }) => attrs[attribute] === id);
    if (at < 0) throw new StanzaError('item-not-found');
    return at;
  };
  const from = after === undefined ? index : positionOf(after) + 1;
  const to = before === undefined || before === true ? items.length : positionOf(before);
  const first = before === undefined ? from : Math.max(from, to - max);
  const page = items.slice(first, Math.min(first + max, to));
  const nameOf = (item: Element | undefined) => item?.attrs[attribute];
  const said = rsmSet({
    first: nameOf(page[0]),
    last: nameOf(page.at(-1)),
    count: items.length,
    index: page.length === 0 ? undefined : first,
  });
  return [...page, said];
}

/** XEP-0462: whether nodes of a type are asked for; '' is that of a node without one. Throws StanzaError. */
function typesIn(payload: Element | undefined): (type: string) => boolean {
  const element = payload?.getChild('filter', NS.pubsubFilter)?.getChild('x', NS.dataForms);
  if (element === undefined) return () => true;
  const form = readForm(element, NS.pubsubFilter);
  const [included, excluded] = ['included-types', 'excluded-types'].map((name) => form.fields.get(name));
  if (included !== undefined && excluded !== undefined) throw new StanzaError('bad-request');
  return (type) => included?.includes(type) ?? !excluded?.includes(type);
}
