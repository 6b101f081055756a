/** Nodes as they are kept, and in memory. How the one becomes the other is in holders.ts. */
import type { Jid } from '../../server/stanza/jid.js';
import type { Stanza } from '../../server/stanza/stanza.js';
import type { DocumentStore, MapStore } from '../../storage/contract.js';
import type { NodeConfig } from './node-config.js';

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
  /** Bare addresses that ended a subscription which an owner had made: no owner makes another. The oldest make room. */
  readonly declined?: readonly string[];
  /** §8.4: it was deleted, and this is the URI of where it is now. */
  readonly movedTo?: string;
}

/** Under the node and the id of the item. */
export interface StoredItem {
  /** Sorts by the time of publication (stanza/ids.ts). */
  readonly at: string;
  /** The bare address of who published it. */
  readonly by: string;
  /** The payload; '' where there is none. */
  readonly xml: string;
  /** XEP-0413: the `at` of its first publication, where it was published again since. */
  readonly created?: string;
}

export const shows = ['away', 'chat', 'dnd', 'online', 'xa'] as const;
/** §16.4.3; `online` is presence without `<show/>`. */
export type Show = (typeof shows)[number];

/** Under the node and the address that is subscribed. What is left out is the usual. */
export interface Subscription {
  readonly state: 'subscribed' | 'pending';
  /** §16.4.3 `pubsub#deliver`. */
  readonly deliver?: false;
  /** `pubsub#expire`: ms since 1970 (§12.18), or with the presence of the subscriber (§12.4). */
  readonly expires?: number | 'presence';
  /** `pubsub#include_body`. */
  readonly body?: true;
  /** `pubsub#show-values`; undefined: all, and whoever is not there. */
  readonly shows?: readonly Show[];
  /**
   * The bare address of an owner who made it (§8.8.2); undefined: the subscriber asked for it. It is worth nothing until the
   * subscriber has that owner among their contacts.
   */
  readonly by?: string;
  /** XEP-0465: others may know of it. */
  readonly public?: true;
  /** XEP-0248, of a collection: what one is told of (nodes), and how far below it (1). */
  readonly type?: 'items' | 'nodes' | 'all';
  readonly depth?: number | 'all';
}

/** Of all items of an account or the service: what their bounds go by. */
export interface Usage {
  readonly items: number;
  /** Of the payloads, as UTF-8. */
  readonly bytes: number;
  /** Whether the bytes of each publisher are counted as well. Only the service does. */
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
  /** §6.1.6: tells several subscriptions of one address to one node from each other. */
  readonly subid: string;
}

/** Of the first subscription of an address; its key is the address alone. */
export const firstSubid = '1';

export interface Node {
  readonly name: string;
  stored: StoredNode;
  config: NodeConfig;
  /** By the address that is subscribed, with the subid where it is not the first. */
  readonly subscriptions: Map<string, Subscriber>;
  /** Whether an address may have several. */
  several: boolean;
  /** Whether subscriptions may be there that end by themselves. */
  leased: boolean;
  /** Loaded when they are first needed. */
  items: Items | undefined;
  loading: Promise<Items> | undefined;
}

/** What is known of an item without its payload. */
export interface ItemHead {
  readonly at: string;
  readonly created: string;
  readonly by: string;
  /** Of the payload. */
  readonly bytes: number;
}

/** Which items a node has. */
export interface Items {
  /** By id, in the order of publication. */
  readonly index: Map<string, ItemHead>;
  /** The notification of the last one, where it is at hand. */
  last: { readonly id: string; readonly event: Stanza } | undefined;
}

/** An account or the service: whose nodes they are. */
export interface Holder {
  readonly jid: Jid;
  readonly isAccount: boolean;
  readonly defaults: NodeConfig;
  readonly nodes: Map<string, Node>;
  /** XEP-0248: the nodes in each collection. */
  readonly children: Map<string, Set<Node>>;
  /** Nodes that were deleted and are elsewhere now, by their names; the oldest first. */
  readonly moved: Map<string, Node>;
  /** Subscriptions to all nodes by the bare address of the subscriber. */
  readonly subscribers: Map<string, Set<Subscriber>>;
  /** How many subscriptions owners made for others, by the owner. */
  readonly forced: Map<string, number>;
  /** Nodes with `pubsub#purge_offline`. */
  readonly fleeting: Set<Node>;
  /** Of all nodes together. */
  items: number;
  bytes: number;
  /** Bytes by the bare address of the publisher. Empty for an account. */
  readonly publishers: Map<string, number>;
}

/** A subscription by the names of what it is to. */
export interface Subscribed {
  /** Of the holder. */
  readonly bare: string;
  readonly node: string;
  /** As the subscriptions of the node are kept. */
  readonly key: string;
}

/** A node that somebody asked for. */
export interface Found<P = undefined> {
  readonly holder: Holder;
  readonly node: Node | undefined;
  /** Of the node. */
  readonly items: Items | undefined;
  readonly prepared: P | undefined;
}
