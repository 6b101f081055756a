/** Common parts of all requests to nodes. */

import { flat } from '../../server/address/flat.js';
import type { Jid } from '../../server/address/jid.js';
import type { IqRequest, Maybe } from '../../server/module/index.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { NS } from '../../server/stanza/ns.js';
import type { Element } from '../../server/xml/element.js';
import type { RosterItem } from '../rfc-6121-roster/services.js';
import { entryFor } from './access.js';
import { pubsubError } from './errors.js';
import type { Found, Holder, Node } from './node.js';
import type { PubSub } from './pubsub.js';

/** A request, identified by the first child of a `<pubsub/>` element. */
export interface Action {
  readonly pubsub: PubSub;
  readonly request: IqRequest;
  readonly from: Jid;
  /** The bare address of the account or the service. */
  readonly bare: string;
  /** `<publish/>`, `<items/>` … */
  readonly element: Element;
}

/** Bytes of names of nodes and items; the same as for resources in RFC 7622. */
const longestName = 1023;

export function nameIn(element: Element, attribute: 'node' | 'id'): string | undefined {
  const name = element.attrs[attribute];
  if (name === undefined || name === '') return undefined;
  if (Buffer.byteLength(name) > longestName)
    throw new StanzaError('not-acceptable', `A name can have at most ${longestName} bytes.`);
  return flat(name);
}

/** The required name of a node. Throws StanzaError if it is missing. */
export function nodeNamed({ element }: Pick<Action, 'element'>): string {
  const name = nameIn(element, 'node');
  if (name === undefined) throw pubsubError('bad-request', 'nodeid-required');
  return name;
}

/** `Holders.inTurn` for the requested node; `prepared` is the roster entry for `barrier`. */
export function inTurn<T>(
  { pubsub, from, bare }: Action,
  name: string,
  use: (found: Found<RosterItem | undefined>) => Maybe<T>,
): Promise<T> {
  const prepare = (holder: Holder, node: Node) => entryFor(pubsub, holder, node, from.bare);
  return pubsub.holders.inTurn(bare, name, prepare, use);
}

/** For requests that change nothing. */
export const find = (action: Action, name: string): Promise<Found<RosterItem | undefined>> =>
  inTurn(action, name, (found) => found);

/** The data form in an element. */
export const formIn = (element: Element | undefined): Element | undefined => element?.getChild('x', NS.dataForms);
