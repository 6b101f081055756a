/** Which messages wake an app: what a person would want to see at once. */
import { wantsAttention } from '../../server/stanza/attention.js';
import { NS } from '../../server/stanza/ns.js';
import type { Stanza } from '../../server/stanza/stanza.js';

/** Not: errors, copies of messages of other clients, and messages of rooms, which `isOfRoom` is about. */
export function wakes(stanza: Stanza): boolean {
  if (stanza.name !== 'message') return false;
  const { type } = stanza;
  if (type === 'error' || type === 'headline' || type === 'groupchat') return false;
  if (stanza.has(NS.carbons, 'sent') || stanza.has(NS.carbons, 'received')) return false;
  return wantsAttention(stanza);
}

/** A message that was just written in a room, or a mention that a room forwards (XEP-0452). */
export function isOfRoom(stanza: Stanza): boolean {
  if (stanza.name !== 'message' || stanza.type === 'error') return false;
  if (stanza.type !== 'groupchat') return stanza.has(NS.mentions, 'mentions');
  return wantsAttention(stanza) && !stanza.has(NS.delay, 'delay') && !stanza.has(NS.correct, 'replace');
}
