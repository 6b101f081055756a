/** The users on whose behalf a holder sends a stanza; recipients may have blocked them or not know them. */

import { Jid } from '../../server/address/jid.js';
import { type Maybe, onBehalfOf } from '../../server/module/index.js';
import type { Audience, Origin } from '../../server/routing/passage.js';
import { entryOf, ownersOf } from './access.js';
import type { Holder, Node, Subscriber } from './node.js';
import type { PubSub } from './pubsub.js';

/**
 * The users, other than the account it comes from, on whose behalf a notification is sent: the one who caused it, and
 * the owner if the node has exactly one. `by` is a bare address.
 */
export function speakersOf(holder: Holder, node: Node, by: string | undefined): readonly Jid[] {
  const speakers = new Set<string>();
  if (by !== undefined) speakers.add(by);
  if (!holder.isAccount) {
    const owners = ownersOf(holder, node);
    if (owners.length === 1) speakers.add(owners[0]!);
  }
  speakers.delete(holder.jid.bare);
  return [...speakers].map((one) => Jid.parse(one));
}

/** Origin of a stanza that its recipient requested or accepts. `audience` restricts it to some of their sessions. */
export function solicited([first, ...others]: readonly Jid[], audience?: Audience): Origin | undefined {
  const origin = first && onBehalfOf([first, ...others], { isAsked: true });
  return audience === undefined ? origin : { ...(origin ?? ownWord), audience };
}

const ownWord: Origin = { session: undefined, acknowledges: false, acknowledgeAfter() {} };

/** For an owner, who solicited such messages by creating the node; an owner who was only added did not. */
export const forOwner = (speaker: Jid, node: Node, owner: string): Origin =>
  onBehalfOf([speaker], { isAsked: node.stored.creator === owner });

/** §8.8.2 lets owners subscribe others; this only takes effect if the owner is among the subscriber's contacts. */
export function accepts({ host }: PubSub, { jid, by }: Pick<Subscriber, 'jid' | 'by'>): Maybe<boolean> {
  if (by === undefined) return true;
  if (jid.domain !== host.domain) return false;
  const isContact = (item: { readonly hidden?: boolean | undefined } | null) => item !== null && item.hidden !== true;
  const entry = host.askHome(entryOf, jid.toBare(), { contact: by });
  return entry instanceof Promise ? entry.then(isContact) : isContact(entry);
}
