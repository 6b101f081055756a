/**
 * Copies of messages for members who are not in the room: groupchat messages to the bare addresses of their accounts. No
 * client gets them (RFC 6121 §8.5.2.1.1). An account whose user has bookmarked the room wakes their apps (XEP-0357); any
 * other one answers with an error, and gets no copies for some time.
 */
import { setImmediate } from 'node:timers/promises';
import { Jid } from '../../server/address/jid.js';
import { monotonic } from '../../server/clock.js';
import { onBehalfOf } from '../../server/module/index.js';
import { wantsAttention } from '../../server/stanza/attention.js';
import { NS } from '../../server/stanza/ns.js';
import type { Stanza } from '../../server/stanza/stanza.js';
import { el } from '../../server/xml/element.js';
import type { Muc } from './muc.js';
import { isListed, type Room } from './room.js';
import { mentionedUsers } from './xep-0452-mentions.js';

/** How long an account that wants no copies gets none, in ms. */
const refusalMs = 600_000;
/** Copies sent in one turn of the event loop. */
const copiesAtOnce = 100;

/** `others`: bare addresses that got the message in another way. */
export function copyToAway(muc: Muc, room: Room, stanza: Stanza, speaker: Jid, others: readonly string[]): void {
  const most = muc.config.away_copies;
  const now = monotonic();
  if (most === 0 || now < room.copiesAgainAt || room.lockedSince !== undefined) return;
  if (!wantsAttention(stanza) || stanza.has(NS.correct, 'replace')) return;
  const present = new Set([...room.occupants.values()].map(({ user }) => user.bare));
  const addressees: string[] = [];
  let again = Number.POSITIVE_INFINITY;
  for (const [user, member] of room.members) {
    if (!isListed(member) || present.has(user) || !isHere(muc, user)) continue;
    const until = room.copyRefusals.get(user) ?? 0;
    if (until > now) again = Math.min(again, until);
    else if (addressees.length < most) addressees.push(user);
    else {
      muc.host.limitHit('muc.away_copies');
      break;
    }
  }
  if (addressees.length === 0) room.copiesAgainAt = again;
  else
    void send(
      muc,
      room,
      stanza,
      speaker,
      addressees.filter((user) => !others.includes(user)),
    );
}

/** Whether it is an account of this server. */
function isHere({ host }: Muc, user: string): boolean {
  const at = user.indexOf('@');
  return at > 0 && host.isLocal(user.slice(at + 1));
}

/** Never rejects. */
async function send(
  { host }: Muc,
  room: Room,
  stanza: Stanza,
  speaker: Jid,
  addressees: readonly string[],
): Promise<void> {
  const mentioned = mentionedUsers(room, stanza);
  // Whether the account has asked for copies, it decides itself by the user's bookmarks.
  const origin = onBehalfOf([speaker], { isAsked: true });
  for (const [index, user] of addressees.entries()) {
    if (index > 0 && index % copiesAtOnce === 0) await setImmediate();
    const copy = stanza.with({ to: Jid.parse(user) });
    // Only the room knows whom an occupant id or a reserved nickname stands for.
    const told = mentioned.includes(user) ? copy.plus(mentionOf(user)) : copy;
    void host.route(told, origin);
  }
}

const mentionOf = (user: string) => el('reference', { xmlns: NS.reference, type: 'mention', uri: `xmpp:${user}` });

/** Whether an error answers a copy, and not a notice of the room itself. */
export const isOfCopy = ({ from, to }: Stanza): boolean => from!.resource === undefined && to!.resource !== undefined;

/** The account of a member has answered a copy with an error. */
export function noteRefusal(room: Room, { bare }: Jid): void {
  if (room.members.has(bare)) room.copyRefusals.set(bare, monotonic() + refusalMs);
}
