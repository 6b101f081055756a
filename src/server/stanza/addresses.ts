/**
 * Lists of addresses in one stanza: block lists, affiliations, invitations, forms. Checking and mapping a non-ASCII
 * address takes up to half a microsecond per character, so the size of a list is checked before any of it is parsed.
 */
import { StanzaError } from './errors.js';

/** Maximum addresses in a list, and maximum non-ASCII characters in all of them. */
const mostAddresses = 1000;
const mostMapped = 10_000;

/** The part of the budget used by a list so far. */
export class AddressBudget {
  #addresses = 0;
  #mapped = 0;

  /** Whether one more address of the list may be parsed. */
  take(address: string): boolean {
    this.#addresses++;
    if (this.#addresses > mostAddresses) return false;
    for (let at = 0; at < address.length; at++) if (address.charCodeAt(at) > 0x7f) this.#mapped++;
    return this.#mapped <= mostMapped;
  }
}

/** Throws StanzaError if the list is too long. */
export function demandFew(addresses: Iterable<string | undefined>): void {
  const budget = new AddressBudget();
  for (const address of addresses)
    if (address !== undefined && !budget.take(address))
      throw new StanzaError(
        'policy-violation',
        `Too many addresses: at most ${mostAddresses} are allowed, fewer if not ASCII.`,
        { type: 'modify' },
      );
}
