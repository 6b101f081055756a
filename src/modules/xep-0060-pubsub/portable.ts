/**
 * XEP-0227 §4.10: the nodes of an account with their items. Elements of our own have what the specification leaves out:
 * node records and subscription options before it, the times of items after it.
 */
import { z } from 'zod';
import { Jid } from '../../server/address/jid.js';
import { wall } from '../../server/clock.js';
import { type Portable, portableJson, takeEach } from '../../server/module/index.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { stanzaId, timeOf } from '../../server/stanza/ids.js';
import { NS } from '../../server/stanza/ns.js';
import { checkOf } from '../../server/stanza/stored.js';
import { type Element, el, escapeAttribute, serialize } from '../../server/xml/element.js';
import { keyOf, separator } from './holders.js';
import { affiliations, firstSubid, type StoredItem, type StoredNode, type Stores } from './node.js';
import { asSpace, defaults, differing, type NodeConfig, readConfig, shownConfig } from './node-config.js';
import type { Settings } from './settings.js';
import { storedNode, storedSubscription, subscriptionKey } from './stored.js';

/** Items per read. */
const page = 100;
/** Longest name of a node, and id of an item. */
const longestName = 1023;
/** End of the `at` of an item whose time is not known: the time of the import. */
const imported = 'vvvv';

const isNode = checkOf(storedNode);
const isSubscription = checkOf(storedSubscription, subscriptionKey);
const headSchema = z.tuple([z.string(), z.string(), z.string(), z.string().nullable()]);

