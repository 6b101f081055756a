/** Nodes as they are kept, and in memory: those of one account or of the service together, items apart. */
import type { Host, Services } from '../../server/module.js';
import { stanzaId, timeOf } from '../../server/stanza/ids.js';
import { Jid } from '../../server/stanza/jid.js';
import type { Stanza } from '../../server/stanza/stanza.js';
import { parse } from '../../server/xml/element.js';
import { Cache } from '../../storage/cache.js';
import type { MapStore } from '../../storage/contract.js';
import { itemEvent } from './events.js';
import { defaults, differing, type NodeConfig } from './node-config.js';
import type { Settings } from './settings.js';

export const affiliations = ['owner', 'publisher', 'publish-only', 'member', 'outcast', 'none'] as const;
export type Affiliation = (typeof affiliations)[number];

export interface StoredNode {
  readonly v: 1;
  /** What differs from the defaults. */
  readonly config: Partial<NodeConfig>;
  readonly creator: string;
  /** In ms since 1970. */
  readonly created: number;
  /** By bare address. The account itself owns its nodes without being named. */
  readonly affiliations: Readonly<Record<string, Affiliation>>;
}

/** Under the node and the id of the item. */
export interface StoredItem {
  /** Sorts by the time of publication (stanza/ids.ts). */
  readonly at: string;
  /** The bare address of who published it. */
  readonly by: string;
  /** The payload; '' where there is none. */
  readonly xml: string;
}

/** Under the node and the address that is subscribed. */
export interface Subscription {
  readonly state: 'subscribed' | 'pending';
  /** §16.4.3 `pubsub#deliver`. */
  readonly deliver?: false;
}

export interface Stores {
  readonly pubsub_nodes: MapStore<StoredNode>;
  readonly pubsub_items: MapStore<StoredItem>;
  readonly pubsub_subscriptions: MapStore<Subscription>;
}

export interface Node {
  readonly name: string;
  stored: StoredNode;
  config: NodeConfig;
  readonly subscriptions: Map<string, Subscription>;
  /** Loaded when they are first needed. */
  items: Items | undefined;
  loading: Promise<Items> | undefined;
}

/** Which items a node has. */
export interface Items {
  /** `at` by id, in the order of publication. */
  readonly index: Map<string, string>;
  /** The notification of the last one, where it is at hand. */
  last: { readonly id: string; readonly event: Stanza } | undefined;
}

/** An account or the service: whose nodes they are. */
export interface Holder {
  readonly jid: Jid;
  readonly isAccount: boolean;
  readonly defaults: NodeConfig;
  readonly nodes: Map<string, Node>;
  /** Of all nodes together. */
  items: number;
}

/** A node that somebody asked for. */
export interface Found<P = undefined> {
  readonly holder: Holder;
  readonly node: Node | undefined;
  /** Of the node. */
  readonly items: Items | undefined;
  readonly prepared: P | undefined;
}

/** What all files of this folder work with. */
export interface PubSub {
  readonly host: Host;
  readonly settings: Settings;
  readonly stores: Stores;
  readonly roster: Services['roster'];
  readonly caps: Services['clientCaps'];
  readonly holders: Holders;
  /** For what nobody waits for: logs what became of it if it fails. */
  aside(work: void | Promise<unknown>): void;
}

/** No address, node or id has this character: XML does not. */
const separator = '\u0001';
export const keyOf = (node: string, id: string): string => `${node}${separator}${id}`;

const page = 200;
/** Characters of a last item that is kept at hand. */
const atHand = 16_384;

export class Holders {
  readonly #stores: Stores;
  readonly #settings: Settings;
  readonly #cache: Cache<Holder>;
  readonly #service: Jid;

  constructor(stores: Stores, settings: Settings, service: Jid) {
    this.#stores = stores;
    this.#settings = settings;
    this.#service = service;
    this.#cache = new Cache(settings.cached, (bare) => this.#load(bare));
  }

  /** At once where it is in memory. */
  get(bare: string): Holder | Promise<Holder> {
    return this.#cache.get(bare);
  }

  /** What is in memory is not what is on disk, or nothing is there any more. */
  forget(bare: string): void {
    this.#cache.delete(bare);
  }

