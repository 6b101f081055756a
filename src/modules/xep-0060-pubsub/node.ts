/** Nodes as stored and in memory. holders.ts converts between the two. */
import type { Jid } from '../../server/address/jid.js';
import type { Stanza } from '../../server/stanza/stanza.js';
import type { DocumentStore, MapStore } from '../../storage/contract.js';
import type { NodeConfig } from './node-config.js';

export const affiliations = ['owner', 'publisher', 'publish-only', 'member', 'outcast', 'none'] as const;
export type Affiliation = (typeof affiliations)[number];

export interface StoredNode {
  readonly v: 1;
  /** Only differences from the defaults. */
  readonly config: Partial<NodeConfig>;
  readonly creator: string;
  /** In ms since 1970. */
  readonly created: number;
  /** By bare address. An account owns its nodes without an entry. */
  readonly affiliations: Readonly<Record<string, Affiliation>>;
  /** Bare addresses that ended a subscription made by an owner; owners cannot subscribe them again. Oldest evicted. */
  readonly declined?: readonly string[];
  /** §8.4: set if the node was deleted with a redirect: the URI of its new address. */
  readonly movedTo?: string;
}

/** Keyed by the node and the item's id. */
export interface StoredItem {
  /** Sorts by the time of publication (stanza/ids.ts). */
  readonly at: string;
  /** The bare address of the publisher. */
  readonly by: string;
  /** The payload; '' if there is none. */
  readonly xml: string;
  /** XEP-0413: the `at` of the first publication, if the item was published again. */
  readonly created?: string;
}

export const shows = ['away', 'chat', 'dnd', 'online', 'xa'] as const;
/** §16.4.3; `online` is presence without `<show/>`. */
export type Show = (typeof shows)[number];

/** Keyed by the node and the subscribed address. Defaults are left out. */
export interface Subscription {
  readonly state: 'subscribed' | 'pending';
  /** §16.4.3 `pubsub#deliver`. */
  readonly deliver?: false;
  /** `pubsub#expire`: ms since 1970 (§12.18), or when the subscriber becomes unavailable (§12.4). */
  readonly expires?: number | 'presence';
  /** `pubsub#include_body`. */
  readonly body?: true;
  /** `pubsub#show-values`; undefined sends to all, including unavailable subscribers. */
  readonly shows?: readonly Show[];
  /**
   * The bare address of the owner who made it (§8.8.2); undefined if the subscriber requested it. It has no effect
   * until the subscriber has that owner among their contacts.
   */
  readonly by?: string;
  /** XEP-0465: whether the subscription is public. */
  readonly public?: true;
  /** XEP-0248, for collections: what to be notified of (default nodes), and to which depth (default 1). */
  readonly type?: 'items' | 'nodes' | 'all';
  readonly depth?: number | 'all';
}

/** Usage of an account or the service by all items; checked against limits. */
export interface Usage {
  readonly items: number;
  /** Bytes of the payloads as UTF-8. */
  readonly bytes: number;
  /** Whether bytes are counted by publisher too; only at the service. */
  readonly byPublisher?: boolean | undefined;
}

/** Bytes of the payloads of one publisher at the service. */
export interface Published {
  readonly bytes: number;
}

export interface Stores {
  readonly pubsub_nodes: MapStore<StoredNode>;
  readonly pubsub_items: MapStore<StoredItem>;
  readonly pubsub_subscriptions: MapStore<Subscription>;
  readonly pubsub_usage: DocumentStore<Usage>;
  readonly pubsub_publishers: MapStore<Published>;
}

/** A subscription in memory. */
export interface Subscriber extends Subscription {
  readonly jid: Jid;
  readonly node: Node;
  /** §6.1.6: distinguishes several subscriptions of one address to one node. */
  readonly subid: string;
}

/** The subid of an address's first subscription, whose key is the address alone. */
export const firstSubid = '1';

export interface Node {
  readonly name: string;
  stored: StoredNode;
  config: NodeConfig;
  /** By the subscribed address, followed by the subid unless it is the first. */
  readonly subscriptions: Map<string, Subscriber>;
  /** Whether some address may have more than one subscription. */
  several: boolean;
  /** Whether some subscription may have an expiry time. */
  leased: boolean;
  /** Loaded on first use. */
  items: Items | undefined;
  loading: Promise<Items> | undefined;
}

/** An item without its payload. */
export interface ItemHead {
  readonly at: string;
  readonly created: string;
  readonly by: string;
  /** Of the payload, as UTF-8. */
  readonly bytes: number;
}

/** The items of a node. */
export interface Items {
  /** By id, in the order of publication. */
  readonly index: Map<string, ItemHead>;
  /** The notification of the last item, if cached. */
  last: { readonly id: string; readonly event: Stanza } | undefined;
}

/** The account or service that holds nodes. */
export interface Holder {
  readonly jid: Jid;
  readonly isAccount: boolean;
  readonly defaults: NodeConfig;
  readonly nodes: Map<string, Node>;
  /** XEP-0248: the nodes in each collection. */
  readonly children: Map<string, Set<Node>>;
  /** Deleted nodes with a redirect, by name; oldest first. */
  readonly moved: Map<string, Node>;
  /** Subscriptions to all nodes by the bare address of the subscriber. */
  readonly subscribers: Map<string, Set<Subscriber>>;
  /** Number of subscriptions made for others, by owner. */
  readonly forced: Map<string, number>;
  /** Nodes with `pubsub#purge_offline`. */
  readonly fleeting: Set<Node>;
  /** Totals over all nodes. */
  items: number;
  bytes: number;
  /** Bytes by the bare address of the publisher. Empty for an account. */
  readonly publishers: Map<string, number>;
}

/** A reference to a subscription. */
export interface Subscribed {
  /** The bare address of the holder. */
  readonly bare: string;
  readonly node: string;
  /** The key in `Node.subscriptions`. */
  readonly key: string;
}

/** The result of looking up a node. */
export interface Found<P = undefined> {
  readonly holder: Holder;
  readonly node: Node | undefined;
  /** The items of `node`. */
  readonly items: Items | undefined;
  readonly prepared: P | undefined;
}
