/** Who speaks in what a holder sends: those whom its recipients may have blocked, or do not know. */
import { type Maybe, onBehalfOf } from '../../server/module/index.js';
import type { Audience, Origin } from '../../server/routing/passage.js';
import { Jid } from '../../server/stanza/jid.js';
import { entryOf, ownersOf } from './access.js';
import type { Holder, Node, Subscriber } from './node.js';
import type { PubSub } from './pubsub.js';

/**
 * Those who speak in a notification besides the account that it comes from: the one who did it, and the owner where a node
 * has a single one. `by`: a bare address.
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

/** What a recipient has asked for, or accepts. `audience`: of its sessions, those alone. */
export function asked([first, ...others]: readonly Jid[], audience?: Audience): Origin | undefined {
  const origin = first && onBehalfOf([first, ...others], { isAsked: true });
  return audience === undefined ? origin : { ...(origin ?? ownWord), audience };
}

const ownWord: Origin = { session: undefined, acknowledges: false, acknowledgeAfter() {} };

/** For an owner of a node, who asked for such messages by making it. An owner who was only named did not. */
export const forOwner = (speaker: Jid, node: Node, owner: string): Origin =>
  onBehalfOf([speaker], { isAsked: node.stored.creator === owner });

/** §8.8.2 lets owners subscribe others: that counts with those alone who have the owner among their contacts. */
export function accepts({ host }: PubSub, { jid, by }: Pick<Subscriber, 'jid' | 'by'>): Maybe<boolean> {
  if (by === undefined) return true;
  if (jid.domain !== host.domain) return false;
  const isContact = (item: { readonly hidden?: boolean | undefined } | null) => item !== null && item.hidden !== true;
  const entry = host.askHome(entryOf, jid.toBare(), { contact: by });
  return entry instanceof Promise ? entry.then(isContact) : isContact(entry);
}
