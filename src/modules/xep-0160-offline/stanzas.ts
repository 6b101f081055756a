/** What messages are kept, and as what. */
import { writtenDelay } from '../../server/stanza/delay.js';
import { Jid } from '../../server/stanza/jid.js';
import { NS } from '../../server/stanza/ns.js';
import type { Stanza } from '../../server/stanza/stanza.js';

/** XEP-0160 §3, XEP-0334 §4: what somebody would miss. */
export function isWorthKeeping(stanza: Stanza): boolean {
  const { type } = stanza;
  if (type === 'error' || type === 'groupchat') return false;
  if (stanza.has(NS.hints, 'no-store')) return false;
  if (stanza.has(NS.hints, 'store')) return true;
  if (type === 'headline') return false;
  return stanza.has(NS.client, 'body') || stanza.childNames().some(({ ns, name }) => isContent(ns, name));
}

/** Not what only says something about a message, or about the moment; carbons are copies of something kept elsewhere. */
function isContent(ns: string, name: string): boolean {
  switch (ns) {
    case NS.chatStates:
    case NS.hints:
    case NS.stanzaId:
    case NS.delay:
    case NS.carbons:
    case NS.pubsubEvent: // sent anew to whoever becomes available (XEP-0163 §4.3)
      return false;
    case NS.client:
      return name !== 'thread';
    default:
      return true;
  }
}

/** Its sender need not hear that nobody took it. Groupchat is not: rooms want to know who has gone (XEP-0045 §17.1). */
export const isDispensable = (stanza: Stanza): boolean =>
  stanza.type === 'error' || (stanza.type !== 'groupchat' && !stanza.has(NS.client, 'body'));

/** The message as it is kept: for the account, with when it came (XEP-0160 §2), told once. */
export function asKept(stanza: Stanza, owner: Jid, domain: string, time: number): Stanza {
  const kept = stanza.with({ to: owner });
  const isDelayed = stanza.without(NS.delay, 'delay', ({ from }) => isOurs(from, domain)) !== stanza;
  return isDelayed ? kept : kept.plusWritten(writtenDelay(domain, time));
}

export const isOurs = (from: string | undefined, domain: string): boolean =>
  from !== undefined && Jid.tryParse(from.trim())?.full === domain;
