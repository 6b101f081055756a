/** Nodes of accounts that other modules register, with their default configuration and hooks around changes. */
import { Jid } from '../../server/address/jid.js';
import type { Element } from '../../server/xml/element.js';
import { mayPublish } from './access.js';
import type { Holders } from './holders.js';
import type { Holder } from './node.js';
import type { NodeConfig } from './node-config.js';

/** A client's change of a node of an account. */
export interface NodeChange {
  readonly publish?: { readonly id: string; readonly payload: Element | undefined } | undefined;
  /** Removed items. 'all' if the node is purged or deleted. */
  readonly retract: readonly string[] | 'all';
}

export interface WellKnownNode {
  /** Defaults with which the node is created. */
  readonly config?: Partial<NodeConfig> | undefined;
  /**
   * Wraps every change by clients. May refuse it (StanzaError) before it calls `proceed`, which throws if the change is
   * not allowed and resolves when it is durable. The client is answered after this resolves.
   */
  around?(owner: Jid, change: NodeChange, proceed: () => Promise<void>): Promise<void>;
}

export const usualConfig = (
  wellKnown: ReadonlyMap<string, WellKnownNode>,
  { isAccount }: Holder,
  name: string,
): Partial<NodeConfig> => (isAccount ? (wellKnown.get(name)?.config ?? {}) : {});

/** A request to an account or the service (`bare`). */
interface Asked {
  readonly pubsub: { readonly wellKnown: ReadonlyMap<string, WellKnownNode>; readonly holders: Holders };
  readonly bare: string;
  readonly from: Jid;
}

/** Makes a change within the `around` hook of a well-known node, if the change is allowed. */
export async function around<T>(
  { pubsub, bare, from }: Asked,
  name: string,
  change: NodeChange,
  proceed: () => Promise<T>,
): Promise<T> {
  const known = pubsub.wellKnown.get(name);
  if (known?.around === undefined) return proceed();
  const holder = await pubsub.holders.get(bare);
  const node = holder.nodes.get(name);
  const isAllowed = from.bare === bare || (node !== undefined && mayPublish(holder, node, from.bare));
  if (!holder.isAccount || !isAllowed) return proceed();
  let answer: { readonly value: T } | undefined;
  await known.around(Jid.parse(bare), change, async () => {
    answer = { value: await proceed() };
  });
  return answer!.value;
}
