/** XEP-0359: Unique and Stable Stanza IDs. Those that we give; what others claim to be ours is taken off before. */
import { escapeAttribute } from '../xml/element.js';
import { AddressBudget } from './addresses.js';
import { Jid } from './jid.js';
import { NS } from './ns.js';
import type { Stanza } from './stanza.js';

/** The message with its id in the archive of `by`. */
export function withStanzaId(stanza: Stanza, id: string, by: Jid): Stanza {
  return stanza.plusWritten(
    `<stanza-id xmlns="${NS.stanzaId}" id="${escapeAttribute(id)}" by="${escapeAttribute(by.bare)}"/>`,
  );
}

/**
 * §3: the message without the ids that claim to be given by `owner`, however the address is spelled. `andUnreadable`: also
 * without those that name nobody. An address that many claim is read once,
 * and of more than can be read none is believed.
 */
export function withoutIdsBy(stanza: Stanza, owner: Jid, andUnreadable = false): Stanza {
  const budget = new AddressBudget();
  const isForged = (by: string | undefined): boolean => {
    if (by === owner.bare || (by !== undefined && !budget.take(by))) return true;
    const claimed = by === undefined ? undefined : Jid.tryParse(by.trim());
    return claimed === undefined ? andUnreadable : claimed.bare === owner.bare;
  };
  let last: string | undefined;
  let wasForged: boolean | undefined;
  return stanza.without(NS.stanzaId, 'stanza-id', ({ by }) => {
    if (wasForged === undefined || by !== last) wasForged = isForged(by);
    last = by;
    return wasForged;
  });
}
