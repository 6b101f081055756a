/** Which messages a person would want to see at once, whatever their type. */
import { NS } from './ns.js';
import type { Stanza } from './stanza.js';

/** Encrypted content: the namespace and name of its element. */
const encrypted = [
  [NS.omemo, 'encrypted'],
  [NS.omemoLegacy, 'encrypted'],
  [NS.openPgp, 'openpgp'],
  [NS.pgpLegacy, 'x'],
] as const;

/** Not: chat states, receipts, markers, reactions, retractions and events. */
export function wantsAttention(stanza: Stanza): boolean {
  // Calls: they are for this moment, and are often not stored.
  if (stanza.has(NS.jingleMessage, 'propose') || stanza.has(NS.callInvites, 'invite')) return true;
  if (stanza.has(NS.hints, 'no-store')) return false;
  if (isEncrypted(stanza)) return hasContent(stanza);
  return (
    stanza.has(NS.client, 'body') &&
    !stanza.has(NS.reactions, 'reactions') &&
    !stanza.has(NS.retract, 'retract') &&
    !stanza.has(NS.retractOld, 'retract')
  );
}

/** Whether it has encrypted content, which the server cannot read. */
export const isEncrypted = (stanza: Stanza): boolean => encrypted.some(([ns, name]) => stanza.has(ns, name));

/** XEP-0384 §5.5.3: a message of OMEMO without a payload only exchanges keys. */
function hasContent(stanza: Stanza): boolean {
  for (const [ns, name] of encrypted) {
    if (!stanza.has(ns, name)) continue;
    const isOmemo = ns === NS.omemo || ns === NS.omemoLegacy;
    return !isOmemo || stanza.child(ns, name)?.getChild('payload') !== undefined;
  }
  return false;
}
