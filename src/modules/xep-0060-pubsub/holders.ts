/** The nodes of accounts and of the service. All nodes of one holder are cached together; items are loaded per node. */

import { z } from 'zod';
import { Jid } from '../../server/address/jid.js';
import { wall } from '../../server/clock.js';
import type { Maybe, Memory } from '../../server/module/index.js';
import { formatDateTime } from '../../server/stanza/datetime.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { idsAbove, stanzaId, timeOf } from '../../server/stanza/ids.js';
import { NS } from '../../server/stanza/ns.js';
import type { Stanza } from '../../server/stanza/stanza.js';
import { jid } from '../../server/stanza/stored.js';
import { el, serialize, verbatim } from '../../server/xml/element.js';
import { Cache } from '../../storage/cache.js';
import { itemEvent } from './events.js';
import {
  type Found,
  firstSubid,
  type Holder,
  type ItemHead,
  type Items,
  type Node,
  type Published,
  type StoredItem,
  type StoredNode,
  type Stores,
  type Subscribed,
  type Subscriber,
  type Subscription,
} from './node.js';
import { asSpace, defaults, differing, type NodeConfig } from './node-config.js';
import type { Settings } from './settings.js';

/** XML cannot contain this character, so no address, node or id does. */
export const separator = '\u0001';
/** The key of a subscription in `Node.subscriptions`. */
const subscriptionKey = (jid: Jid, subid: string): string =>
  subid === firstSubid ? jid.full : `${jid.full}${separator}${subid}`;

/** All subscriptions of one address to one node. */
export function subscriptionsAt(holder: Holder, node: Node, jid: Jid): Subscriber[] {
  const first = node.subscriptions.get(jid.full);
  if (!node.several) return first === undefined ? [] : [first];
  const own = [...(holder.subscribers.get(jid.bare) ?? [])];
  return own.filter((one) => one.node.name === node.name && one.jid.full === jid.full);
}

const movedSubscription = z.object({ jid, node: z.string(), key: z.string() });

export const keyOf = (node: string, id: string): string => `${node}${separator}${id}`;

const page = 200;
/** Forwarding addresses of deleted nodes, per account or service. */
const mostForwarded = 100;
/** Characters of a last item that is cached. */
const longestCached = 16_384;

/** Attempts of a request to find its node unchanged. */
const mostAttempts = 100;

export class Holders {
  readonly #stores: Stores;
  readonly #settings: Settings;
  readonly #cache: Cache<Holder>;
  readonly #service: Jid;
  /** Subscriptions that end with the presence of an address (§12.4), by that address. */
  readonly #temporary = new Map<string, Map<string, Subscribed>>();

  constructor(stores: Stores, settings: Settings, service: Jid) {
    this.#stores = stores;
    this.#settings = settings;
    this.#service = service;
    this.#cache = new Cache(settings.cached, (bare) => this.#load(bare));
  }

  /** These addresses have moved to another node, or from one. */
  moved(concerns: (bare: string) => boolean): void {
    this.#cache.deleteIf(concerns);
    for (const [jid, temporary] of this.#temporary) {
      for (const [key, { bare }] of temporary) if (concerns(bare)) temporary.delete(key);
      if (temporary.size === 0) this.#temporary.delete(jid);
    }
  }

  /** For accounts that do not exist: every request finds an account without nodes. */
  static ofNobody(settings: Settings, service: Jid): Holders {
    const map = {
      get: async () => undefined,
      all: async () => new Map(),
      page: async () => [],
      count: async () => 0,
      size: async () => 0,
      set: async () => {},
      delete: async () => 0,
      owners: async () => [],
      forget: async () => {},
    };
    const document = {
      ...map,
      getMany: async () => new Map(),
      delete: async () => false,
      compareAndSet: async () => false,
    };
    const stores = {
      pubsub_nodes: map,
      pubsub_items: map,
      pubsub_subscriptions: map,
      pubsub_usage: document,
      pubsub_publishers: map,
    };
    return new Holders(stores, { ...settings, cached: 100 }, service);
  }

