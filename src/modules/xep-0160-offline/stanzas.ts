/** Which messages are stored offline, and in what form. */

import { Jid } from '../../server/address/jid.js';
import { writtenDelay } from '../../server/stanza/delay.js';
import { NS } from '../../server/stanza/ns.js';
import type { Stanza } from '../../server/stanza/stanza.js';

/** XEP-0160 §3, XEP-0334 §4: messages with content that the recipient would miss. */
export function isStorable(stanza: Stanza): boolean {
  const { type } = stanza;
  if (type === 'error' || type === 'groupchat') return false;
  if (stanza.has(NS.hints, 'no-store')) return false;
  if (stanza.has(NS.hints, 'store')) return true;
  if (type === 'headline') return false;
  return stanza.has(NS.client, 'body') || stanza.childNames().some(({ ns, name }) => isContent(ns, name));
}

/** Excludes payloads about another message or the moment, and carbons, which copy a message stored elsewhere. */
function isContent(ns: string, name: string): boolean {
  switch (ns) {
    case NS.chatStates:
    case NS.hints:
    case NS.stanzaId:
    case NS.delay:
    case NS.carbons:
    case NS.pubsubEvent: // sent again to sessions that become available (XEP-0163 §4.3)
      return false;
    case NS.client:
      return name !== 'thread';
    default:
      return true;
  }
}

/**
 * Dropped without an error to its sender. Groupchat is not: rooms use the error to remove occupants (XEP-0045 §17.1).
 */
export const isDispensable = (stanza: Stanza): boolean =>
  stanza.type === 'error' || (stanza.type !== 'groupchat' && !stanza.has(NS.client, 'body'));

/**
 * The message in its stored form: addressed to the account, and with one delay element for its arrival (XEP-0160 §2).
 */
export function storedForm(stanza: Stanza, owner: Jid, domain: string, time: number): Stanza {
  const addressed = stanza.with({ to: owner });
  const isDelayed = stanza.without(NS.delay, 'delay', ({ from }) => isOurs(from, domain)) !== stanza;
  return isDelayed ? addressed : addressed.plusWritten(writtenDelay(domain, time));
}

export const isOurs = (from: string | undefined, domain: string): boolean =>
  from !== undefined && Jid.tryParse(from.trim())?.full === domain;
