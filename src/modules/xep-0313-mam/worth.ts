/** What of a message belongs into an account's archive, and what of it can be searched. */
import type { Passage } from '../../server/routing/passage.js';
import { NS } from '../../server/stanza/ns.js';
import { Stanza } from '../../server/stanza/stanza.js';

/** Characters of a message that a search looks at. */
const mostSearched = 10_000;

/**
 * XEP-0313 §6.1.1, XEP-0334 §4: what people wrote to each other, and what a client has to know of it that was away:
 * that it was received, read, reacted to or taken back, calls and invitations. Rooms keep what is said in them
 * themselves.
 */
export function isWorthKeeping({
  way,
  owner,
  peer,
  stanza,
}: Pick<Passage, 'way' | 'owner' | 'peer' | 'stanza'>): boolean {
  // A note to oneself is kept once, coming in.
  if (way === 'out' && peer.bare === owner.bare) return false;
  const { type } = stanza;
  if (type === 'error' || type === 'groupchat') return false;
  if (stanza.has(NS.hints, 'no-store') || stanza.has(NS.hints, 'no-permanent-store')) return false;
  if (type !== 'headline' && stanza.has(NS.client, 'body')) return true;
  if (stanza.has(NS.hints, 'store')) return true;
  return type !== 'headline' && stanza.childNames().some(({ ns, name }) => isContent(ns, name));
}

function isContent(ns: string, name: string): boolean {
  switch (ns) {
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
    case NS.jingleMessage:
    case NS.callInvites:
    case NS.conference:
    case NS.mucUser:
      return true;
    default:
      return false;
  }
}

/** What a search looks at; undefined where there is nothing, or where it only stands in for what is encrypted. */
export function searchable(stanza: Stanza): string | undefined {
  const body = stanza.text(NS.client, 'body');
  if (body === undefined || body === '' || isEncrypted(stanza) || body.startsWith('?OTR')) return undefined;
  return body.length > mostSearched ? body.slice(0, mostSearched) : body;
}

/** The same of what is in the archive. */
export const searchableIn = (xml: string): string | undefined =>
  // Much has no body: receipts, markers, what is encrypted.
  xml.includes('<body') || xml.includes(':body') ? searchable(Stanza.parse(xml)) : undefined;

const isEncrypted = (stanza: Stanza): boolean =>
  stanza.has(NS.encryption, 'encryption') || // XEP-0380
  stanza.has(NS.omemo, 'encrypted') ||
  stanza.has(NS.omemoLegacy, 'encrypted') ||
  stanza.has(NS.openPgp, 'openpgp') ||
  stanza.has(NS.pgpLegacy, 'x');
