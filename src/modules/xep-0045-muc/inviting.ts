/** XEP-0045 §7.8.2: mediated invitations and their decline. Direct invitations (XEP-0249) do not involve the room. */

import { Jid } from '../../server/address/jid.js';
import { onBehalfOf } from '../../server/module/index.js';
import type { Origin } from '../../server/routing/passage.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { NS } from '../../server/stanza/ns.js';
import { Stanza } from '../../server/stanza/stanza.js';
import { type Element, el } from '../../server/xml/element.js';
import { grant } from './affiliations.js';
import { bodyElement, mayInvite, reasonIn, sendInvitation } from './invitations.js';
import type { Muc } from './muc.js';
import { isAtLeast } from './privileges.js';
import type { Room } from './room.js';

export async function invite(
  muc: Muc,
  room: Room,
  stanza: Stanza,
  x: Element,
  { frame }: Pick<Origin, 'frame'>,
): Promise<void> {
  const { config } = room;
  const inviter = stanza.from!;
  const seat = room.seat(inviter);
  if (seat === undefined) throw new StanzaError('not-acceptable', 'You are not in the room.');
  const affiliation = room.affiliationOf(inviter);
  const isAllowed = !config.membersOnly || isAtLeast(affiliation, config.memberInvites ? 'member' : 'admin');
  if (!isAllowed) throw new StanzaError('forbidden', 'You cannot invite others to the room.'); // §9.5
  const invitations = x.getChildren('invite', NS.mucUser);
  if (invitations.length > muc.config.invitations) {
    muc.host.limitHit('muc.invitations');
    throw new StanzaError('not-acceptable', 'Too many invitations at once.');
  }
  const wanted = invitations.map((invitation) => ({ invitation, to: addressIn(invitation) }));
  for (const { to } of wanted)
    if (room.affiliationOf(to) === 'outcast') throw new StanzaError('not-acceptable', `${to.bare} is banned.`);
  if (!mayInvite(muc, inviter, wanted.length))
    throw new StanzaError('policy-violation', 'Too many invitations. Try again later.', { type: 'wait' });
  for (const { invitation, to } of wanted) {
    // §9.5: users invited to a members-only room become members
    if (config.membersOnly && room.affiliationOf(to) === 'none') await grant(muc, room, to, 'member');
    sendInvitation(muc, room, to, inviter, invitation, { id: stanza.id, frame });
  }
}

/** Accepted only from an invited user, and sent only to their inviter. */
export function decline(muc: Muc, room: Room, stanza: Stanza, x: Element, { frame }: Pick<Origin, 'frame'>): void {
  const declined = x.getChild('decline', NS.mucUser)!;
  const from = stanza.from!;
  const inviter = room.invited.get(from.bare);
  if (inviter === undefined || addressIn(declined).bare !== inviter)
    throw new StanzaError('item-not-found', 'There is no such invitation.');
  room.invited.delete(from.bare);
  const reason = reasonIn(declined);
  const answer = el(
    'x',
    { xmlns: NS.mucUser },
    el('decline', { from: from.bare }, reason === undefined ? undefined : el('reason', null, reason)),
  );
  const body = bodyElement(`${from.bare} declines the invitation to the room ${room.jid.bare}`, reason);
  const message = Stanza.build('message', { from: room.jid, id: stanza.id }, answer, body);
  const present = room.occupantsOf(inviter).flatMap(({ seats }) => seats.map(({ jid }) => jid));
  const behalf = onBehalfOf([from], { isAsked: true, frame });
  if (present.length === 0) void muc.host.route(message.with({ to: Jid.parse(inviter) }), behalf);
  else void muc.host.routeToAll(message, present, behalf);
}

function addressIn(element: Element): Jid {
  const jid = Jid.tryParse(element.attrs.to ?? '');
  if (jid === undefined) throw new StanzaError('jid-malformed');
  return jid;
}
