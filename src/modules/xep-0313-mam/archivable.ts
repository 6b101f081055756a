/** Which messages an account's archive stores, and what text of them is searchable. */
import type { Passage } from '../../server/routing/passage.js';
import { isLasting } from '../../server/stanza/lasting.js';
import { NS } from '../../server/stanza/ns.js';
import { Stanza } from '../../server/stanza/stanza.js';

/** Maximum characters of a message that are searched. */
const mostSearched = 10_000;

/** Messages in rooms are archived by the rooms. */
export function isArchivable({
  way,
  owner,
  peer,
  stanza,
}: Pick<Passage, 'way' | 'owner' | 'peer' | 'stanza'>): boolean {
  // A message to oneself is archived once, on its way in.
  if (way === 'out' && peer.bare === owner.bare) return false;
  return stanza.type !== 'groupchat' && isLasting(stanza);
}

/** The searchable text. Returns undefined if there is none, or only a fallback for encrypted content. */
export function searchable(stanza: Stanza): string | undefined {
  const body = stanza.text(NS.client, 'body');
  if (body === undefined || body === '' || isEncrypted(stanza) || body.startsWith('?OTR')) return undefined;
  return body.length > mostSearched ? body.slice(0, mostSearched) : body;
}

/** The same for an archived message. */
export const searchableIn = (xml: string): string | undefined =>
  // Receipts, markers and encrypted messages often have no body: skip parsing.
  xml.includes('<body') || xml.includes(':body') ? searchable(Stanza.parse(xml)) : undefined;

const isEncrypted = (stanza: Stanza): boolean =>
  stanza.has(NS.encryption, 'encryption') || // XEP-0380
  stanza.has(NS.omemo, 'encrypted') ||
  stanza.has(NS.omemoLegacy, 'encrypted') ||
  stanza.has(NS.openPgp, 'openpgp') ||
  stanza.has(NS.pgpLegacy, 'x');
