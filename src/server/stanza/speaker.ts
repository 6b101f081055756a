/**
 * The originators of a stanza. A service relays stanzas for others: whether it may contact a user depends on them,
 * not on the address of the service. Used by `strangers` and `blocking`.
 */
import { Jid } from '../address/jid.js';
import { NS } from './ns.js';
import type { Stanza } from './stanza.js';

/** The originators that a service of this server acts for. Internal: never sent. */
export interface Behalf {
  /** The authors of the stanza's content, by their real addresses; the one who acted comes first. */
  readonly speakers: readonly [Jid, ...Jid[]];
  /** Whether the recipient asked for it, by being in the room or subscribing to the node. */
  readonly isAsked: boolean;
}

/**
 * XEP-0045 §7.8.2: the inviter that a room names. Our own services give a `Behalf` too; for others this is all we have.
 */
export function inviterIn(stanza: Stanza): Jid | undefined {
  if (stanza.name !== 'message' || !stanza.has(NS.mucUser, 'x')) return undefined;
  const from = stanza.child(NS.mucUser, 'x')!.getChild('invite', NS.mucUser)?.attrs.from;
  return from === undefined ? undefined : Jid.tryParse(from);
}

/** Calls `test` with each originator other than `from` until one call returns true. */
export function someOtherSpeaker(stanza: Stanza, behalf: Behalf | undefined, test: (speaker: Jid) => boolean): boolean {
  if (behalf !== undefined) return behalf.speakers.some(test);
  const inviter = inviterIn(stanza);
  return inviter !== undefined && test(inviter);
}
