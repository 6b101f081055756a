/** The service for other modules to read and change nodes of accounts (XEP-0163). */

import { flat } from '../../server/address/flat.js';
import type { Jid } from '../../server/address/jid.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { type Element, parse, serialize } from '../../server/xml/element.js';
import { barrier, entryFor } from './access.js';
import { itemEvent, retractEvent } from './events.js';
import type { Holder, Items, Node } from './node.js';
import { differing, type NodeConfig, roomFor, sameValue } from './node-config.js';
import { notify } from './notify.js';
import { createNode } from './owner.js';
import { demandRoom, storeItem } from './publish.js';
import type { PubSub } from './pubsub.js';
import { dropBarred } from './subscriptions.js';
import type { WellKnownNode } from './well-known.js';

export interface PepChange {
  readonly publish?: ReadonlyMap<string, Element> | undefined;
  /** Missing items are ignored. */
  readonly retract?: readonly string[] | undefined;
}

export interface PepTerms {
  /** The configuration with which the node is created if it does not exist. */
  readonly make?: Partial<NodeConfig> | undefined;
  /** Required configuration; the node is changed to match. */
  readonly demand?: Partial<NodeConfig> | undefined;
}

export interface Pep {
  /** Registers a well-known node; only one module may do so. */
  know(node: string, known: WellKnownNode): void;
  /** Whether an account has a node and, if `item` is given, that item in it. */
  has(owner: string, node: string, item?: string): Promise<boolean>;
  /** The access model of a node, apart from affiliations. Undefined if the node does not exist. */
  access(owner: string, node: string): Promise<NodeConfig['pubsub#access_model'] | undefined>;
  mayRead(owner: string, node: string, who: Jid): Promise<boolean>;
  /** Items with a payload, in order of publication. Rejects with StanzaError if they are too large to load. */
  items(owner: string, node: string): Promise<Map<string, Element>>;
  item(owner: string, node: string, id: string): Promise<Element | undefined>;
  /** The last item with a payload. */
  last(owner: string, node: string): Promise<{ readonly id: string; readonly payload: Element } | undefined>;
  /** Counts a change that a client makes by other means towards its rate. Throws StanzaError over the limit. */
  demandPace(owner: Jid): void;
  /** Throws StanzaError if `change` would refuse the items, or would have to evict others. */
  demandRoom(owner: string, node: string, change: PepChange): Promise<void>;
  /**
   * Publishes and retracts as the account itself, all or nothing, and notifies. `WellKnownNode.around` is not called.
   * Resolves when it is durable. Throws StanzaError if a limit is reached.
   */
  change(owner: Jid, node: string, change: PepChange, terms?: PepTerms): Promise<void>;
}

declare module '../../server/module/index.js' {
  interface Services {
    pep: Pep;
  }
}

/** Characters of all items that `items` loads. */
const longestReading = 2_000_000;
const batchSize = 50;