  /** Synchronous on a cache hit. */
  get(bare: string): Maybe<Holder> {
    return this.#cache.get(bare);
  }

  /** Returns undefined on a cache miss. */
  peek(bare: string): Holder | undefined {
    return this.#cache.peek(bare);
  }

  /** Invalidates the cache entry, because it is stale or the account was deleted. */
  invalidate(bare: string): void {
    this.#cache.delete(bare);
  }

  async #load(bare: string): Promise<Holder> {
    const isAccount = bare !== this.#service.bare;
    const [nodes, subscriptions, items, usage, published] = await Promise.all([
      this.#stores.pubsub_nodes.all(bare),
      this.#stores.pubsub_subscriptions.all(bare),
      this.#stores.pubsub_items.count(bare),
      this.#stores.pubsub_usage.get(bare),
      isAccount ? new Map<string, Published>() : this.#stores.pubsub_publishers.all(bare),
    ]);
    // False if the usage record is missing or stale after a crash.
    const isCounted = items === 0 || (usage?.items === items && (isAccount || usage.byPublisher === true));
    const measured = isCounted ? undefined : await this.#measure(bare, isAccount);
    const holder: Holder = {
      jid: Jid.parse(bare),
      isAccount,
      defaults: defaults(isAccount, this.#settings),
      nodes: new Map(),
      children: new Map(),
      moved: new Map(),
      subscribers: new Map(),
      forced: new Map(),
      fleeting: new Set(),
      items,
      bytes: measured?.bytes ?? (items === 0 ? 0 : usage!.bytes),
      publishers: measured?.publishers ?? new Map([...published].map(([by, { bytes }]) => [by, bytes])),
    };
    for (const [name, stored] of nodes) {
      const node = nodeOf(name, stored, holder);
      if (stored.movedTo !== undefined) holder.moved.set(name, node);
      else this.#add(holder, node);
    }
    for (const [key, subscription] of subscriptions) {
      const [name, jid, subid = firstSubid] = key.split(separator) as [string, string, string?];
      const node = holder.nodes.get(name);
      if (node !== undefined) this.#addSubscriber(holder, node, { ...subscription, jid: Jid.parse(jid), node, subid });
    }
    return holder;
  }