export function portableNodes(stores: Stores, settings: Settings): Portable {
  const usual = defaults(true, settings);

  async function* itemsOf(bare: string, node: string): AsyncGenerator<[id: string, at: string]> {
    const start = keyOf(node, '');
    for (let after = start; ; ) {
      const entries = await stores.pubsub_items.page(bare, { after, limit: page });
      for (const [key, { at }] of entries) {
        if (!key.startsWith(start)) return;
        yield [key.slice(start.length), at];
      }
      if (entries.length < page) return;
      after = entries.at(-1)![0];
    }
  }

  /** The ids of a node in the order of publication. */
  const idsOf = async (bare: string, node: string): Promise<string[]> => {
    const found: [id: string, at: string][] = [];
    for await (const one of itemsOf(bare, node)) found.push(one);
    return found.sort(([, one], [, other]) => (one < other ? -1 : 1)).map(([id]) => id);
  };

  const record = (name: string, value: unknown): string =>
    serialize(el(name, { xmlns: NS.portable }, portableJson(value)), NS.portable);

  async function* written(bare: string): AsyncGenerator<string> {
    const nodes = await stores.pubsub_nodes.all(bare);
    if (nodes.size === 0) return;
    const subscriptions = [...(await stores.pubsub_subscriptions.all(bare))];
    yield `<pubsub xmlns="${NS.portable}">`;
    for (const [name, node] of nodes) yield record('node', [name, node]);
    for (const entry of subscriptions) yield record('subscription', entry);
    yield '</pubsub>';

    const present = [...nodes].filter(([, { movedTo }]) => movedTo === undefined);
    if (present.length === 0) return;
    yield `<pubsub xmlns="${NS.pubsubOwner}">`;
    for (const [name, node] of present)
      yield* configured(
        name,
        node,
        subscriptions.map(([key, { state }]) => [key, state]),
      );
    yield '</pubsub>';

    yield `<pubsub xmlns="${NS.pubsub}">`;
    for (const [name] of present) {
      yield `<items node="${escapeAttribute(name)}">`;
      for (const id of await idsOf(bare, name)) {
        const item = await stores.pubsub_items.get(bare, keyOf(name, id));
        if (item === undefined) continue;
        const publisher = item.by === bare ? '' : ` publisher="${escapeAttribute(item.by)}"`;
        yield `<item id="${escapeAttribute(id)}"${publisher}>${item.xml}</item>`;
      }
      yield '</items>';
    }
    yield '</pubsub>';

    yield `<pubsub xmlns="${NS.portable}">`;
    for (const [name] of present) {
      for (const id of await idsOf(bare, name)) {
        const item = await stores.pubsub_items.get(bare, keyOf(name, id));
        if (item !== undefined) yield record('item', [name, id, item.at, item.created ?? null]);
      }
    }
    yield '</pubsub>';
  }

  /** §4.10.1. */
  function* configured(
    name: string,
    node: StoredNode,
    subscriptions: readonly (readonly [key: string, state: string])[],
  ): Generator<string> {
    const form = shownConfig({ ...usual, ...node.config });
    yield serialize(el('configure', { xmlns: NS.pubsubOwner, node: name }, form), NS.pubsubOwner);
    const given = Object.entries(node.affiliations);
    if (given.length > 0) {
      const all = given.map(([jid, affiliation]) => el('affiliation', { jid, affiliation }));
      yield serialize(el('affiliations', { xmlns: NS.pubsubOwner, node: name }, ...all), NS.pubsubOwner);
    }
    const subscribed = subscriptions.flatMap(([key, state]) => {
      const [of, jid, subid = firstSubid] = key.split(separator);
      return of === name ? el('subscription', { jid, subscription: state, subid }) : [];
    });
    if (subscribed.length > 0)
      yield serialize(el('subscriptions', { xmlns: NS.pubsubOwner, node: name }, ...subscribed), NS.pubsubOwner);
  }

  const nodeOf = async (owner: Jid, name: string, config: Partial<NodeConfig>): Promise<StoredNode> => {
    const before = await stores.pubsub_nodes.get(owner.bare, name);
    if (before !== undefined) return before;
    if ((await stores.pubsub_nodes.count(owner.bare)) >= settings.nodes_per_account)
      throw new StanzaError('resource-constraint', `an account has at most ${settings.nodes_per_account} nodes`);
    const stored: StoredNode = {
      v: 1,
      config: differing({ ...usual, ...asSpace(config) }, usual),
      creator: owner.bare,
      created: wall(),
      affiliations: {},
    };
    await stores.pubsub_nodes.set(owner.bare, [[name, stored]]);
    return stored;
  };

  const configure = async (owner: Jid, element: Element): Promise<void> => {
    const name = nameIn(element.attrs.node);
    const form = element.getChild('x', NS.dataForms);
    if (form !== undefined) form.attrs.type = 'submit'; // the specification's example has the type "form"
    const { 'pubsub#children': _, ...config } = readConfig(form, settings) ?? {};
    await nodeOf(owner, name, config);
  };

  const affiliate = async (owner: Jid, element: Element): Promise<void> => {
    const name = nameIn(element.attrs.node);
    const node = await nodeOf(owner, name, closed);
    const given = new Map<string, StoredNode['affiliations'][string]>();
    for (const { attrs } of element.getChildren('affiliation', NS.pubsubOwner)) {
      const jid = Jid.tryParse(attrs.jid ?? '')?.bare;
      const affiliation = affiliations.find((one) => one === attrs.affiliation);
      if (jid === undefined || affiliation === undefined)
        throw new StanzaError('bad-request', 'an affiliation is not valid');
      if (jid !== owner.bare && affiliation !== 'none') given.set(jid, affiliation);
    }
    await stores.pubsub_nodes.set(owner.bare, [
      [name, { ...node, affiliations: { ...Object.fromEntries(given), ...node.affiliations } }],
    ]);
  };

  const subscribe = async (owner: Jid, element: Element): Promise<void> => {
    const name = nameIn(element.attrs.node);
    await nodeOf(owner, name, closed);
    for (const { attrs } of element.getChildren('subscription', NS.pubsubOwner)) {
      const jid = Jid.tryParse(attrs.jid ?? '');
      const state = (['subscribed', 'pending'] as const).find((one) => one === attrs.subscription);
      if (jid === undefined || state === undefined) throw new StanzaError('bad-request', 'a subscription is not valid');
      const key = keyOf(name, jid.full);
      if ((await stores.pubsub_subscriptions.get(owner.bare, key)) === undefined)
        await stores.pubsub_subscriptions.set(owner.bare, [[key, { state }]]);
    }
  };

  const publish = async (owner: Jid, items: Element): Promise<void> => {
    const name = nameIn(items.attrs.node);
    // Nothing says who may read it.
    await nodeOf(owner, name, closed);
    const item = items.getChild('item', NS.pubsub);
    if (item === undefined) return;
    const id = nameIn(item.attrs.id);
    const key = keyOf(name, id);
    if ((await stores.pubsub_items.get(owner.bare, key)) !== undefined) return;
    const [payload] = item.getChildElements();
    const xml = payload === undefined ? '' : serialize(payload);
    if (Buffer.byteLength(xml) > settings.item_bytes)
      throw new StanzaError('policy-violation', `an item can have at most ${settings.item_bytes} bytes`);
    const by = Jid.tryParse(item.attrs.publisher ?? '')?.bare ?? owner.bare;
    const at = stanzaId(owner.bare).slice(0, -imported.length) + imported;
    await stores.pubsub_items.set(owner.bare, [[key, { at, by, xml }]]);
  };

  /** Our own elements, which only have what is not known otherwise. */
  const complete = async ({ bare }: Jid, element: Element): Promise<void> => {
    const value = jsonIn(element);
    const name = element.getName();
    if (name === 'item') {
      const [node, id, at, created] = headSchema.safeParse(value).data ?? ['', '', '', null];
      const key = keyOf(node, id);
      const item = await stores.pubsub_items.get(bare, key);
      if (item === undefined || !item.at.endsWith(imported)) return;
      if (Number.isNaN(timeOf(at))) throw new StanzaError('bad-request', 'its time is not valid');
      const dated: StoredItem = { ...item, at, ...(created !== null && { created }) };
      await stores.pubsub_items.set(bare, [[key, dated]]);
      return;
    }
    const [key, stored] = Array.isArray(value) ? (value as readonly unknown[]) : [];
    const isFit = name === 'node' ? isNode(stored, '') : name === 'subscription' && isSubscription(stored, String(key));
    if (typeof key !== 'string' || !isFit) throw new StanzaError('bad-request', 'it does not fit the schema');
    const store = name === 'node' ? stores.pubsub_nodes : stores.pubsub_subscriptions;
    if ((await store.get(bare, key)) === undefined) await store.set(bare, [[key, stored as never]]);
  };

  return {
    takes: [
      { ns: NS.portable, name: 'pubsub', containers: 1 },
      { ns: NS.pubsubOwner, name: 'pubsub', containers: 1 },
      { ns: NS.pubsub, name: 'pubsub', containers: 2 },
    ],
    export: ({ bare }) => written(bare),
    async import(owner, parts) {
      const refused = await takeEach(
        parts,
        (part) => `<${part.getChildElements()[0]?.getName() ?? 'pubsub'}> of nodes`,
        async (part) => {
          const [element] = part.getChildElements();
          if (element === undefined) return;
          if (part.is('pubsub', NS.portable)) return complete(owner, element);
          switch (element.getName()) {
            case 'configure':
              return configure(owner, element);
            case 'affiliations':
              return affiliate(owner, element);
            case 'subscriptions':
              return subscribe(owner, element);
            case 'items':
              return publish(owner, element);
            default:
              throw new StanzaError('feature-not-implemented', 'it is not known');
          }
        },
      );
      // Measured again when it is next needed.
      await stores.pubsub_usage.delete(owner.bare);
      return { refused };
    },
  };
}

const closed = { 'pubsub#access_model': 'whitelist' } as const;

function nameIn(text: string | undefined): string {
  if (text === undefined || text === '' || Buffer.byteLength(text) > longestName)
    throw new StanzaError('bad-request', 'its name is missing or too long');
  return text;
}

function jsonIn(element: Element): unknown {
  try {
    return JSON.parse(element.getText());
  } catch {
    return undefined;
  }
}