  async #load(bare: string): Promise<Holder> {
    const isAccount = bare !== this.#service.bare;
    const [nodes, subscriptions, items] = await Promise.all([
      this.#stores.pubsub_nodes.all(bare),
      this.#stores.pubsub_subscriptions.all(bare),
      this.#stores.pubsub_items.count(bare),
    ]);
    const holder: Holder = {
      jid: Jid.parse(bare),
      isAccount,
      defaults: defaults(isAccount, this.#settings),
      nodes: new Map(),
      items,
    };
    for (const [name, stored] of nodes) holder.nodes.set(name, nodeOf(name, stored, holder));
    for (const [key, subscription] of subscriptions) {
      const [name, jid] = key.split(separator) as [string, string];
      holder.nodes.get(name)?.subscriptions.set(jid, subscription);
    }
    return holder;
  }

  /**
   * Does something with a node, if there is one, and with what `prepare` finds out about it before. What `use` does until
   * it waits for something, it does on what is current: two who make or change a node are one behind the other.
   */
  async inTurn<T, P>(
    bare: string,
    name: string,
    prepare: (holder: Holder, node: Node) => P | Promise<P>,
    use: (found: Found<P>) => T | Promise<T>,
  ): Promise<T> {
    for (;;) {
      const holder = await this.get(bare);
      const node = holder.nodes.get(name);
      const items = node && (await this.items(holder, node));
      const prepared = node && (await prepare(holder, node));
      if (this.#cache.peek(bare) !== holder || holder.nodes.get(name) !== node) continue;
      if (node !== undefined) this.#expire(holder, node, items!);
      return use({ holder, node, items, prepared });
    }
  }

  /** Waits for what was written. Where that failed, what is in memory is not what is on disk. */
  async written(holder: Holder, ...writes: readonly Promise<unknown>[]): Promise<void> {
    try {
      await Promise.all(writes);
    } catch (error) {
      this.forget(holder.jid.bare);
      throw error;
    }
  }

  // --- nodes --------------------------------------------------------------------------------------------------

  /** Makes a node; it is there at once. */
  create(
    holder: Holder,
    name: string,
    creator: Jid,
    config: Partial<NodeConfig>,
  ): { node: Node; write: Promise<void> } {
    const stored: StoredNode = {
      v: 1,
      config: differing({ ...holder.defaults, ...config }, holder.defaults),
      creator: creator.bare,
      created: Date.now(),
      affiliations: holder.isAccount ? {} : { [creator.bare]: 'owner' },
    };
    const node = nodeOf(name, stored, holder);
    node.items = { index: new Map(), last: undefined };
    holder.nodes.set(name, node);
    return { node, write: this.#stores.pubsub_nodes.set(holder.jid.bare, [[name, stored]]) };
  }

  /** Changes what is kept of a node itself. */
  change(holder: Holder, node: Node, changed: Partial<Pick<StoredNode, 'config' | 'affiliations'>>): Promise<void> {
    node.stored = { ...node.stored, ...changed };
    node.config = { ...holder.defaults, ...node.stored.config };
    return this.#stores.pubsub_nodes.set(holder.jid.bare, [[node.name, node.stored]]);
  }

  /** Removes a node with all that belongs to it; its items have to be loaded. */
  remove(holder: Holder, node: Node, items: Items): Promise<unknown> {
    const { bare } = holder.jid;
    const { pubsub_nodes, pubsub_subscriptions } = this.#stores;
    holder.nodes.delete(node.name);
    const keys = [...node.subscriptions.keys()].map((jid) => keyOf(node.name, jid));
    return Promise.all([
      pubsub_nodes.delete(bare, [node.name]),
      keys.length === 0 ? undefined : pubsub_subscriptions.delete(bare, keys),
      this.removeItems(holder, node, items, [...items.index.keys()]),
    ]);
  }

  /** Undefined takes it away. */
  setSubscription(holder: Holder, node: Node, jid: string, subscription: Subscription | undefined): Promise<unknown> {
    const { bare } = holder.jid;
    const key = keyOf(node.name, jid);
    if (subscription === undefined) {
      node.subscriptions.delete(jid);
      return this.#stores.pubsub_subscriptions.delete(bare, [key]);
    }
    node.subscriptions.set(jid, subscription);
    return this.#stores.pubsub_subscriptions.set(bare, [[key, subscription]]);
  }

  // --- items --------------------------------------------------------------------------------------------------

  items(holder: Holder, node: Node): Items | Promise<Items> {
    if (node.items !== undefined) return node.items;
    node.loading ??= this.#loadItems(holder, node).then(
      (items) => (node.items = items),
      (error: unknown) => {
        node.loading = undefined;
        throw error;
      },
    );
    return node.loading;
  }

  async #loadItems(holder: Holder, node: Node): Promise<Items> {
    const found: { id: string; item: StoredItem }[] = [];
    let last: { id: string; item: StoredItem } | undefined;
    const end = keyOf(node.name, '');
    let after = end;
    for (;;) {
      const entries = await this.#stores.pubsub_items.page(holder.jid.bare, { after, limit: page });
      const own = entries.filter(([key]) => key.startsWith(end));
      for (const [key, item] of own) {
        const id = key.slice(end.length);
        found.push({ id, item: { ...item, xml: '' } });
        if (last === undefined || item.at > last.item.at) last = { id, item };
      }
      if (own.length < page) break;
      after = own.at(-1)![0];
    }
    found.sort((one, other) => (one.item.at < other.item.at ? -1 : 1));
    const items: Items = { index: new Map(found.map(({ id, item }) => [id, item.at])), last: undefined };
    if (last !== undefined && last.item.xml.length <= atHand)
      items.last = { id: last.id, event: eventOf(holder, node, last.id, last.item) };
    return items;
  }

