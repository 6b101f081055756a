/** Nodes of accounts that modules know more of: what they are like unless they are configured, and what they hold. */
import { Jid } from '../../server/stanza/jid.js';
import type { Element } from '../../server/xml/element.js';
import { mayPublish } from './access.js';
import type { Holders } from './holders.js';
import type { Holder } from './node.js';
import type { NodeConfig } from './node-config.js';

/** What a client changes in a node of an account. */
export interface NodeChange {
  readonly publish?: { readonly id: string; readonly payload: Element | undefined } | undefined;
  /** Items that go. 'all': purged, or the whole node deleted. */
  readonly retract: readonly string[] | 'all';
}

export interface WellKnownNode {
  /** What it is made with, where its maker says nothing else. */
  readonly config?: Partial<NodeConfig> | undefined;
  /**
   * Stands around every change that clients make. May refuse what is asked (StanzaError) before it calls `proceed`, which
   * throws where the change is not allowed, or has been made durably; the client is answered afterwards.
   */
  around?(owner: Jid, change: NodeChange, proceed: () => Promise<void>): Promise<void>;
}

export const usualConfig = (
  wellKnown: ReadonlyMap<string, WellKnownNode>,
  { isAccount }: Holder,
  name: string,
): Partial<NodeConfig> => (isAccount ? (wellKnown.get(name)?.config ?? {}) : {});

/** A request of somebody to an account or the service, a bare address. */
interface Asked {
  readonly pubsub: { readonly wellKnown: ReadonlyMap<string, WellKnownNode>; readonly holders: Holders };
  readonly bare: string;
  readonly from: Jid;
}

/** Makes a change with whoever knows the node standing around it, where it is allowed. */
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
