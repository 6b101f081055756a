/**
 * What a module exports and imports of an account, in the format of XEP-0227: the elements of `<user/>` that hold its data.
 * Data for which the specification has no element goes into one of a namespace of the module, or declares its stores
 * portable (stores.ts).
 */
import type { Jid } from '../address/jid.js';
import type { Maybe } from '../maybe.js';
import { StanzaError } from '../stanza/errors.js';
import type { Element } from '../xml/element.js';

/** A child of `<user/>`. */
export interface PortableElement {
  readonly ns: string;
  readonly name: string;
  /**
   * How many levels of it are containers, such as 1 for `<archive/>` with any number of messages. The import gets what is
   * in a container piece by piece, each piece alone in a copy of its containers, so that no container is too large.
   */
  readonly containers?: 1 | 2;
}

/** What an import did not take over, for the operator. Neither text may have a secret or content of a user. */
export interface Refused {
  readonly what: string;
  readonly why: string;
}

export interface PartsImported {
  readonly refused?: readonly Refused[] | undefined;
  /** For the next call that concerns the account: its first one gets none. */
  readonly memo?: string | undefined;
}

export interface Portable {
  /** Elements that the import takes; no other module may. */
  readonly takes: readonly PortableElement[];
  /**
   * The data of an account, as serialized elements or pieces of them: read in pages, since the whole may be of any size. It is
   * read from the stores, never from memory: in a cluster another node may call it.
   */
  export(owner: Jid): AsyncIterable<string>;
  /**
   * Takes over some parts, in the order of the file, at the home of the account. What the account has already stays as it
   * is, so that the same part twice changes nothing. Nobody is logged in; memory about the account is dropped afterwards
   * (event `moved`). Resolves once everything is durable. May throw StanzaError to refuse all of it.
   */
  import(owner: Jid, parts: readonly Element[], memo: string | undefined): Promise<PartsImported | void>;
}

/** Writes a value as JSON that XML can hold: JSON has no control characters, but may have two other excluded ones. */
export const portableJson = (value: unknown): string =>
  JSON.stringify(value).replace(/[\ufffe\uffff]/g, (character) => `\\u${character.charCodeAt(0).toString(16)}`);

/** Calls `take` for each part, in order. Resolves with the parts that it refused with a StanzaError, which `nameOf` names. */
export async function takeEach(
  parts: readonly Element[],
  nameOf: (part: Element) => string,
  take: (part: Element) => Maybe<void>,
): Promise<Refused[]> {
  const refused: Refused[] = [];
  for (const part of parts) {
    try {
      await take(part);
    } catch (error) {
      if (!(error instanceof StanzaError)) throw error;
      refused.push({ what: nameOf(part), why: error.text ?? error.condition });
    }
  }
  return refused;
}