  /** Bytes of all items, at the service also by publisher, which is persisted. */
  async #measure(bare: string, isAccount: boolean): Promise<Pick<Holder, 'bytes' | 'publishers'>> {
    const publishers = new Map<string, number>();
    let bytes = 0;
    let items = 0;
    let after: string | undefined;
    for (;;) {
      const entries = await this.#stores.pubsub_items.page(bare, { after, limit: page });
      for (const [, { by, xml }] of entries) {
        const size = Buffer.byteLength(xml);
        bytes += size;
        if (!isAccount) publishers.set(by, (publishers.get(by) ?? 0) + size);
      }
      items += entries.length;
      if (entries.length < page) break;
      after = entries.at(-1)![0];
    }
    if (isAccount) return { bytes, publishers };
    const stored = [...publishers].map(([by, bytes]) => [by, { bytes }] as const);
    await this.#stores.pubsub_publishers.forget(bare);
    await this.#stores.pubsub_publishers.set(bare, stored);
    await this.#stores.pubsub_usage.set(bare, { items, bytes, byPublisher: true });
    return { bytes, publishers };
  }

  #add(holder: Holder, node: Node): void {
    holder.nodes.set(node.name, node);
    this.#link(holder, node);
    if (node.config['pubsub#purge_offline']) holder.fleeting.add(node);
  }

  /** XEP-0248: adds a node to the children of its collections. */
  #link(holder: Holder, node: Node): void {
    for (const parent of node.config['pubsub#collection']) {
      const siblings = holder.children.get(parent);
      if (siblings === undefined) holder.children.set(parent, new Set([node]));
      else siblings.add(node);
    }
  }

  #unlink(holder: Holder, node: Node): void {
    for (const parent of node.config['pubsub#collection']) {
      const siblings = holder.children.get(parent);
      siblings?.delete(node);
      if (siblings?.size === 0) holder.children.delete(parent);
    }
  }

  #addSubscriber(holder: Holder, node: Node, subscriber: Subscriber): void {
    const { jid, subid, expires } = subscriber;
    const key = subscriptionKey(jid, subid);
    this.#removeSubscriber(holder, node, key);
    node.subscriptions.set(key, subscriber);
    if (subid !== firstSubid) node.several = true;
    const own = holder.subscribers.get(jid.bare);
    if (own === undefined) holder.subscribers.set(jid.bare, new Set([subscriber]));
    else own.add(subscriber);
    if (subscriber.by !== undefined) holder.forced.set(subscriber.by, (holder.forced.get(subscriber.by) ?? 0) + 1);
    if (typeof expires === 'number') node.leased = true;
    if (expires === 'presence') this.#endsWith(jid.full, { bare: holder.jid.bare, node: node.name, key });
  }

  #endsWith(jid: string, subscribed: Subscribed): void {
    const { bare, node, key } = subscribed;
    const temporary = this.#temporary.get(jid) ?? new Map<string, Subscribed>();
    this.#temporary.set(jid, temporary.set(keyOf(`${bare}${separator}${node}`, key), subscribed));
  }

  /** Temporary subscriptions, for the hook `moves`: nodes that are not loaded have to end them, too. */
  get memory(): Memory<z.output<typeof movedSubscription>> {
    const all = this.#temporary;
    return {
      name: 'pubsub.temporary',
      schema: movedSubscription,
      *describe(concerns) {
        for (const [jid, temporary] of all)
          for (const { bare, node, key } of temporary.values()) if (concerns(bare)) yield [bare, { jid, node, key }];
      },
      restore: (bare, { jid, node, key }) => this.#endsWith(jid, { bare, node, key }),
    };
  }

  #removeSubscriber(holder: Holder, node: Node, key: string): void {
    const subscriber = node.subscriptions.get(key);
    if (subscriber === undefined) return;
    const jid = subscriber.jid.full;
    node.subscriptions.delete(key);
    const own = holder.subscribers.get(subscriber.jid.bare);
    own?.delete(subscriber);
    if (own?.size === 0) holder.subscribers.delete(subscriber.jid.bare);
    const forced = subscriber.by === undefined ? 0 : (holder.forced.get(subscriber.by) ?? 0);
    if (forced > 1) holder.forced.set(subscriber.by!, forced - 1);
    else if (subscriber.by !== undefined) holder.forced.delete(subscriber.by);
    const temporary = this.#temporary.get(jid);
    temporary?.delete(keyOf(`${holder.jid.bare}${separator}${node.name}`, key));
    if (temporary?.size === 0) this.#temporary.delete(jid);
  }

  /** Subscriptions that end because this address is no longer present. */
  ending(jid: string): readonly Subscribed[] {
    return [...(this.#temporary.get(jid)?.values() ?? [])];
  }

  /**
   * Runs `use` on a node, if it exists, with the result of `prepare`. Until its first await, `use` sees the current
   * state, so that concurrent requests that create or change a node are serialized. Retries if the node changed
   * meanwhile.
   */
  async inTurn<T, P>(
    bare: string,
    name: string,
    prepare: (holder: Holder, node: Node) => Maybe<P>,
    use: (found: Found<P>) => Maybe<T>,
  ): Promise<T> {
    for (let attempt = 0; attempt < mostAttempts; attempt++) {
      const holder = await this.get(bare);
      const node = holder.nodes.get(name);
      const items = node && (await this.items(holder, node));
      const known = node ?? holder.moved.get(name);
      const prepared = known && (await prepare(holder, known));
      if (this.#cache.peek(bare) !== holder || holder.nodes.get(name) !== node) continue;
      if (node !== undefined) this.#expire(holder, node, items!);
      if (node?.leased) this.#endLeases(holder, node);
      return use({ holder, node, items, prepared });
    }
    throw new StanzaError('resource-constraint', 'The node changes too often. Try again later.', { type: 'wait' });
  }

  /** Awaits writes. If one fails, the cache entry is stale and is invalidated. Rejects with the error. */
  async commit(holder: Holder, ...writes: readonly Promise<unknown>[]): Promise<void> {
    try {
      await Promise.all(writes);
    } catch (error) {
      this.invalidate(holder.jid.bare);
      throw error;
    }
  }

  // --- nodes --------------------------------------------------------------------------------------------------

  /** Creates a node. It is in memory at once; `write` resolves when it is durable. */
  create(
    holder: Holder,
    name: string,
    creator: Jid,
    config: Partial<NodeConfig>,
    affiliations: StoredNode['affiliations'] = holder.isAccount ? {} : { [creator.bare]: 'owner' },
  ): { node: Node; write: Promise<void> } {
    const stored: StoredNode = {
      v: 1,
      config: differing({ ...holder.defaults, ...asSpace(config) }, holder.defaults),
      creator: creator.bare,
      created: wall(),
      affiliations,
    };
    const node = nodeOf(name, stored, holder);
    node.items = { index: new Map(), last: undefined };
    holder.moved.delete(name);
    this.#add(holder, node);
    return { node, write: this.#stores.pubsub_nodes.set(holder.jid.bare, [[name, stored]]) };
  }

  /** Changes the node's own record. */
  change(
    holder: Holder,
    node: Node,
    changed: Partial<Pick<StoredNode, 'config' | 'affiliations' | 'declined'>>,
  ): Promise<void> {
    this.#unlink(holder, node);
    node.stored = { ...node.stored, ...changed };
    node.config = { ...holder.defaults, ...node.stored.config };
    this.#link(holder, node);
    if (node.config['pubsub#purge_offline']) holder.fleeting.add(node);
    else holder.fleeting.delete(node);
    return this.#stores.pubsub_nodes.set(holder.jid.bare, [[node.name, node.stored]]);
  }

  /** Removes a node and all its data; its items must be loaded. `movedTo` is its new address. */
  remove(holder: Holder, node: Node, items: Items, movedTo?: string): Promise<unknown> {
    const { bare } = holder.jid;
    const { pubsub_nodes, pubsub_subscriptions } = this.#stores;
    holder.nodes.delete(node.name);
    this.#unlink(holder, node);
    holder.fleeting.delete(node);
    const jids = [...node.subscriptions.keys()];
    for (const jid of jids) this.#removeSubscriber(holder, node, jid);
    const keys = jids.map((jid) => keyOf(node.name, jid));
    return Promise.all([
      movedTo === undefined ? pubsub_nodes.delete(bare, [node.name]) : this.#forward(holder, node, movedTo),
      keys.length === 0 ? undefined : pubsub_subscriptions.delete(bare, keys),
      this.removeItems(holder, node, items, [...items.index.keys()]),
    ]);
  }

  #forward(holder: Holder, node: Node, movedTo: string): Promise<unknown> {
    const { bare } = holder.jid;
    const stored: StoredNode = { ...node.stored, movedTo };
    holder.moved.set(node.name, nodeOf(node.name, stored, holder));
    const [oldest] = holder.moved.keys();
    const surplus = holder.moved.size > mostForwarded ? oldest : undefined;
    if (surplus !== undefined) holder.moved.delete(surplus);
    return Promise.all([
      this.#stores.pubsub_nodes.set(bare, [[node.name, stored]]),
      surplus === undefined ? undefined : this.#stores.pubsub_nodes.delete(bare, [surplus]),
    ]);
  }

  /** Undefined removes the subscription. */
  setSubscription(
    holder: Holder,
    node: Node,
    { jid, subid = firstSubid }: Pick<Subscriber, 'jid'> & Partial<Pick<Subscriber, 'subid'>>,
    subscription: Subscription | undefined,
  ): Promise<unknown> {
    const { bare } = holder.jid;
    const key = keyOf(node.name, subscriptionKey(jid, subid));
    if (subscription === undefined) {
      this.#removeSubscriber(holder, node, subscriptionKey(jid, subid));
      return this.#stores.pubsub_subscriptions.delete(bare, [key]);
    }
    this.#addSubscriber(holder, node, { ...subscription, jid, node, subid });
    return this.#stores.pubsub_subscriptions.set(bare, [[key, subscription]]);
  }

  /** §12.18: removes expired subscriptions. */
  #endLeases(holder: Holder, node: Node): void {
    const now = wall();
    const over = [...node.subscriptions.values()].filter(
      ({ expires }) => typeof expires === 'number' && expires <= now,
    );
    for (const one of over)
      this.setSubscription(holder, node, one, undefined).catch(() => this.invalidate(holder.jid.bare));
  }

  // --- items --------------------------------------------------------------------------------------------------

  items(holder: Holder, node: Node): Maybe<Items> {
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
    const found: { id: string; head: ItemHead }[] = [];
    let last: { id: string; item: StoredItem } | undefined;
    const end = keyOf(node.name, '');
    let after = end;
    for (;;) {
      const entries = await this.#stores.pubsub_items.page(holder.jid.bare, { after, limit: page });
      const own = entries.filter(([key]) => key.startsWith(end));
      for (const [key, item] of own) {
        const id = key.slice(end.length);
        found.push({ id, head: headOf(item) });
        if (last === undefined || item.at > last.item.at) last = { id, item };
      }
      if (own.length < page) break;
      after = own.at(-1)![0];
    }
    found.sort((one, other) => (one.head.at < other.head.at ? -1 : 1));
    if (last !== undefined) idsAbove(holder.jid.bare, last.item.at);
    const items: Items = { index: new Map(found.map(({ id, head }) => [id, head])), last: undefined };
    if (last !== undefined && last.item.xml.length <= longestCached)
      items.last = { id: last.id, event: eventOf(holder, node, last.id, last.item) };
    return items;
  }

  /** Stores an item as the last one; `event` is its notification. */
  setItem(
    holder: Holder,
    node: Node,
    items: Items,
    id: string,
    { by, xml }: Pick<StoredItem, 'by' | 'xml'>,
    event: Stanza,
  ): Promise<unknown> {
    const at = stanzaId(holder.jid.bare);
    const before = items.index.get(id);
    items.index.delete(id);
    const stored: StoredItem = before === undefined ? { at, by, xml } : { at, by, xml, created: before.created };
    const head = headOf(stored);
    items.index.set(id, head);
    items.last = xml.length <= longestCached ? { id, event } : undefined;
    const write = this.#stores.pubsub_items.set(holder.jid.bare, [[keyOf(node.name, id), stored]]);
    const changes = new Map([[by, head.bytes]]);
    if (before !== undefined) changes.set(before.by, (changes.get(before.by) ?? 0) - before.bytes);
    const counted = this.#count(holder, before === undefined ? 1 : 0, changes);
    return counted === undefined ? write : Promise.all([write, counted]);
  }

  removeItems(holder: Holder, node: Node, items: Items, ids: readonly string[]): Promise<unknown> {
    const changes = new Map<string, number>();
    const gone: string[] = [];
    for (const id of ids) {
      const head = items.index.get(id);
      if (head === undefined) continue;
      items.index.delete(id);
      changes.set(head.by, (changes.get(head.by) ?? 0) - head.bytes);
      gone.push(keyOf(node.name, id));
    }
    if (items.last !== undefined && !items.index.has(items.last.id)) items.last = undefined;
    if (gone.length === 0) return Promise.resolve();
    return Promise.all([
      this.#stores.pubsub_items.delete(holder.jid.bare, gone),
      this.#count(holder, -gone.length, changes),
    ]);
  }

  /** `changes`: bytes by publisher. Returns undefined if there is nothing to persist. */
  #count(holder: Holder, items: number, changes: ReadonlyMap<string, number>): Promise<unknown> | undefined {
    const changed = [...changes].filter(([, bytes]) => bytes !== 0);
    if (items === 0 && changed.length === 0) return undefined;
    const { isAccount, jid, publishers } = holder;
    holder.items += items;
    for (const [, bytes] of changed) holder.bytes += bytes;
    const usage = { items: holder.items, bytes: holder.bytes };
    if (isAccount) return this.#stores.pubsub_usage.set(jid.bare, usage);
    const left: (readonly [string, Published])[] = [];
    const gone: string[] = [];
    for (const [by, more] of changed) {
      const bytes = Math.max(0, (publishers.get(by) ?? 0) + more);
      if (bytes > 0) {
        publishers.set(by, bytes);
        left.push([by, { bytes }]);
      } else if (publishers.delete(by)) gone.push(by);
    }
    const { pubsub_publishers, pubsub_usage } = this.#stores;
    return Promise.all([
      left.length > 0 && pubsub_publishers.set(jid.bare, left),
      gone.length > 0 && pubsub_publishers.delete(jid.bare, gone),
      pubsub_usage.set(jid.bare, { ...usage, byPublisher: true }),
    ]);
  }

  item(holder: Holder, node: Node, id: string): Promise<StoredItem | undefined> {
    return this.#stores.pubsub_items.get(holder.jid.bare, keyOf(node.name, id));
  }

  /** The notification of the last item with its time of publication (§6.1.7). Returns undefined if there is no item. */
  last(holder: Holder, node: Node): Maybe<Stanza | undefined> {
    const items = this.items(holder, node);
    if (items instanceof Promise) return items.then(() => this.last(holder, node));
    this.#expire(holder, node, items);
    const { last } = items;
    const id = last?.id ?? [...items.index.keys()].at(-1);
    if (id === undefined) return undefined;
    const { at } = items.index.get(id)!;
    if (last !== undefined) return delayed(last.event, at);
    return this.item(holder, node, id).then((item) => {
      if (item === undefined) return undefined;
      const event = eventOf(holder, node, id, item);
      const isLast = [...items.index.keys()].at(-1) === id;
      if (isLast && item.xml.length <= longestCached) items.last = { id, event };
      return delayed(event, at);
    });
  }

  /** `pubsub#item_expire`: expired items are removed on access. */
  #expire(holder: Holder, node: Node, items: Items): void {
    const seconds = node.config['pubsub#item_expire'];
    if (seconds === 'max') return;
    const old: string[] = [];
    for (const [id, { at }] of items.index) {
      if (timeOf(at) >= wall() - seconds * 1000) break;
      old.push(id);
    }
    if (old.length > 0) this.removeItems(holder, node, items, old).catch(() => this.invalidate(holder.jid.bare));
  }
}

function nodeOf(name: string, stored: StoredNode, holder: Holder): Node {
  const config = { ...holder.defaults, ...stored.config };
  return {
    name,
    stored,
    config,
    subscriptions: new Map(),
    several: false,
    leased: false,
    items: undefined,
    loading: undefined,
  };
}

const headOf = ({ at, created = at, by, xml }: StoredItem): ItemHead => ({
  at,
  created,
  by,
  bytes: Buffer.byteLength(xml),
});

const delayed = (event: Stanza, at: string): Stanza =>
  event.plusWritten(serialize(el('delay', { xmlns: NS.delay, stamp: formatDateTime(timeOf(at) || 0) })));

const eventOf = (holder: Holder, node: Node, id: string, { xml, by }: StoredItem): Stanza =>
  itemEvent(holder, node, id, by, xml === '' ? undefined : verbatim(xml));
