/**
 * Terms of the word index: 64 bits, of which 24 are of the owner's number and 40 a hash of a word, a contact or a tag.
 * So the terms of an owner lie together in the index, and cost 8 bytes each. Pages are compared with the texts again;
 * counts are not, and include an entry with another word of the same hash: one in 10^7 searches of an archive that has
 * 100,000 different words.
 */
import type { LogEntry } from '../contract.js';

export type Term = readonly [high: number, low: number];

/** Returns the terms of an entry, or those that a search for these words needs, sorted. */
export function termsOf(
  owner: string,
  words: Iterable<string>,
  { with: peer, tag }: Pick<LogEntry, 'with' | 'tag'>,
): Term[] {
  const prefix = (Number(owner) % 2 ** 24) * 256;
  const terms = Array.from(words, (word) => term(prefix, 1, word));
  if (peer !== undefined) terms.push(term(prefix, 2, peer));
  if (tag !== undefined) terms.push(term(prefix, 3, tag));
  return terms;
}

function term(prefix: number, kind: number, text: string): Term {
  let one = 0x811c9dc5 ^ kind;
  let other = 0x9e3779b1 ^ kind;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    one = Math.imul(one ^ unit, 0x01000193);
    other = Math.imul(other + unit, 0x85ebca6b);
    other ^= other >>> 15;
  }
  return [prefix + ((other ^ (other >>> 8)) & 0xff), one ^ (other >>> 11)];
}
