/** Access control of nodes (§4.1, §4.5), applied wherever a node is read: items, notifications, discovery. */

import { z } from 'zod';
import { Jid } from '../../server/address/jid.js';
import { wall } from '../../server/clock.js';
import { defineQuestion, type Host, type Maybe, type Services } from '../../server/module/index.js';
import type { StanzaError } from '../../server/stanza/errors.js';
import { hasFrom } from '../../server/stanza/subscription.js';
import type { RosterItem } from '../rfc-6121-roster/services.js';
import { forbidden, moved, noSuchNode, pubsubError } from './errors.js';
import type { Affiliation, Holder, Node } from './node.js';

/** What access checks need. */
interface Known {
  readonly host: Host;
  readonly roster: Services['roster'];
}

export type Barrier = 'outcast' | 'publish-only' | 'presence' | 'roster' | 'authorize' | 'whitelist';

export function affiliationOf(holder: Holder, node: Node, bare: string): Affiliation {
  if (holder.isAccount && bare === holder.jid.bare) return 'owner';
  return Object.hasOwn(node.stored.affiliations, bare) ? node.stored.affiliations[bare]! : 'none';
}

/** The bare addresses of the owners. */
export function ownersOf(holder: Holder, node: Node): string[] {
  const named = Object.entries(node.stored.affiliations).flatMap(([bare, one]) => (one === 'owner' ? [bare] : []));
  return holder.isAccount ? [holder.jid.bare, ...named] : named;
}

/**
 * The reason why an address may not read a node, or undefined if it may. `item` is its entry in the roster of the
 * account, or of an owner of the node; the access models presence and roster depend on it.
 */
export function barrier(holder: Holder, node: Node, bare: string, item: RosterItem | undefined): Barrier | undefined {
  switch (affiliationOf(holder, node, bare)) {
    case 'owner':
    case 'publisher':
    case 'member':
      return undefined;
    case 'outcast':
      return 'outcast';
    case 'publish-only':
      return 'publish-only';
  }
  const model = node.config['pubsub#access_model'];
  switch (model) {
    case 'open':
      return undefined;
    case 'presence':
      return hasFrom(item) ? undefined : model;
    case 'roster': {
      const groups = node.config['pubsub#roster_groups_allowed'];
      return hasFrom(item) && item!.groups.some((group) => groups.includes(group)) ? undefined : model;
    }
    case 'authorize':
      return isSubscribed(node, bare) ? undefined : model;
    case 'whitelist':
      return model;
  }
}

export function isSubscribed(node: Node, bare: string): boolean {
  for (const { jid, state, expires } of node.subscriptions.values())
    if (state === 'subscribed' && jid.bare === bare && !(typeof expires === 'number' && expires <= wall())) return true;
  return false;
}

/** §6.1.3, §6.5.9. */
export function refusal(barrier: Barrier): StanzaError {
  switch (barrier) {
    case 'outcast':
    case 'publish-only':
      return forbidden();
    case 'presence':
      return pubsubError('not-authorized', 'presence-subscription-required');
    case 'roster':
      return pubsubError('not-authorized', 'not-in-roster-group');
    case 'authorize':
      return pubsubError('not-authorized', 'not-subscribed');
    case 'whitelist':
      return pubsubError('not-allowed', 'closed-node');
  }
}

/** The roster entry that `barrier` needs for this node. */
export function entryFor(
  { roster, host }: Known,
  holder: Holder,
  node: Node,
  bare: string,
): Maybe<RosterItem | undefined> {
  const model = node.config['pubsub#access_model'];
  if (model !== 'presence' && model !== 'roster') return undefined;
  if (holder.isAccount) {
    const items = roster.get(holder.jid.bare);
    return items instanceof Promise ? items.then((all) => all.get(bare)) : items.get(bare);
  }
  // On a service the presence subscription to an owner counts, if the owner is a local account.
  const owners = ownersOf(holder, node).filter((owner) => Jid.parse(owner).domain === host.domain);
  const find = async (): Promise<RosterItem | undefined> => {
    for (const owner of owners) {
      const item = owner === bare ? ownEntry : await host.askHome(entryOf, Jid.parse(owner), { contact: bare });
      if (item !== null && hasFrom(item)) return item;
    }
    return undefined;
  };
  return find();
}

/** Asked at a local account: its roster entry for a contact. */
export const entryOf = defineQuestion({
  name: 'pubsub.entry',
  given: z.object({ contact: z.string() }),
  answer: z
    .object({
      subscription: z.enum(['none', 'to', 'from', 'both']),
      groups: z.array(z.string()).readonly(),
      hidden: z.boolean().optional(),
    })
    .nullable(),
});
type Entry = z.output<typeof entryOf.answer>;

export function entryIn(
  { roster }: Pick<Known, 'roster'>,
  owner: Jid,
  { contact }: { readonly contact: string },
): Maybe<Entry> {
  const items = roster.get(owner.bare);
  return items instanceof Promise ? items.then((all) => all.get(contact) ?? null) : (items.get(contact) ?? null);
}

const ownEntry: RosterItem = { subscription: 'both', groups: [] };

/** The error for a missing node; a reader of a moved node is sent its new address (§6.1.3.11). */
export function missing(holder: Holder, name: string, bare: string, item: RosterItem | undefined): StanzaError {
  const left = holder.moved.get(name);
  if (left === undefined || barrier(holder, left, bare, item) !== undefined) return noSuchNode();
  return moved(left.stored.movedTo!);
}

/** Throws StanzaError if the node does not exist or may not be read. */
export function demandReading(
  holder: Holder,
  node: Node | undefined,
  bare: string,
  item: RosterItem | undefined,
): Node {
  if (node === undefined) throw noSuchNode();
  const obstacle = barrier(holder, node, bare, item);
  if (obstacle !== undefined) throw refusal(obstacle);
  return node;
}

/** §8: throws StanzaError for everyone but owners. */
export function demandOwner(holder: Holder, node: Node | undefined, bare: string): Node {
  // Others must not learn which nodes an account has.
  if (node === undefined) throw holder.isAccount && bare !== holder.jid.bare ? forbidden() : noSuchNode();
  if (affiliationOf(holder, node, bare) !== 'owner') throw forbidden();
  return node;
}

export function mayPublish(holder: Holder, node: Node, bare: string): boolean {
  switch (affiliationOf(holder, node, bare)) {
    case 'owner':
    case 'publisher':
    case 'publish-only':
      return true;
    case 'outcast':
      return false;
  }
  const model = node.config['pubsub#publish_model'];
  return model === 'open' || (model === 'subscribers' && isSubscribed(node, bare));
}