export function pep(pubsub: PubSub, demandPace: Pep['demandPace']): Pep {
  const { holders, wellKnown, settings } = pubsub;

  const itemsOf = async (owner: string, name: string) => {
    const found = await holders.inTurn(
      owner,
      name,
      () => undefined,
      (it) => it,
    );
    return found.node === undefined ? undefined : { holder: found.holder, node: found.node, items: found.items! };
  };

  const serialized = (items: ReadonlyMap<string, Element>) =>
    [...items].map(([id, payload]) => ({ id, payload, xml: flat(serialize(payload)) }));

  const check = (
    holder: Holder,
    config: NodeConfig,
    present: Items['index'] = new Map(),
    entries: readonly { readonly id: string; readonly xml: string }[],
    retract: readonly string[],
  ): void => {
    if (entries.some(({ xml }) => Buffer.byteLength(xml) > config['pubsub#max_payload_size']))
      throw new StanzaError('resource-constraint', 'An item is too large.');
    const leave = new Set([...entries.map(({ id }) => id), ...retract]);
    const others = [...present.keys()].filter((id) => !leave.has(id));
    // Beyond that the oldest items are evicted.
    const surplus = Math.max(0, others.length + entries.length - roomFor(config, settings));
    for (const id of others.slice(0, surplus)) leave.add(id);
    let bytes = entries.reduce((sum, { xml }) => sum + Buffer.byteLength(xml), 0);
    for (const [id, head] of present) if (leave.has(id)) bytes -= head.bytes;
    demandRoom(pubsub, holder, holder.jid.bare, others.length - surplus + entries.length - present.size, bytes);
  };

  return {
    know(node, known) {
      wellKnown.set(node, known);
    },

    has: async (owner, name, item) => {
      if (item === undefined) return (await holders.get(owner)).nodes.has(name);
      return (await itemsOf(owner, name))?.items.index.has(item) === true;
    },

    access: async (owner, name) => (await holders.get(owner)).nodes.get(name)?.config['pubsub#access_model'],

    mayRead: async (owner, name, who) => {
      const holder = await holders.get(owner);
      const node = holder.nodes.get(name);
      if (node === undefined) return false;
      return barrier(holder, node, who.bare, await entryFor(pubsub, holder, node, who.bare)) === undefined;
    },

    items: async (owner, name) => {
      const payloads = new Map<string, Element>();
      const found = await itemsOf(owner, name);
      if (found === undefined) return payloads;
      const ids = [...found.items.index.keys()];
      let size = 0;
      for (let at = 0; at < ids.length; at += batchSize) {
        const some = ids.slice(at, at + batchSize);
        const items = await Promise.all(some.map((id) => holders.item(found.holder, found.node, id)));
        for (const [index, item] of items.entries()) {
          if (item === undefined || item.xml === '') continue;
          size += item.xml.length;
          if (size > longestReading)
            throw new StanzaError('resource-constraint', 'The items of the node are too large to load.');
          payloads.set(some[index]!, parse(item.xml));
        }
      }
      return payloads;
    },

    item: async (owner, name, id) => {
      const found = await itemsOf(owner, name);
      if (found?.items.index.has(id) !== true) return undefined;
      const item = await holders.item(found.holder, found.node, id);
      return item === undefined || item.xml === '' ? undefined : parse(item.xml);
    },

    last: async (owner, name) => {
      const found = await itemsOf(owner, name);
      const id = found && [...found.items.index.keys()].at(-1);
      if (found === undefined || id === undefined) return undefined;
      const item = await holders.item(found.holder, found.node, id);
      return item === undefined || item.xml === '' ? undefined : { id, payload: parse(item.xml) };
    },

    demandPace,

    demandRoom: async (owner, name, { publish = new Map(), retract = [] }) => {
      const found = await itemsOf(owner, name);
      const holder = found?.holder ?? (await holders.get(owner));
      const config = found?.node.config ?? { ...holder.defaults, ...wellKnown.get(name)?.config };
      check(holder, config, found?.items.index, serialized(publish), retract);
      const room = roomFor(config, settings);
      const after = new Set([...(found?.items.index.keys() ?? []), ...publish.keys()]);
      for (const id of retract) if (!publish.has(id)) after.delete(id);
      const isMore = [...publish.keys()].some((id) => found?.items.index.has(id) !== true);
      // A node limited to one item replaces it.
      if (room > 1 && isMore && after.size > room)
        throw new StanzaError('resource-constraint', `The node can have at most ${room} items.`);
    },

    change: async (owner, name, { publish = new Map(), retract = [] }, { make, demand } = {}) => {
      const entries = serialized(publish);
      await holders.inTurn(
        owner.bare,
        name,
        () => undefined,
        async (found) => {
          const { holder } = found;
          let { node, items } = found;
          if (node === undefined && entries.length === 0) return;
          const config = {
            ...(node?.config ?? { ...holder.defaults, ...wellKnown.get(name)?.config, ...make }),
            ...demand,
          };
          check(holder, config, items?.index, entries, retract);

          // No await from here on (XEP-0060 §7.1, publish.ts).
          const writes: Promise<unknown>[] = [];
          let isTightened = false;
          if (node === undefined) {
            const made = createNode(pubsub, holder, name, owner, { ...make, ...demand });
            writes.push(made.write);
            node = made.node;
            items = node.items;
          } else if (!conformsTo(node, demand)) {
            isTightened = true;
            writes.push(holders.change(holder, node, { config: differing(config, holder.defaults) }));
          }
          const gone = retract.filter((id) => items!.index.has(id) && !publish.has(id));
          if (gone.length > 0) writes.push(holders.removeItems(holder, node, items!, gone));
          const dropped: string[] = [];
          const events = entries.map(({ id, payload, xml }) => {
            const event = itemEvent(holder, node, id, owner.bare, payload);
            if (config['pubsub#persist_items'])
              dropped.push(...storeItem(pubsub, holder, node, items!, id, { by: owner.bare, xml }, event, writes));
            return event;
          });
          await holders.commit(holder, ...writes);
          if (isTightened) await dropBarred(pubsub, holder, node);
          if (dropped.length > 0 && config['pubsub#publish_node_full'] === 'retract-oldest')
            notify(pubsub, holder, node, retractEvent(holder, node, dropped));
          for (const event of events) notify(pubsub, holder, node, event);
          if (gone.length > 0) notify(pubsub, holder, node, retractEvent(holder, node, gone));
        },
      );
    },
  };
}

const conformsTo = ({ config }: Node, demand: Partial<NodeConfig> = {}): boolean =>
  (Object.keys(demand) as (keyof NodeConfig)[]).every((name) => sameValue(config[name], demand[name]));
