/** Which messages belong into an account's archive, and what of them can be searched. */
import type { Passage } from '../../server/routing/passage.js';
import { isLasting } from '../../server/stanza/lasting.js';
import { NS } from '../../server/stanza/ns.js';
import { Stanza } from '../../server/stanza/stanza.js';

/** Characters of a message that a search looks at. */
const mostSearched = 10_000;

/** Rooms keep what is said in them themselves. */
export function isWorthKeeping({
  way,
  owner,
  peer,
  stanza,
}: Pick<Passage, 'way' | 'owner' | 'peer' | 'stanza'>): boolean {
  // A note to oneself is kept once, coming in.
  if (way === 'out' && peer.bare === owner.bare) return false;
  return stanza.type !== 'groupchat' && isLasting(stanza);
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
