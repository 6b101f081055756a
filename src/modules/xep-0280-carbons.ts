/**
 * XEP-0280: Message Carbons. The account's other clients get a copy of what one of them sends or receives.
 *
 * `<private/>` is obeyed and stays on the message: taking it off is no longer asked for (§9). What comes back about a copy
 * goes nowhere (§11): it is an error to the account's bare address.
 */
import { z } from 'zod';
import { defineModule, inline, iq, message, sessionState } from '../server/module/index.js';
import type { Receipt } from '../server/routing/link.js';
import type { MessagePassage, Way } from '../server/routing/passage.js';
import type { Session } from '../server/routing/session.js';
import { StanzaError } from '../server/stanza/errors.js';
import type { Jid } from '../server/stanza/jid.js';
import { NS } from '../server/stanza/ns.js';
import { Stanza } from '../server/stanza/stanza.js';
import { el, serialize } from '../server/xml/element.js';
import { Recent } from '../storage/recent.js';

/** Copied messages whose errors are still known to belong to them. */
const mostCopied = 20_000;
/** Of an id that is remembered, in characters. */
const longestId = 256;

export const enabled = sessionState({ name: 'carbons', default: false, stored: z.boolean() });

export default defineModule({
  name: 'carbons',
  summary: "Copies messages to the account's other clients.",
  implements: { 'XEP-0280': '1.0.1' },
  features: { server: [NS.carbons, NS.carbonsRules], account: [NS.carbons, NS.carbonsRules] },

  sessionStates: [enabled],
  wants: ['presence'],

  start: ({ services: { presence } }) => {
    /** By account, other party and id: an error copied because its message was (§6.1). */
    const copied = new Recent<true>(mostCopied);

    /** Whether it sent presence to the room, or to somebody in it. */
    const isPresentAt = (session: Session, peer: Jid): boolean =>
      [...(presence?.directed(session).values() ?? [])].some((to) => to.sameBare(peer));

    const copy = (passage: MessagePassage) => {
      const { way, owner, peer, stanza } = passage;
      // What an account says to itself is copied once, where it comes in.
      if (way === 'out' && peer.bare === owner.bare) return;
      let others = passage.sessions.filter((other) => other.get(enabled) && !hasIt(passage, other));
      if (others.length === 0) return;
      // §6.1: a private message in a room is for those clients that are there as well
      const { session } = passage.origin;
      if (way === 'out' && peer.resource !== undefined && session !== undefined && stanza.has(NS.mucUser, 'x'))
        if (isPresentAt(session, peer)) others = others.filter((other) => isPresentAt(other, peer));
      const { id = '', type } = stanza;
      const key = `${owner.bare} ${peer.bare} ${id}`;
      if (type === 'error' ? !copied.get(key) : !isEligible(stanza, way, peer)) return;
      if (type !== 'error' && id !== '' && id.length <= longestId) copied.set(key, true);
      const wrapped = wrap(passage.seen, way, owner);
      // A copy that arrives is a message that arrived: nobody needs it from the offline store then.
      const receipt = passage.receipt && receiptOf(passage.receipt, passage.seen);
      passage.copies += others.length;
      for (const other of others) other.send(wrapped.with({ to: other.jid }), receipt);
    };

    return [
      iq.set('account', NS.carbons, 'enable', ({ session }) => switchTo(true, session)),
      iq.set('account', NS.carbons, 'disable', ({ session }) => switchTo(false, session)),
      inline(NS.carbons, 'enable', (session) => switchTo(true, session)),
      message(
        'clean',
        (passage) => {
          const { stanza, way } = passage;
          if (!claimsToBeCopy(stanza)) return undefined;
          // Nobody but us copies. An error that quotes one of our copies ends here (§11).
          if (stanza.type === 'error') return 'handled';
          if (way === 'out') throw new StanzaError('not-allowed', 'Carbons are made by the server.');
          passage.stanza = stanza.without(NS.carbons, 'sent').without(NS.carbons, 'received');
          return undefined;
        },
        { skips: (stanza) => !claimsToBeCopy(stanza) },
      ),
      message('copy', copy),
    ];
  },
});

/** The receipt of a copy: what is lost with it is the message itself. */
const receiptOf = (receipt: Receipt, stanza: Stanza): Receipt => ({
  delivered: () => receipt.delivered(),
  lost: () => receipt.lost(stanza),
  get reference() {
    return receipt.reference;
  },
});

function switchTo(on: boolean, session: Session | undefined): void {
  if (session === undefined) throw new StanzaError('not-allowed'); // §4, §5
  session.set(enabled, on);
}

const claimsToBeCopy = (stanza: Stanza): boolean =>
  stanza.has(NS.carbons, 'sent') || stanza.has(NS.carbons, 'received');

/** It sent the message, or was given it. */
const hasIt = ({ origin, deliveredTo }: MessagePassage, session: Session): boolean =>
  session.jid.equals(origin.session?.jid) || deliveredTo.includes(session);

/** §6.1, for everything but errors; `peer` is the other party. */
export function isEligible(stanza: Stanza, way: Way, peer: Jid): boolean {
  const { type } = stanza;
  if (type === 'groupchat') return false;
  if (stanza.has(NS.carbons, 'private') || stanza.has(NS.hints, 'no-copy')) return false;
  if (stanza.has(NS.conference, 'x')) return true;
  const fromRoom = stanza.child(NS.mucUser, 'x');
  if (fromRoom?.getChild('invite', NS.mucUser) !== undefined) return true;
  // A room gives private messages to all clients that are in it.
  if (fromRoom !== undefined && way === 'in' && peer.resource !== undefined) return false;
  if (type === 'chat') return true;
  if ((type === undefined || type === 'normal') && stanza.has(NS.client, 'body')) return true;
  return stanza.childNames().some(({ ns }) => ns === NS.receipts || ns === NS.chatStates || ns === NS.markers);
}

/** §7, §8: the copy, for any session of the owner; `to` is left open. */
export function wrap(stanza: Stanza, way: Way, owner: Jid): Stanza {
  const [before, after] = wrappers[way];
  const copy = before + stanza.toXml(NS.client) + after;
  return Stanza.build('message', { from: owner, type: stanza.type }).plusWritten(copy);
}

/** What stands around a message that is text already: before it and behind it. */
function wrapper(name: 'sent' | 'received'): readonly [string, string] {
  const around = serialize(el(name, { xmlns: NS.carbons }, el('forwarded', { xmlns: NS.forward }, '|')));
  return around.split('|') as [string, string];
}

const wrappers = { out: wrapper('sent'), in: wrapper('received') } as const;
