/**
 * Which messages belong in an archive, for accounts and rooms: XEP-0313 §6.1.1, §6.1.2, XEP-0334 §4, and the
 * specifications of the payloads.
 */
import { NS } from './ns.js';
import type { Stanza } from './stanza.js';

/**
 * Whether a message is user content, or something that a client must learn after being offline: receipts, markers,
 * reactions, corrections, retractions, calls and invitations. Not chat states.
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
