/**
 * Lists of addresses in one stanza: block lists, affiliations, invitations, forms. An address beyond ASCII takes up to
 * half a microsecond a character to check and map, so a list is measured before any of it is parsed.
 */
import { StanzaError } from './errors.js';

/** Addresses in one list, and characters beyond ASCII in all of them. */
const mostAddresses = 1000;
const mostMapped = 10_000;

/** How much of a list has been looked at. */
export class AddressBudget {
  #addresses = 0;
  #mapped = 0;

  /** Whether the address, one more of the list, can be parsed. */
  take(address: string): boolean {
    this.#addresses++;
    if (this.#addresses > mostAddresses) return false;
    for (let at = 0; at < address.length; at++) if (address.charCodeAt(at) > 0x7f) this.#mapped++;
    return this.#mapped <= mostMapped;
  }
}

/** Throws StanzaError where a list is longer than what is parsed at once. */
export function demandFew(addresses: Iterable<string | undefined>): void {
  const budget = new AddressBudget();
  for (const address of addresses)
    if (address !== undefined && !budget.take(address))
      throw new StanzaError('policy-violation', `At most ${mostAddresses} addresses at once.`, { type: 'modify' });
}
