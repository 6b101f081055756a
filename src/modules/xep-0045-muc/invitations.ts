/** XEP-0045 §7.8.2: mediated invitations, as the room sends them. */

import type { Jid } from '../../server/address/jid.js';
import { onBehalfOf } from '../../server/module/index.js';
import type { FirstFrame } from '../../server/routing/passage.js';
import { NS } from '../../server/stanza/ns.js';
import { Stanza } from '../../server/stanza/stanza.js';
import { type Element, el } from '../../server/xml/element.js';
import type { Muc } from './muc.js';
import type { Room } from './room.js';

/** Invitations remembered per room; the oldest are evicted and can no longer be declined. */
const remembered = 500;
/** Characters of a reason. */
const longestReason = 1000;

/** §7.8.2; also passes on the continuation of a chat (§7.9). `sent`: the inviter's message, if there is one. */
export function sendInvitation(
  muc: Muc,
  room: Room,
  to: Jid,
  inviter: Jid,
  invitation?: Element,
  sent?: { readonly id: string | undefined; readonly frame: FirstFrame | undefined },
): void {
  const { password } = room.config;
  room.invited.delete(to.bare);
  room.invited.set(to.bare, inviter.bare);
  if (room.invited.size > remembered) room.invited.delete(room.invited.keys().next().value!);
  const reason = reasonIn(invitation);
  const continued = invitation?.getChild('continue', NS.mucUser);
  const x = el(
    'x',
    { xmlns: NS.mucUser },
    el(
      'invite',
      { from: inviter.bare },
      reason === undefined ? undefined : el('reason', null, reason),
      continued === undefined ? undefined : el('continue', { thread: continued.attrs.thread }),
    ),
    password === '' ? undefined : el('password', null, password),
  );
  const words = `${inviter.bare} invites you to the room ${room.jid.bare}`;
  const message = Stanza.build('message', { from: room.jid, to, id: sent?.id }, x, bodyElement(words, reason));
  void muc.host.route(message, onBehalfOf([inviter], { isAsked: false, frame: sent?.frame }));
}

/** Fallback for clients that do not support `muc#user`. */
export const bodyElement = (words: string, reason: string | undefined): Element =>
  el('body', null, reason === undefined ? words : `${words} (${reason})`);

/** Whether the inviter's rate allows `count` invitations now. All users of a remote server share one rate. */
export function mayInvite({ host, invites }: Muc, inviter: Jid, count: number): boolean {
  if (invites.take(host.holderOf(inviter), count)) return true;
  host.limitHit('muc.invitations_per_hour');
  return false;
}

export function reasonIn(element: Element | undefined): string | undefined {
  return element?.getChildText('reason', NS.mucUser)?.slice(0, longestReason).trim() || undefined;
}
