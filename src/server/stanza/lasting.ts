/**
 * Which messages belong into an archive: one definition for accounts and rooms. XEP-0313 §6.1.1, §6.1.2, XEP-0334 §4, and
 * what the specifications of the payloads say.
 */
import { NS } from './ns.js';
import type { Stanza } from './stanza.js';

/**
 * Whether a message is what people wrote to each other, or what a client that was away needs to know of it: that it was
 * received, read, reacted to, corrected or retracted, calls and invitations. Not that somebody is typing.
 */
export function isLasting(stanza: Stanza): boolean {
  const { type } = stanza;
  if (type === 'error') return false; // XEP-0334 §4: the hints in it belong to another message
  if (stanza.has(NS.hints, 'no-store') || stanza.has(NS.hints, 'no-permanent-store')) return false;
  if (type !== 'headline' && stanza.has(NS.client, 'body')) return true; // most are decided here
  if (stanza.has(NS.hints, 'store')) return true;
  return type !== 'headline' && stanza.childNames().some(({ ns, name }) => isContent(ns, name));
}

function isContent(ns: string, name: string): boolean {
  switch (ns) {
    case NS.client:
      return name === 'subject';
    case NS.receipts:
      return name === 'received';
    case NS.markers:
      return name !== 'markable';
    case NS.omemo:
    case NS.omemoLegacy:
    case NS.openPgp:
    case NS.pgpLegacy:
    case NS.reactions:
    case NS.retract:
    case NS.fasten:
    case NS.fileSharing:
    case NS.outOfBand:
    case NS.xhtml:
    case NS.jingleMessage:
    case NS.callInvites:
    case NS.conference:
    case NS.mucUser:
      return true;
    default:
      return false;
  }
}
