/**
 * XEP-0280: Message Carbons. The account's other clients get a copy of each message that one of them sends or receives.
 *
 * `<private/>` is honoured and stays on the message: §9 no longer requires its removal. Errors for a copy go to the
 * account's bare address and are dropped (§11).
 */
import { z } from 'zod';
import type { Jid } from '../server/address/jid.js';
import { defineModule, inline, iq, message, sessionState } from '../server/module/index.js';
import type { Receipt } from '../server/routing/link.js';
import type { MessagePassage, Way } from '../server/routing/passage.js';
import type { Session } from '../server/routing/session.js';
import { StanzaError } from '../server/stanza/errors.js';
import { NS } from '../server/stanza/ns.js';
import { Stanza } from '../server/stanza/stanza.js';
import { el, serialize } from '../server/xml/element.js';
import { Recent } from '../storage/recent.js';

/** Copied messages whose later errors are copied too. */
const mostCopied = 20_000;
/** Maximum characters of an id in `copied`. */
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
    /** By account, peer and message id: errors are copied if their message was (§6.1). */
    const copied = new Recent<true>(mostCopied);

    /** Whether it sent directed presence to the room, or to an occupant. */
    const isPresentAt = (session: Session, peer: Jid): boolean =>
      [...(presence?.directed(session).values() ?? [])].some((to) => to.sameBare(peer));

    const copy = (passage: MessagePassage) => {
      const { way, owner, peer, stanza } = passage;
      // A message of an account to itself is copied once, on its way in.
      if (way === 'out' && peer.bare === owner.bare) return;
      let others = passage.sessions.filter((other) => other.get(enabled) && !hasIt(passage, other));
      if (others.length === 0) return;
      // §6.1: private messages in a room go only to clients that have joined it too
      const { session } = passage.origin;
      if (way === 'out' && peer.resource !== undefined && session !== undefined && stanza.has(NS.mucUser, 'x'))
        if (isPresentAt(session, peer)) others = others.filter((other) => isPresentAt(other, peer));
      const { id = '', type } = stanza;
      const key = `${owner.bare} ${peer.bare} ${id}`;
      if (type === 'error' ? !copied.get(key) : !isEligible(stanza, way, peer)) return;
      if (type !== 'error' && id !== '' && id.length <= longestId) copied.set(key, true);
      const wrapped = wrap(passage.seen, way, owner);
      // A delivered copy counts as delivery: the message need not be stored offline then.
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
          // Only the server makes copies. An error that quotes one of our copies ends here (§11).
          if (stanza.type === 'error') return 'handled';
          if (way === 'out') throw new StanzaError('not-allowed', 'Only the server sends carbons.');
          passage.stanza = stanza.without(NS.carbons, 'sent').without(NS.carbons, 'received');
          return undefined;
        },
        { skips: (stanza) => !claimsToBeCopy(stanza) },
      ),
      message('copy', copy),
    ];
  },
});

/** The receipt of a copy: if the copy is lost, it reports the message itself as lost. */
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

/** Whether the session sent the message or received it directly. */
const hasIt = ({ origin, deliveredTo }: MessagePassage, session: Session): boolean =>
  session.jid.equals(origin.session?.jid) || deliveredTo.includes(session);

/** §6.1, except for errors; `peer` is the other party. */
export function isEligible(stanza: Stanza, way: Way, peer: Jid): boolean {
  const { type } = stanza;
  if (type === 'groupchat') return false;
  if (stanza.has(NS.carbons, 'private') || stanza.has(NS.hints, 'no-copy')) return false;
  if (stanza.has(NS.conference, 'x')) return true;
  const fromRoom = stanza.child(NS.mucUser, 'x');
  if (fromRoom?.getChild('invite', NS.mucUser) !== undefined) return true;
  // A room sends private messages to all joined clients itself.
  if (fromRoom !== undefined && way === 'in' && peer.resource !== undefined) return false;
  if (type === 'chat') return true;
  if ((type === undefined || type === 'normal') && stanza.has(NS.client, 'body')) return true;
  return stanza.childNames().some(({ ns }) => ns === NS.receipts || ns === NS.chatStates || ns === NS.markers);
}

/** §7, §8: the copy, for any session of the owner, without `to`. */
export function wrap(stanza: Stanza, way: Way, owner: Jid): Stanza {
  const [before, after] = wrappers[way];
  const copy = before + stanza.toXml(NS.client) + after;
  return Stanza.build('message', { from: owner, type: stanza.type }).plusWritten(copy);
}

/** The serialized wrapper of a copy: the text before the message and the text after it. */
function wrapper(name: 'sent' | 'received'): readonly [string, string] {
  const around = serialize(el(name, { xmlns: NS.carbons }, el('forwarded', { xmlns: NS.forward }, '|')));
  return around.split('|') as [string, string];
}

const wrappers = { out: wrapper('sent'), in: wrapper('received') } as const;
