/** XEP-0452: forwards messages to absent users with an affiliation whom they mention (XEP-0372, XEP-0513). */

import { Jid } from '../../server/address/jid.js';
import { wall } from '../../server/clock.js';
import { onBehalfOf } from '../../server/module/index.js';
import { delay } from '../../server/stanza/delay.js';
import { NS } from '../../server/stanza/ns.js';
import { Stanza } from '../../server/stanza/stanza.js';
import { type Element, el, parse } from '../../server/xml/element.js';
import type { Muc } from './muc.js';
import { isListed, keyOf, type Room } from './room.js';
import { explicitlyMentioned } from './xep-0513-mentions.js';

/** Forwarded mentions per message. */
const mostMentions = 20;

/** Returns the bare addresses of those who got it. */
export function forwardMentions(muc: Muc, room: Room, stanza: Stanza, speaker: Jid): readonly string[] {
  const absent = mentionedUsers(room, stanza)
    .filter((user) => isListed(room.members.get(user)))
    .slice(0, mostMentions)
    .filter((user) => room.occupantsOf(user).length === 0);
  for (const user of absent) {
    const forwarded = el('forwarded', { xmlns: NS.forward }, delay(undefined, wall()), wholeOf(stanza, room));
    void muc.host.route(
      Stanza.build(
        'message',
        { from: room.jid, to: Jid.parse(user) },
        el('mentions', { xmlns: NS.mentions }, forwarded),
      ),
      // An affiliation is not consent: a room's owner can give it to anyone.
      onBehalfOf([speaker], { isAsked: false }),
    );
  }
  return absent;
}

/** Bare addresses, each once. */
export const mentionedUsers = (room: Room, stanza: Stanza): string[] => [
  ...new Set([...referredTo(room, stanza), ...explicitlyMentioned(room, stanza)]),
];

function referredTo(room: Room, stanza: Stanza): string[] {
  if (!stanza.has(NS.reference, 'reference')) return [];
  return stanza
    .children()
    .filter((child) => child.is('reference', NS.reference) && child.attrs.type === 'mention')
    .map(({ attrs }) => mentionedUser(room, attrs.uri ?? ''))
    .filter((user) => user !== undefined);
}

/** By address, or by the address of a reserved nickname in the room. */
function mentionedUser(room: Room, uri: string): string | undefined {
  let address = '';
  try {
    address = uri.startsWith('xmpp:') ? decodeURIComponent(uri.slice(5).split(/[?#]/)[0]!) : '';
  } catch {
    return undefined; // malformed URI
  }
  const jid = Jid.tryParse(address);
  if (jid === undefined) return undefined;
  return jid.sameBare(room.jid) && jid.resource !== undefined ? room.reserved.get(keyOf(jid.resource)) : jid.bare;
}

const wholeOf = (stanza: Stanza, room: Room): Element => parse(stanza.with({ to: room.jid }).toXml(NS.client));
