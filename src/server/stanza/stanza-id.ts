/** XEP-0359: Unique and Stable Stanza IDs. Adds our ids; forged ones that claim to be ours are removed first. */

import { Jid } from '../address/jid.js';
import { escapeAttribute } from '../xml/element.js';
import { AddressBudget } from './addresses.js';
import { NS } from './ns.js';
import type { Stanza } from './stanza.js';

/** Adds the id of the message in the archive of `by`. */
export function withStanzaId(stanza: Stanza, id: string, by: Jid): Stanza {
  return stanza.plusWritten(
    `<stanza-id xmlns="${NS.stanzaId}" id="${escapeAttribute(id)}" by="${escapeAttribute(by.bare)}"/>`,
  );
}

/**
 * §3: removes the ids that claim to be assigned by `owner`, in any spelling of the address. `andUnreadable` also
 * removes ids without a valid `by`. Ids beyond the address budget are removed. Consecutive ids
 * with the same address are checked once.
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