  /** Keeps an item as the last one; `event` notifies of it. */
  setItem(
    holder: Holder,
    node: Node,
    items: Items,
    id: string,
    item: Omit<StoredItem, 'at'>,
    event: Stanza,
  ): Promise<void> {
    const at = stanzaId();
    if (!items.index.delete(id)) holder.items++;
    items.index.set(id, at);
    items.last = item.xml.length <= atHand ? { id, event } : undefined;
    return this.#stores.pubsub_items.set(holder.jid.bare, [[keyOf(node.name, id), { ...item, at }]]);
  }

  removeItems(holder: Holder, node: Node, items: Items, ids: readonly string[]): Promise<unknown> {
    for (const id of ids) if (items.index.delete(id)) holder.items--;
    if (items.last !== undefined && !items.index.has(items.last.id)) items.last = undefined;
    if (ids.length === 0) return Promise.resolve();
    return this.#stores.pubsub_items.delete(
      holder.jid.bare,
      ids.map((id) => keyOf(node.name, id)),
    );
  }

  item(holder: Holder, node: Node, id: string): Promise<StoredItem | undefined> {
    return this.#stores.pubsub_items.get(holder.jid.bare, keyOf(node.name, id));
  }

  /** The notification of the last item; undefined where there is none. */
  last(holder: Holder, node: Node): Stanza | undefined | Promise<Stanza | undefined> {
    const items = this.items(holder, node);
    if (items instanceof Promise) return items.then(() => this.last(holder, node));
    this.#expire(holder, node, items);
    if (items.last !== undefined || items.index.size === 0) return items.last?.event;
    const id = [...items.index.keys()].at(-1)!;
    return this.item(holder, node, id).then((item) => {
      if (item === undefined) return undefined;
      const event = eventOf(holder, node, id, item);
      const isLast = [...items.index.keys()].at(-1) === id;
      if (isLast && item.xml.length <= atHand) items.last = { id, event };
      return event;
    });
  }

  /** `pubsub#item_expire`: what is too old goes when somebody looks. */
  #expire(holder: Holder, node: Node, items: Items): void {
    const seconds = node.config['pubsub#item_expire'];
    if (seconds === 'max') return;
    const old: string[] = [];
    for (const [id, at] of items.index) {
      if (timeOf(at) >= Date.now() - seconds * 1000) break;
      old.push(id);
    }
    if (old.length > 0) this.removeItems(holder, node, items, old).catch(() => this.forget(holder.jid.bare));
  }
}

function nodeOf(name: string, stored: StoredNode, holder: Holder): Node {
  const config = { ...holder.defaults, ...stored.config };
  return { name, stored, config, subscriptions: new Map(), items: undefined, loading: undefined };
}

const eventOf = (holder: Holder, node: Node, id: string, { xml, by }: StoredItem): Stanza =>
  itemEvent(holder, node, id, by, xml === '' ? undefined : parse(xml));
