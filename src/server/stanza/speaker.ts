/**
 * Who really speaks in a stanza. A service relays what others make: whether it may reach somebody is decided by them, not
 * by the address of the service. `strangers` and `blocking` both go by this.
 */
import { Jid } from './jid.js';
import { NS } from './ns.js';
import type { Stanza } from './stanza.js';

/** Whom a service of this server speaks for. It stays inside the server: nothing of it is on the wire. */
export interface Behalf {
  /** Those who made what the stanza carries, by their real addresses; the one who acted comes first. */
  readonly speakers: readonly [Jid, ...Jid[]];
  /** The recipient asked for it: they are in the room, or they subscribed to the node. */
  readonly isAsked: boolean;
}

/** XEP-0045 §7.8.2: whom a room says that it invites for. Services of ours say it with a `Behalf`, others only so. */
export function inviterIn(stanza: Stanza): Jid | undefined {
  if (stanza.name !== 'message' || !stanza.has(NS.mucUser, 'x')) return undefined;
  const from = stanza.child(NS.mucUser, 'x')!.getChild('invite', NS.mucUser)?.attrs.from;
  return from === undefined ? undefined : Jid.tryParse(from);
}

/** Calls with those who speak besides `from`, until one call is true. */
export function someOtherSpeaker(stanza: Stanza, behalf: Behalf | undefined, test: (speaker: Jid) => boolean): boolean {
  if (behalf !== undefined) return behalf.speakers.some(test);
  const inviter = inviterIn(stanza);
  return inviter !== undefined && test(inviter);
}
