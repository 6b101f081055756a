/** XEP-0359: Unique and Stable Stanza IDs. Those that we give; what others claim to be ours is taken off before. */
import { escapeAttribute } from '../xml/element.js';
import type { Jid } from './jid.js';
import { NS } from './ns.js';
import type { Stanza } from './stanza.js';

/** The message with its id in the archive of `by`. */
export function withStanzaId(stanza: Stanza, id: string, by: Jid): Stanza {
  return stanza.plusWritten(
    `<stanza-id xmlns="${NS.stanzaId}" id="${escapeAttribute(id)}" by="${escapeAttribute(by.bare)}"/>`,
  );
}
